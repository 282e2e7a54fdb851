"""What the proxy and the receiver share: gunicorn with a gevent worker, request bodies, and a log file."""
