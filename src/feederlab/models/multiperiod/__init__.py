"""Many steps at once, coupled by what storage holds: exact optimal power flow over a window."""
