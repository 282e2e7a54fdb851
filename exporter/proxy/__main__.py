"""The fresh process of `dify-exporter proxy`: patched before anything loads `ssl`."""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import sys  # noqa: E402

import msgspec  # noqa: E402

from exporter.proxy.server import Startup, serve  # noqa: E402

if __name__ == "__main__":
    with os.fdopen(int(sys.argv[1]), "rb") as handed:
        startup = msgspec.json.decode(handed.read(), type=Startup)
    serve(startup)
