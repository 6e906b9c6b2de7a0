"""Physics: what the grid is and does.  Knows no controller."""
