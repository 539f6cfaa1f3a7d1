"""Data sets: what they hold, how they are split and normalised."""
