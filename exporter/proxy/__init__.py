"""The WSGI proxy in front of Dify. It passes everything through unchanged and logs one JSON line per request.

The proxy is a process of its own (gunicorn with gevent workers, as Dify itself). It shares only the log line format
(parsers/dify/proxy.py), the route table and the configuration with the exporter. It counts nothing and serves no
metrics.
"""
