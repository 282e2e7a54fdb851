"""What `check` and `init` find out about a deployment and its logs."""
