"""Examines a deployment and its logs, for `check`, `init` and the status page."""
