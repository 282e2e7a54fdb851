"""The proxy itself, as an operator starts it, and an upstream that writes down every byte."""

import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.system.exporter import COMMAND
from tests.system.programs import WsgiProgram, running, until


class Proxy(WsgiProgram):
    """A running `dify-exporter proxy`."""

    def lines(self, event: str = "dify.proxy.request") -> list[dict[str, Any]]:
        """The attributes of the lines so far; the log must be whole lines of ASCII JSON."""
        text = self.log.read_bytes() if self.log.exists() else b""
        assert text.isascii()
        assert text.endswith(b"\n") or not text
        found = [json.loads(line) for line in text.splitlines()]
        return [line["attributes"] | {"message": line["message"], "trace_id": line.get("trace_id")} for line in found
                if line["attributes"]["dify.event.name"] == event]  # fmt: skip

    def wait_for_lines(self, number: int) -> list[dict[str, Any]]:
        return until(f"{number} lines", lambda: found if len(found := self.lines()) >= number else None)

    def raw(self, request: bytes) -> bytes:
        """Everything that comes back on a connection of its own, until the proxy closes it or falls silent."""
        with socket.create_connection(self.address, timeout=10) as connection:
            connection.sendall(request)
            return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    try:
        while block := connection.recv(65536):
            answer += block
    except ConnectionResetError:
        answer += b"<reset>"
    return answer


def resident(proxy: Proxy) -> int:
    """KiB of the master and its workers."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        pid, parent = int(status.parent.name), int(text.split("PPid:")[1].split()[0])
        if proxy.process.pid in (pid, parent):
            total += int(text.split("VmRSS:")[1].split()[0])
    return total


@contextmanager
def proxying(folder: Path, upstream: str, settings: str = "", command: tuple[str, ...] = ()) -> Iterator[Proxy]:
    """Listens on a free port and logs to proxy.log."""
    text = f'[proxy]\nlisten = "127.0.0.1:0"\nupstream = "{upstream}"\nlog = "proxy.log"\n{settings}'
    config = folder / "proxy.toml"
    config.write_text(text)
    with running([*command, COMMAND, "proxy", "--config", str(config)], folder) as process:
        yield Proxy(process, folder / "proxy.log")


Answer = Callable[[socket.socket, bytes], None]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Recorder:
    """An upstream of plain sockets. `answer` is bytes, or is called with each connection and each request."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answer: Answer | bytes = OK
        self.reads_bodies = True
        self.requests: list[bytes] = []
        self.closed_by_peer = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._tls = tls
        self.url = f"{'https' if tls else 'http'}://localhost:{self._listener.getsockname()[1]}"
        self._accepter = threading.Thread(target=self._accept, daemon=True)
        self._accepter.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        if self._tls:
            try:
                connection = self._tls.wrap_socket(connection, server_side=True)
            except OSError:  # the client did not like our certificate
                connection.close()
                return
        with connection:
            connection.settimeout(20)
            while head := self._read(connection):
                self.requests.append(head)
                try:
                    if isinstance(self.answer, bytes):
                        connection.sendall(self.answer)
                    else:
                        self.answer(connection, head)
                except (OSError, StopIteration):
                    break
            self.closed_by_peer.set()

    def _read(self, connection: socket.socket) -> bytes:
        """The head of a request and as much of its body as its framing says; nothing if the peer has closed before."""
        request = b""
        try:
            while not self._is_whole(request):
                if not (block := connection.recv(65536)):
                    return b""
                request += block
        except OSError:
            return b""
        return request

    def _is_whole(self, request: bytes) -> bool:
        head, separator, body = request.partition(b"\r\n\r\n")
        if not separator or not self.reads_bodies:
            return bool(separator)
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        if re.search(rb"(?i)\r\ntransfer-encoding:", head):
            return request.endswith(b"0\r\n\r\n")
        return not length or len(body) >= int(length[1])

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepter.join()


@contextmanager
def recording(tls: ssl.SSLContext | None = None) -> Iterator[Recorder]:
    recorder = Recorder(tls)
    try:
        yield recorder
    finally:
        recorder.close()
