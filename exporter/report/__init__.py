"""Reports: what was counted, by time and by label."""
