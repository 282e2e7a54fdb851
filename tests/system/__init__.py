"""Real programs, started on sockets of their own and stopped by the handle we own."""
