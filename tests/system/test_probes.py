"""blackbox_exporter with deploy/blackbox.yml asks services that are well, and services that are not."""

import json
import re
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, BaseServer, ThreadingTCPServer
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.system.programs import find, running

DEPLOY = Path(__file__).parents[2] / "deploy"

#: Path: status and body, as Dify and its neighbours answer, and as they do not.
PAGES = {
    "/health": (200, json.dumps({"pid": 1, "status": "ok", "version": "1.13.3"})),
    "/health-starting": (200, json.dumps({"pid": 1, "status": "starting"})),
    "/console/api/ping": (200, json.dumps({"result": "pong"})),
    "/console/api/ping-html": (200, "<html>a login page of somebody else</html>"),
    "/signin": (200, "<!DOCTYPE html><html lang='en'></html>"),
    "/signin-json": (200, '{"code": "not_found"}'),
    "/health/check": (200, '{"status":"ok"}'),
    "/unwell": (503, "no"),
    "/v1/models": (401, '{"error": {}}'),
}


class Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = PAGES[self.path]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


class Redis(BaseRequestHandler):
    def handle(self) -> None:
        assert self.request.recv(64).startswith(b"PING")
        self.request.sendall(b"-NOAUTH Authentication required.\r\n")


class Foreign(BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"SSH-2.0-OpenSSH\r\n")


class Threads(ThreadingTCPServer):
    daemon_threads = True


@contextmanager
def served(server: BaseServer) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"localhost:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def services(folder: Path) -> Iterator[dict[str, str]]:
    """Addresses of servers; `folder` gets the certificate of the one with TLS."""
    certificate = folder / "certificate.pem"
    subprocess.run(
        [find("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    secure = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, folder / "key.pem")
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    with ExitStack() as stack:
        yield {
            "http": stack.enter_context(served(ThreadingHTTPServer(("127.0.0.1", 0), Pages))),
            "https": stack.enter_context(served(secure)),
            "redis": stack.enter_context(served(Threads(("127.0.0.1", 0), Redis))),
            "foreign": stack.enter_context(served(Threads(("127.0.0.1", 0), Foreign))),
            "nobody": "localhost:1",
        }


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("probes")
    command = [
        find("prometheus-blackbox-exporter"), f"--config.file={DEPLOY}/blackbox.yml", "--web.listen-address=127.0.0.1:0",
    ]  # fmt: skip
    with (
        services(folder) as addresses,
        running(command, folder, {"SSL_CERT_FILE": f"{folder}/certificate.pem"}) as process,
    ):
        address = re.search(r"address=\"?([\d.]+:\d+)", process.said("Listening on"))
        assert address is not None

        def ask(module: str, target: str) -> str:
            query = urlencode({"module": module, "target": target.format(**addresses)})
            with urlopen(f"http://{address[1]}/probe?{query}", timeout=30) as answer:
                return str(answer.read().decode())

        yield ask


@pytest.mark.parametrize(
    ("module", "well", "unwell"),
    [
        ("dify_health", "http://{http}/health", "http://{http}/health-starting"),
        ("console_ping", "http://{http}/console/api/ping", "http://{http}/console/api/ping-html"),
        ("http_page", "http://{http}/signin", "http://{http}/signin-json"),
        ("http_2xx", "http://{http}/health/check", "http://{http}/unwell"),
        ("model_provider", "https://{https}/v1/models", "http://{http}/v1/models"),
        ("tcp", "{http}", "{nobody}"),
        ("redis", "{redis}", "{foreign}"),
    ],
)
def test_a_probe_tells_the_well_from_the_unwell(probe, module: str, well: str, unwell: str) -> None:
    assert "\nprobe_success 1\n" in probe(module, well)
    assert "\nprobe_success 0\n" in probe(module, unwell)


def test_a_provider_over_tls_tells_when_its_certificate_ends(probe) -> None:
    assert "\nprobe_ssl_earliest_cert_expiry " in probe("model_provider", "https://{https}/v1/models")


def test_a_provider_that_answers_with_a_server_error_is_down(probe) -> None:
    assert "\nprobe_success 0\n" in probe("model_provider", "https://{https}/unwell")
