"""Tables for a terminal, and pictures."""
