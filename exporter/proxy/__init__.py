"""The WSGI proxy in front of Dify: passes everything on, changes nothing, and writes one line a request.

A process of its own (gunicorn with gevent workers, Dify's own stack). It shares the format of its line with the
rest and nothing else: it counts nothing and serves no metrics.
"""
