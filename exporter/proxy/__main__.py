"""Entry point of the process that `dify-exporter proxy` starts. gevent must patch before anything imports `ssl`."""

from gevent import monkey

monkey.patch_all()

from exporter.proxy.server import ProxyServer, Startup  # noqa: E402
from exporter.wsgi.startup import read_startup  # noqa: E402

if __name__ == "__main__":
    ProxyServer(read_startup(Startup)).run()
