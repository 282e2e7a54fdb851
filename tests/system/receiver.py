"""The receiver itself, as an operator starts it, and a link to it that breaks."""

import http.client
import json
import os
import random
import signal
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.system.exporter import COMMAND
from tests.system.programs import WsgiProgram, running, until

Lines = list[dict[str, Any]]


class Receiver(WsgiProgram):
    """A running `dify-exporter receive`."""

    @property
    def worker(self) -> int:
        """The process id of the worker, once there is one."""
        pid = self.process.pid
        children = until("a worker", Path(f"/proc/{pid}/task/{pid}/children").read_text)
        return int(children.split()[0])

    def post(self, path: str, body: bytes, **fields: str) -> int:
        """The status of the answer to one request on a connection of its own."""
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        try:
            connection.request("POST", path, body, {"Content-Type": "application/x-protobuf", **headers})
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()

    def kill_all(self) -> None:
        """End master and worker at once (SIGKILL)."""
        worker = self.worker
        self.process.kill()
        try:
            os.kill(worker, signal.SIGKILL)
        except ProcessLookupError:
            return
        until("the worker to end", lambda: not Path(f"/proc/{worker}").exists())


def lines(log: Path) -> Lines:
    """All lines of the log and of its rotated files, oldest first. They must be whole lines of ASCII JSON."""
    rotated = sorted(log.parent.glob(f"{log.name}.*"), key=lambda file: -int(file.suffix[1:]))
    text = b"".join(file.read_bytes() for file in [*rotated, log] if file.exists())
    assert text.isascii()
    assert text.endswith(b"\n") or not text
    return [json.loads(line) for line in text.splitlines()]


def facts(log: Path) -> dict[str, list[int]]:
    """Input and output tokens by key. Each key must be in the log once."""
    found = [line["attributes"] for line in lines(log) if "dify.span.key" in line["attributes"]]
    keys = Counter(fact["dify.span.key"] for fact in found)
    assert all(number == 1 for number in keys.values()), keys.most_common(3)
    return {
        fact["dify.span.key"]: [fact.get("gen_ai.usage.input_tokens"), fact.get("gen_ai.usage.output_tokens")]
        for fact in found
    }


def items(log: Path) -> Counter[tuple[str, str]]:
    """The items of all heartbeats by dialect and outcome."""
    found: Counter[tuple[str, str]] = Counter()
    for line in lines(log):
        for item in line["attributes"].get("dify.receiver.items", ()):
            found[item["dialect"], item["outcome"]] += item["count"]
    return found


@contextmanager
def receiving(
    folder: Path, settings: str = "", listen: str = "127.0.0.1:0", command: tuple[str, ...] = ()
) -> Iterator[Receiver]:
    """Listens on a free port by default and logs to receive.log."""
    config = folder / "receive.toml"
    config.write_text(f'[receive]\nlisten = "{listen}"\nlog = "receive.log"\n{settings}')
    with running([*command, COMMAND, "receive", "--config", str(config)], folder) as process:
        yield Receiver(process, folder / "receive.log")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def handle_expected(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.next_fault()
        if fault == "503":
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault == "reset before":
            self._reset()
            return
        upstream = http.client.HTTPConnection(*self.server.upstream, timeout=60)
        try:
            upstream.request(self.command, self.path, body, dict(self.headers.items()))
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        if fault == "reset after":
            self._reset()
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = handle_expected  # noqa: N815

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        raise ConnectionResetError

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    upstream: tuple[str, int]

    def __init__(self, upstream: tuple[str, int], faults: list[str], seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.done: Counter[str] = Counter()
        self._faults = faults
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def next_fault(self) -> str:
        with self._lock:
            fault = self._random.choice(self._faults)
            self.done[fault] += 1
            return fault

    def handle_error(self, *_: object) -> None:
        """A reset is meant."""


@contextmanager
def breaking_link(receiver: Receiver, seed: int = 1) -> Iterator[tuple[str, Counter[str]]]:
    """A link to the receiver that resets requests before or after they were served, or answers 503 itself.

    Yields its URL and what it did.
    """
    server = _Server(receiver.address, ["", "", "", "503", "reset before", "reset after"], seed)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", server.done
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
