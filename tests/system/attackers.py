"""Hostile clients of the endpoint."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_OPENINGS = (b"GET /metrics HTT", b"\x16\x03\x01\x02\x00\x01", b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 20)


@contextmanager
def attackers(url: str, number: int) -> Iterator[None]:
    """So many connections: a third sends half a request, a third half a TLS hello, a third asks and never reads. Who
    is let go returns, also to an exporter that was away.
    """
    address = (urlsplit(url).hostname, urlsplit(url).port)
    stop, come = threading.Event(), threading.Event()

    def attack() -> None:
        held: list[socket.socket] = []
        while not stop.is_set():
            with suppress(OSError):
                while len(held) < number:
                    held.append(socket.create_connection(address, timeout=1))
            for index, each in enumerate(held):
                try:
                    each.sendall(_OPENINGS[index % 3])
                except OSError:
                    each.close()
            held = [each for each in held if each.fileno() != -1]
            come.set()
            stop.wait(1)
        for each in held:
            each.close()

    with ThreadPoolExecutor(1) as pool:
        attacks = pool.submit(attack)
        try:
            assert come.wait(30)
            yield
        finally:
            stop.set()
    attacks.result()
