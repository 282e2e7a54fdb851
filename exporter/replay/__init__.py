"""Reads logs once, from the beginning to the end, without a state and without a server."""
