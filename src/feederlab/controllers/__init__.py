"""Decisions: one control method per file, behind one interface."""
