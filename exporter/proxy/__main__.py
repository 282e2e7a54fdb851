"""Entry point of the process that `dify-exporter proxy` starts. gevent must patch before anything imports `ssl`."""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import sys  # noqa: E402

import msgspec  # noqa: E402

from exporter.proxy.server import Startup, serve  # noqa: E402

if __name__ == "__main__":
    with os.fdopen(int(sys.argv[1]), "rb") as file:
        startup = msgspec.json.decode(file.read(), type=Startup)
    serve(startup)
