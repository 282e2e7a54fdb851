"""Backfill: the metrics that `serve` would have shown in the past, with their times."""
