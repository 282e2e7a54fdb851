"""Real nginx in front of a small Dify: the exporter's counters equal the client's own bookkeeping."""

import json
import os
import random
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.system.exporter import Exporter, serving
from tests.system.programs import find, running, until
from tests.system.upstream import BLOCKING_SECONDS, STREAM_SECONDS

#: docker/nginx/nginx.conf.template of Dify, and the suffix that deploy/nginx recommends.
MAIN = """'$remote_addr - $remote_user [$time_local] "$request" '
                    '$status $body_bytes_sent "$http_referer" '
                    '"$http_user_agent" "$http_x_forwarded_for"'"""
TIMED = (
    MAIN
    + """
                    ' rt=$request_time uct="$upstream_connect_time" uht="$upstream_header_time"'
                    ' urt="$upstream_response_time" us="$upstream_status"'"""
)

CONFIG = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log notice;
worker_processes 2;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    log_format main {log_format};
    access_log {folder}/access.log main;
    client_max_body_size 1k;
    server {{
        listen unix:{folder}/nginx.sock;
        location / {{
            proxy_pass http://unix:{folder}/upstream.sock; proxy_buffering off; proxy_read_timeout 60s;
        }}
        location /v1/audio-to-text {{ proxy_pass http://unix:{folder}/upstream.sock; proxy_read_timeout 1s; }}
        location /files/ {{ proxy_pass http://unix:{folder}/nobody.sock; }}
    }}
}}
"""

UUID = "{:08x}-0000-4000-8000-{:012x}"


class UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Client:
    """Sends requests and counts itself what it sent: (method, route, status)."""

    def __init__(self, nginx: Path) -> None:
        self._nginx = nginx
        self._lock = threading.Lock()
        self.sent: Counter[tuple[str, str, str]] = Counter()

    def send(self, method: str, route: str, path: str | None = None, body: object = None) -> None:
        connection = UnixConnection(self._nginx)
        payload = None if body is None else json.dumps(body)
        connection.request(method, path or route, body=payload, headers={"User-Agent": 'Mo"zilla \\ é'.encode()})
        response = connection.getresponse()
        response.read()
        self._note(method, route, str(response.status))
        connection.close()

    def leave_early(self, route: str) -> None:
        """499: gone while the upstream works, before the response's head."""
        connection = UnixConnection(self._nginx)
        arrived = self._nginx.with_name(f"arrived-{self.sent.total()}")
        connection.request("POST", route, body="{}", headers={"X-Arrived": str(arrived)})
        until("the request to reach the upstream", arrived.exists)
        connection.close()
        self._note("POST", route, "499")

    def send_bytes(self, data: bytes) -> None:
        """Garbage: nginx answers 400."""
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(60)
            raw.connect(str(self._nginx))
            raw.sendall(data)
            answer = b""
            while block := raw.recv(4096):
                answer += block
        status = answer[9:12].decode() if answer.startswith(b"HTTP/") else "400"
        self._note("unknown", "invalid", status)

    def _note(self, *labels: str) -> None:
        with self._lock:
            self.sent[labels] += 1


def a_few_hundred_requests(client: Client) -> None:
    chance = random.Random(7)

    def an_id() -> str:
        return UUID.format(chance.getrandbits(32), chance.getrandbits(48))

    jobs = [
        *[("POST", "/v1/chat-messages", None, {"response_mode": "blocking"})] * 60,
        *[("POST", "/v1/chat-messages", "/v1/chat-messages?user=CANARY", {"response_mode": "streaming"})] * 40,
        *[("POST", "/v1/completion-messages", None, {})] * 20,
        *[("GET", "/v1/parameters", None, None)] * 20,
        *[("GET", "/console/api/apps/{app_id}", f"/console/api/apps/{an_id()}", None) for _ in range(60)],
        *[("POST", "/v1/chat-messages/{task_id}/stop", f"/v1/chat-messages/{an_id()}/stop", {}) for _ in range(20)],
        *[("GET", "other", f"/wp-admin/{an_id()}.php", None) for _ in range(20)],
        *[("GET", "other", "/v1/x%0A127.0.0.1%20-%20-", None)] * 3,
        *[("GET", "/files/{file_id}/file-preview", f"/files/{an_id()}/file-preview", None) for _ in range(10)],
        *[("POST", "/v1/audio-to-text", None, {})] * 4,
        *[("POST", "/v1/files/upload", None, {"file": "x" * 2000})] * 5,
    ]
    chance.shuffle(jobs)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda job: client.send(*job), jobs))
    for _ in range(5):
        client.leave_early("/v1/text-to-audio")
    for garbage in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"\r\n\r\nX\r\n\r\n",
    ):
        client.send_bytes(garbage)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: that of a unix socket has at most 107 bytes."""
    with TemporaryDirectory(prefix="dx-", dir="/tmp") as name:
        yield Path(name)


@contextmanager
def nginx_and_upstream(folder: Path, log_format: str) -> Iterator[Client]:
    (folder / "nginx.conf").write_text(
        CONFIG.format(folder=folder, log_format=log_format, user="user root;" if os.geteuid() == 0 else "")
    )
    gunicorn = [
        sys.executable, "-m", "gunicorn", "--worker-class", "gevent", "--bind", f"unix:{folder}/upstream.sock",
        "--no-control-socket", "tests.system.upstream:application",
    ]  # fmt: skip
    nginx = [find("nginx"), "-p", str(folder), "-c", "nginx.conf", "-e", str(folder / "error.log")]
    with running(gunicorn, Path(__file__).parents[2]) as upstream, running(nginx, folder):
        upstream.said("Booting worker")
        until("nginx to listen", (folder / "nginx.sock").exists)
        yield Client(folder / "nginx.sock")


def requests_by_route(exporter: Exporter) -> Counter[tuple[str, str, str]]:
    samples = exporter.samples("dify_requests_total")
    return Counter({(s["method"], s["route"], s["status_code"]): int(value) for s, value in samples})


@pytest.mark.parametrize(("name", "log_format"), [("dify", MAIN), ("dify-timed", TIMED)])
def test_counters_equal_the_clients_bookkeeping(name: str, log_format: str, folder: Path) -> None:
    config = f'[[source]]\nname = "nginx"\npaths = ["access.log"]\nparser = "nginx"\nformat = "{name}"\n'
    with serving(folder, config) as exporter, nginx_and_upstream(folder, log_format) as client:
        a_few_hundred_requests(client)
        until(
            "the counters to reach the client's",
            lambda: requests_by_route(exporter).total() >= client.sent.total(),
        )
        assert requests_by_route(exporter) == client.sent
        assert {status for _, _, status in client.sent} == {"200", "400", "404", "413", "499", "502", "504"}
        durations = exporter.samples("dify_request_duration_seconds_count")
        counted = {(s["method"], s["route"], s["status_code"]): int(v) for s, v in durations}
        assert counted == (dict(client.sent) if name == "dify-timed" else {})
        assert "CANARY" not in exporter.metrics()
        families = list(text_string_to_metric_families(exporter.metrics()))
        assert {f.name for f in families} >= {"dify_requests", "dify_failed_requests", "process_cpu_seconds"}


def test_a_streams_first_byte_is_far_below_its_duration(folder: Path) -> None:
    directive = f"log_format main {TIMED};".replace("\n", " ")
    config = f"[[source]]\nname = 'nginx'\npaths = ['access.log']\nparser = 'nginx'\nformat = '''{directive}'''\n"
    with serving(folder, config) as exporter, nginx_and_upstream(folder, TIMED) as client:
        streaming = {"response_mode": "streaming"}
        with ThreadPoolExecutor(5) as pool:
            list(pool.map(lambda _: client.send("POST", "/v1/chat-messages", body=streaming), range(5)))
        until("five requests", lambda: requests_by_route(exporter).total() == 5)
        duration = exporter.value("dify_request_duration_seconds_sum", route="/v1/chat-messages") / 5
        first_byte = exporter.value("dify_time_to_first_byte_seconds_sum", route="/v1/chat-messages") / 5
    assert duration > STREAM_SECONDS * 0.9
    assert first_byte < duration - STREAM_SECONDS * 0.8  # the rest of the stream came later, however slow the machine
    assert duration > BLOCKING_SECONDS
