"""Parse the values in log lines: times, numbers, HTTP methods and status codes, currencies, JSON."""
