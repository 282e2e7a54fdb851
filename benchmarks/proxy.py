"""Compares the proxy with nginx's proxy_pass and with no proxy, alternating in one run.

The upstream is the small Dify of the system tests (Flask under gunicorn with gevent). A client on the same machine
measures the times. "added" is the difference to `none` in the same run.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from urllib.parse import urlsplit

from tests.system.programs import find, running, until
from tests.system.proxy import proxying
from tests.system.test_proxy_dify import dify_running

NGINX = """
{user}
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 4096; }}
http {{
    client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
    uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e; access_log {folder}/access.log;
    upstream dify {{ server {upstream}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port}; client_max_body_size 0;
        location / {{
            proxy_pass http://dify; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
            proxy_request_buffering off; proxy_read_timeout 3600s;
        }}
    }}
}}
"""
KEY = {"Authorization": "Bearer app-one", "Content-Type": "application/json"}
ENDLESS_STREAM = json.dumps({"query": "for ever 0.5", "inputs": {}, "user": "u", "response_mode": "streaming"})
STREAM = json.dumps({"query": "hello", "inputs": {}, "user": "u", "response_mode": "streaming"})


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.proxy", description=__doc__)
    arguments.add_argument("--requests", type=int, default=300, help="small requests per round and way")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--streams", type=int, default=500)
    arguments.add_argument("--upload", type=int, default=200, help="MB of one upload")
    given = arguments.parse_args()
    with TemporaryDirectory() as name, ways(Path(name)) as (addresses, pids):
        small(addresses, given.requests, given.rounds)
        throughput(addresses, given.requests, given.rounds)
        first_event(addresses, given.rounds * 4)
        beside_streams(addresses, pids, given.streams)
        upload(addresses, pids, given.upload)


@contextmanager
def ways(folder: Path) -> Iterator[tuple[dict[str, tuple[str, int]], dict[str, int]]]:
    """The address and the process id of each way to the same upstream."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with dify_running(folder) as url, proxying(folder, url) as proxy:
        parts = urlsplit(url)
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, upstream=parts.netloc, port=port, user=user))
        with running(
            [find("nginx"), "-p", str(folder), "-c", "nginx.conf", "-e", str(folder / "e.log")], folder
        ) as nginx:
            until("nginx", lambda: not socket.socket().connect_ex(("127.0.0.1", port)))
            addresses = {
                "none": (str(parts.hostname), parts.port or 0),
                "nginx": ("127.0.0.1", port),
                "proxy": proxy.address,
            }
            yield addresses, {"nginx": nginx.pid, "proxy": proxy.process.pid}


def small(addresses: dict[str, tuple[str, int]], requests: int, rounds: int) -> None:
    """One client with one connection sends small requests, one after the other."""
    seconds: dict[str, list[float]] = {way: [] for way in addresses}
    for _ in range(rounds):
        for way, address in addresses.items():
            seconds[way] += list(_timed(address, requests))
    print(f"small request, ms   {'p50':>8} {'p99':>8} {'added p50':>10} {'added p99':>10}")
    _percentiles(seconds)


