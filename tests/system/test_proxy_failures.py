"""Rotation, full disks, killed processes and many streams: requests are served, and what is counted is true."""

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import requests

from tests.system.exporter import Exporter, serving
from tests.system.programs import until
from tests.system.proxy import Proxy, proxying, recording, resident
from tests.system.test_proxy_dify import dify_running

BODY = {"query": "hello", "inputs": {}, "user": "u"}
KEY = {"Authorization": "Bearer app-one"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dify_running(tmp_path_factory.mktemp("dify")) as found:
        yield found


def source(proxy: Proxy) -> str:
    return f'[[source]]\nname = "proxy"\npaths = ["{proxy.log}"]\nparser = "dify"\n'


def ask(proxy: Proxy) -> int:
    with requests.Session() as session:
        return session.post(f"{proxy.url}/v1/chat-messages", json=BODY, headers=KEY, timeout=20).status_code


@contextmanager
def streams(proxy: Proxy, number: int) -> Iterator[list[socket.socket]]:
    """So many streams that never end, each past its first text."""
    body = json.dumps(BODY | {"query": "for ever", "response_mode": "streaming"}).encode()
    head = (
        b"POST /v1/chat-messages HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer app-one\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    with ExitStack() as stack:
        found = [stack.enter_context(socket.create_connection(proxy.address, timeout=20)) for _ in range(number)]
        for connection in found:
            connection.sendall(head + body)
        for connection in found:
            answer = b""
            while b"CANARY" not in answer and b"on " not in answer:
                answer += connection.recv(65536)
        yield found


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def workers(proxy: Proxy) -> list[int]:
    children = Path(f"/proc/{proxy.process.pid}/task/{proxy.process.pid}/children").read_text()
    return [int(pid) for pid in children.split()]


def test_rotation_under_load_loses_no_line(url: str, tmp_path: Path) -> None:
    """The log is rotated as often as it has some lines, however far the exporter has read by then."""
    with proxying(tmp_path, url, "workers = 2\n") as proxy, serving(tmp_path, source(proxy)) as exporter:
        ended = threading.Event()

        def load() -> int:
            sent = 0
            while not ended.is_set():
                assert ask(proxy) == 200
                sent += 1
            return sent

        with ThreadPoolExecutor(4) as pool:
            sending = [pool.submit(load) for _ in range(4)]
            for number in range(1, 4):
                until("lines in the new file", lambda: proxy.log.exists() and proxy.log.stat().st_size > 2000)
                for older in range(number - 1, 0, -1):
                    (tmp_path / f"proxy.log.{older}").rename(tmp_path / f"proxy.log.{older + 1}")
                proxy.log.rename(tmp_path / "proxy.log.1")
                if number % 2:
                    os.kill(proxy.process.pid, signal.SIGUSR1)
            ended.set()
            sent = sum(job.result() for job in sending)

        def written() -> int:
            return sum(path.read_bytes().count(b'"dify.proxy.request"') for path in tmp_path.glob("proxy.log*"))

        until("every line", lambda: written() >= sent)
        until("every request", lambda: exporter.value("dify_requests_total") >= sent)
        assert exporter.value("dify_requests_total") == sent
        assert exporter.value("dify_exporter_lines_total", outcome="unparsed") == 0
        assert exporter.value("dify_proxy_dropped_lines_total") == 0


def test_a_signal_in_the_middle_of_a_line_loses_no_line(url: str, tmp_path: Path) -> None:
    """Logrotate's script sends SIGUSR1 to gunicorn, which hands it on to its workers."""
    with proxying(tmp_path, url, "workers = 1\n") as proxy:
        assert ask(proxy) == 200  # now the worker handles signals
        (worker,) = workers(proxy)
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(lambda: [ask(proxy) for _ in range(200)])
            while not sending.done():
                os.kill(worker, signal.SIGUSR1)
                wait([sending], 0.0002)
        assert sending.result() == [200] * 200
        until("every line", lambda: len(proxy.lines()) == 201)
        assert not any(line["dify.proxy.dropped_lines"] for line in proxy.lines())


def test_a_full_disk_costs_lines_and_no_request(url: str, tmp_path: Path) -> None:
    """A limit on the file's size cuts a write where a full disk would. It would cut written bytecode, too."""
    limited = ("env", "PYTHONDONTWRITEBYTECODE=1", "prlimit", "--fsize=4096")
    with proxying(tmp_path, url, command=limited) as proxy:
        assert [ask(proxy) for _ in range(12)] == [200] * 12
        written = len(proxy.lines())
        assert 2 <= written < 12
        os.truncate(proxy.log, 0)
        assert ask(proxy) == 200
        # The proxy writes a line after its answer, so the last one before the truncation may be among these.
        until("lines again", lambda: len(proxy.lines()) + dropped(proxy) == 13 - written)
        assert dropped(proxy) > 0


def dropped(proxy: Proxy) -> int:
    """The number of lines that the proxy could not write, as it reports."""
    events = ("dify.proxy.request", "dify.proxy.heartbeat")
    return sum(line["dify.proxy.dropped_lines"] for event in events for line in proxy.lines(event))


def active(exporter: Exporter) -> float:
    return exporter.value("dify_active_requests")


def test_killed_workers_and_masters_leave_nothing_active(url: str, tmp_path: Path) -> None:
    with serving(
        tmp_path, f'[[source]]\nname = "proxy"\npaths = ["{tmp_path}/proxy.log"]\nparser = "dify"\n'
    ) as exporter:
        with proxying(tmp_path, url, "workers = 2\n") as proxy, streams(proxy, 100):
            assert [ask(proxy) for _ in range(5)] == [200] * 5
            until("all streams", lambda: active(exporter) == 100)
            second, first = sorted(workers(proxy), key=open_files)  # the other may have come too late for any stream
            os.kill(first, signal.SIGKILL)
            until("the other worker's streams only", lambda: active(exporter) < 100)
            until("a new worker", lambda: len(workers(proxy)) == 2 and first not in workers(proxy))
            assert [ask(proxy) for _ in range(5)] == [200] * 5
            # A request is logged after its response, so a worker that is killed at once may lose its line.
            until("every request", lambda: exporter.value("dify_requests_total", status_code="200") == 10)
            os.kill(second, signal.SIGKILL)
            until("no stream", lambda: active(exporter) == 0)
        with proxying(tmp_path, url, "workers = 2\n") as proxy, streams(proxy, 100):
            until("all streams", lambda: active(exporter) == 100)
            os.kill(proxy.process.pid, signal.SIGKILL)
            until("no stream", lambda: active(exporter) == 0)
        assert exporter.value("dify_exporter_lines_total", outcome="unparsed") == 0
        assert all(json.loads(line) for line in (tmp_path / "proxy.log").read_bytes().splitlines())


def test_a_killed_exporter_goes_on_where_it_was(url: str, tmp_path: Path) -> None:
    with proxying(tmp_path, url) as proxy, streams(proxy, 100):
        for expected in (5, 11):
            with serving(tmp_path, source(proxy)) as exporter:
                assert [ask(proxy) for _ in range(5)] == [200] * 5
                until(
                    "every request",
                    lambda exporter=exporter, expected=expected: exporter.value("dify_requests_total") == expected,
                )
                os.kill(exporter.process.pid, signal.SIGKILL)
            assert ask(proxy) == 200
        with serving(tmp_path, source(proxy)) as exporter:
            until("every request", lambda: exporter.value("dify_requests_total") == 12)
            assert active(exporter) == 100


def test_one_worker_holds_300_streams(url: str, tmp_path: Path) -> None:
    """`make bench` holds 500 and measures what they cost the others."""
    with proxying(tmp_path, url) as proxy:
        assert ask(proxy) == 200
        before = resident(proxy)
        with streams(proxy, 300) as connections:
            until(
                "a heartbeat",
                lambda: [x for x in proxy.lines("dify.proxy.heartbeat") if x["dify.proxy.active_requests"] == 300],
            )
            assert ask(proxy) == 200
            assert resident(proxy) - before < 40_000
            for connection in connections:
                connection.close()
        lines = until("every line", lambda: found if len(found := proxy.lines()) == 302 else None)
        assert Counter(line["http.response.status_code"] for line in lines) == {200: 2, 499: 300}
        assert lines[-1]["dify.proxy.active_requests"] == 0


def test_few_files_are_fewer_connections(tmp_path: Path) -> None:
    few = ("sh", "-c", 'ulimit -n 64; exec "$@"', "sh")
    with recording() as recorder, proxying(tmp_path, recorder.url, command=few) as proxy:
        with ExitStack() as stack:
            for _ in range(100):
                connection = stack.enter_context(socket.create_connection(proxy.address, timeout=20))
                connection.sendall(b"GET /v1/info HTTP/1.1\r\nHo")
            time.sleep(1)
        assert requests.get(f"{proxy.url}/v1/info", timeout=10).text == "ok"
        assert "Booting worker" in proxy.process.lines[-1]


def test_slow_clients_block_nobody(tmp_path: Path) -> None:
    with recording() as recorder, proxying(tmp_path, recorder.url) as proxy, ExitStack() as stack:
        for _ in range(300):
            connection = stack.enter_context(socket.create_connection(proxy.address, timeout=20))
            connection.sendall(b"GET /v1/info HTTP/1.1\r\nHo")
        begun = time.monotonic()
        assert requests.get(f"{proxy.url}/-/healthy", timeout=10).text == "ok\n"
        assert requests.get(f"{proxy.url}/v1/info", timeout=10).text == "ok"
        assert time.monotonic() - begun < 5


TINY = b"1\r\na\r\n" * 10_000
BUSY = {
    "uploads": (b"POST /v1/files/upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", TINY),
    "downloads": (b"GET /v1/info HTTP/1.1\r\nHost: h\r\n\r\n", b""),
    "asks": (b"", b"GET /-/healthy HTTP/1.1\r\nHost: h\r\n\r\n" * 2000),
}


@pytest.mark.parametrize("name", BUSY)
def test_a_client_that_never_pauses_blocks_nobody(tmp_path: Path, name: str) -> None:
    """All that the worker could do next is there already, in tiny pieces, and no end of it."""
    head, more = BUSY[name]

    def drop(connection: socket.socket) -> None:
        with suppress(OSError):
            while connection.recv(1 << 20):
                pass

    def answer(connection: socket.socket, _: bytes) -> None:
        if more:
            drop(connection)
            raise StopIteration
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(TINY)

    def keep_on(connection: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection.sendall(more)

    with recording() as recorder, proxying(tmp_path, recorder.url) as proxy:
        recorder.answer, recorder.reads_bodies = answer, False
        with socket.create_connection(proxy.address, timeout=20) as connection, ThreadPoolExecutor(2) as pool:
            connection.sendall(head)
            pool.submit(keep_on if more else drop, connection)
            if name == "asks":
                pool.submit(drop, connection)
            time.sleep(0.5)
            try:
                assert requests.get(f"{proxy.url}/-/healthy", timeout=15).text == "ok\n"
            finally:
                connection.shutdown(socket.SHUT_RDWR)


def test_a_client_that_takes_nothing_is_no_event(tmp_path: Path) -> None:
    """Nor is one that asks no more: gunicorn would show where it waited, 40 lines each time."""

    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + b"a" * 100_000_000)

    with recording() as recorder, proxying(tmp_path, recorder.url, "read_timeout = 3\n") as proxy:
        with ExitStack() as stack:
            idle, stuck = (stack.enter_context(socket.create_connection(proxy.address, timeout=20)) for _ in range(2))
            answers = stack.enter_context(idle.makefile("rb"))
            idle.sendall(b"GET /v1/info HTTP/1.1\r\nHost: h\r\n\r\n")
            until("its answer", lambda: answers.readline() == b"\r\n")
            assert answers.read(2) == b"ok"
            recorder.answer = answer
            stuck.sendall(b"GET /v1/info HTTP/1.1\r\nHost: h\r\n\r\n")
            assert proxy.wait_for_lines(2)[1]["dify.proxy.outcome"] == "client_closed"
            # For longer than that the idle one has asked nothing.
            idle.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: h\r\n\r\n")
            assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
        assert "Booting worker" in proxy.process.lines[-1]


def test_an_end_in_order(url: str, tmp_path: Path) -> None:
    """SIGTERM: a request that runs is finished, an idle connection holds nobody up."""
    with proxying(tmp_path, url) as proxy, requests.Session() as idle, ThreadPoolExecutor(1) as pool:
        assert idle.get(f"{proxy.url}/v1/parameters", timeout=10).ok
        body = BODY | {"response_mode": "streaming"}
        running = requests.post(f"{proxy.url}/v1/chat-messages", json=body, headers=KEY, timeout=20, stream=True)
        stopped = pool.submit(proxy.process.stop)
        assert "message_end" in running.text
        begun = time.monotonic()
        assert stopped.result() == 0
        assert time.monotonic() - begun < 10
        assert [line["dify.proxy.outcome"] for line in proxy.lines()] == ["ok", "ok"]
        assert not [line for line in proxy.process.lines if "ERROR" in line]
