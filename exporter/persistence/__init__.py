"""The state on disk: a snapshot, the journal of changes behind it, and who writes them when."""