def throughput(addresses: dict[str, tuple[str, int]], requests: int, rounds: int) -> None:
    """Eight clients send small requests at the same time."""
    rates: dict[str, list[float]] = {way: [] for way in addresses}
    for _ in range(rounds):
        for way, address in addresses.items():
            clients = [Thread(target=lambda address=address: list(_timed(address, requests // 2))) for _ in range(8)]
            begun = time.monotonic()
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            rates[way].append(8 * (requests // 2) / (time.monotonic() - begun))
    print("eight connections, requests/s")
    for way, found in rates.items():
        print(f"  {way:<17} {statistics.median(found):>8.0f}")


def first_event(addresses: dict[str, tuple[str, int]], times: int) -> None:
    """The time to the first event of a stream. The upstream sends it immediately."""
    seconds: dict[str, list[float]] = {way: [] for way in addresses}
    for _ in range(times):
        for way, address in addresses.items():
            connection = HTTPConnection(*address, timeout=20)
            begun = time.perf_counter()
            connection.request("POST", "/v1/chat-messages", STREAM, KEY)
            response = connection.getresponse()
            response.readline()
            seconds[way].append(time.perf_counter() - begun)
            response.read()
            connection.close()
    print(f"first event, ms     {'p50':>8} {'p99':>8} {'added p50':>10} {'added p99':>10}")
    _percentiles(seconds)


def beside_streams(addresses: dict[str, tuple[str, int]], pids: dict[str, int], streams: int) -> None:
    """Small requests during many streams that send two events per second each."""
    print(f"beside {streams} streams   {'p50':>8} {'p99':>8}   ms of a small request; MB more of memory")
    for way, address in addresses.items():
        before = _megabytes(pids.get(way))
        with ExitStack() as stack:
            connections = []
            for _ in range(streams):
                connection = stack.enter_context(_closing(HTTPConnection(*address, timeout=60)))
                connection.request("POST", "/v1/chat-messages", ENDLESS_STREAM, KEY)
                connections.append(connection)
            responses = [connection.getresponse() for connection in connections]
            reader = Thread(target=_drain, args=([response.fp.raw._sock for response in responses],))  # type: ignore[attr-defined]
            reader.start()
            found = sorted(_timed(address, 100))
            more = _megabytes(pids.get(way)) - before
            for connection in connections:
                if connection.sock:
                    connection.sock.shutdown(socket.SHUT_RDWR)
            reader.join()
        print(f"  {way:<17} {_at(found, 0.5):>8.2f} {_at(found, 0.99):>8.2f} {more:>8.1f}")


def upload(addresses: dict[str, tuple[str, int]], pids: dict[str, int], megabytes: int) -> None:
    """Upload one file. Dify's form parser is the slowest part."""
    with TemporaryDirectory() as name:
        file = Path(name) / "body"
        with file.open("wb") as sparse:
            sparse.truncate(megabytes * 1_000_000)
        print(f"{megabytes} MB upload      {'seconds':>8} {'MB more':>8}")
        for way, (host, port) in addresses.items():
            before, begun = _megabytes(pids.get(way)), time.monotonic()
            curl = ["curl", "-sSf", "-o", "/dev/null", "-F", f"file=@{file}", f"http://{host}:{port}/v1/files/upload"]
            subprocess.run(curl, check=True, timeout=300)
            print(f"  {way:<17} {time.monotonic() - begun:>8.2f} {_megabytes(pids.get(way)) - before:>8.1f}")


def _timed(address: tuple[str, int], requests: int) -> Iterator[float]:
    connection = HTTPConnection(*address, timeout=60)
    for _ in range(requests):
        begun = time.perf_counter()
        connection.request("GET", "/v1/parameters")
        connection.getresponse().read()
        yield time.perf_counter() - begun
    connection.close()


def _drain(connections: list[socket.socket]) -> None:
    """Read from all connections until each has ended."""
    import selectors

    with selectors.DefaultSelector() as selector:
        for connection in connections:
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select(5):
                try:
                    ended = not key.fileobj.recv(65536)  # type: ignore[union-attr]
                except OSError:
                    ended = True
                if ended:
                    selector.unregister(key.fileobj)


@contextmanager
def _closing(connection: HTTPConnection) -> Iterator[HTTPConnection]:
    yield connection
    connection.close()


def _percentiles(seconds: dict[str, list[float]]) -> None:
    base = sorted(seconds["none"])
    for way, found in seconds.items():
        found.sort()
        added = [_at(found, q) - _at(base, q) for q in (0.5, 0.99)]
        print(f"  {way:<17} {_at(found, 0.5):>8.2f} {_at(found, 0.99):>8.2f} {added[0]:>10.2f} {added[1]:>10.2f}")


def _at(ordered: list[float], quantile: float) -> float:
    """A quantile of sorted seconds, in milliseconds."""
    return ordered[min(int(len(ordered) * quantile), len(ordered) - 1)] * 1000


def _megabytes(parent: int | None) -> float:
    """The resident memory of a process and its children in megabytes; 0 without a process."""
    if parent is None:
        return 0.0
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in [str(parent), *children]]
    return sum(int(text.split("VmRSS:")[1].split()[0]) for text in texts) / 1024


if __name__ == "__main__":
    main()
