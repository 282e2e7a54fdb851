"""The HTTP endpoint: listener, TLS, passwords, and the pages it serves."""
