"""Power-flow engines behind one small interface."""
