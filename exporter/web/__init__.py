"""The HTTP endpoint: listener, TLS, authentication, and the pages that it serves."""
