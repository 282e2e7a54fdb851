"""Parse the access logs of web servers: their formats, their rows, and the route of each path."""
