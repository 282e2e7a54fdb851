"""Reads logs once, from their beginning to their end, whatever they are written in."""
