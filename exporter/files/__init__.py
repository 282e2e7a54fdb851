"""The files of one log: those that are open, those that must be found again, and how they are read."""
