"""The closed loop itself: one step after another, or many at once."""
