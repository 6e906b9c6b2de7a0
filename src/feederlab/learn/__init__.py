"""Learned parts: environments over the same plant, policies as controllers.  Needs the extra ``feederlab[learn]``."""
