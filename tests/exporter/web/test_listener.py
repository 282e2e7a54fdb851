"""The probe table: the bytes that hostile and unusual clients send, and the statuses that they get."""

import asyncio
import errno
import os
import re
import select
import socket
import threading
import time
from contextlib import ExitStack, suppress
from urllib.parse import urljoin

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.config.web import RateLimit, WebConfig
from exporter.metrics.exposition import ScrapeOptions
from exporter.web import connection
from exporter.web import listener as listener_module
from tests.exporter.web.endpoint import BODY, Client, Service, listening, parted, received
from tests.system.programs import until

HOST = b"\r\nHost: a\r\n\r\n"

PROBES = [
    # what is good
    ("plain", b"GET /-/healthy HTTP/1.1" + HOST, [200]),
    ("HTTP/1.0", b"GET /-/healthy HTTP/1.0\r\n\r\n", [200]),
    ("head", b"HEAD /metrics HTTP/1.1" + HOST, [200]),
    ("absolute form", b"GET http://evil.example/-/healthy HTTP/1.1" + HOST, [200]),
    ("pipelined", (b"GET /-/healthy HTTP/1.1" + HOST) * 5, [200] * 5),
    ("pipelined, then garbage", b"GET /-/healthy HTTP/1.1" + HOST + b"\x00\x01\r\n\r\n", [200, 400]),
    ("a body where none is wanted", b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", [200]),
    ("upgrade", b"GET /-/healthy HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade" + HOST, [200]),
    ("many names", b"GET /metrics?" + b"name[]=a&" * 100 + b" HTTP/1.1" + HOST, [200]),
    # paths and methods
    ("elsewhere", b"GET /metric HTTP/1.1" + HOST, [404]),
    ("a slash behind a page", b"GET /metrics/ HTTP/1.1" + HOST, [308]),
    ("a slash behind another page", b"HEAD /-/healthy/ HTTP/1.1" + HOST, [308]),
    ("a slash behind a page that is posted to", b"POST /-/reload/ HTTP/1.1\r\nContent-Length: 0" + HOST, [308]),
    ("two slashes behind a page", b"GET /metrics// HTTP/1.1" + HOST, [404]),
    ("only slashes", b"GET // HTTP/1.1" + HOST, [404]),
    ("dots", b"GET /x/../metrics HTTP/1.1" + HOST, [404]),
    ("double slash", b"GET //metrics HTTP/1.1" + HOST, [404]),
    ("double slash and a name", b"GET //a/metrics HTTP/1.1" + HOST, [404]),  # past a front that denies /metrics
    ("triple slash", b"GET ///metrics HTTP/1.1" + HOST, [404]),
    ("absolute form, double slash", b"GET http://a//metrics HTTP/1.1" + HOST, [404]),
    ("fragment", b"GET /metrics#a HTTP/1.1" + HOST, [400]),
    ("another scheme", b"GET ftp://a/metrics HTTP/1.1" + HOST, [404]),
    ("parameter", b"GET /metrics;a HTTP/1.1" + HOST, [404]),
    ("escaped", b"GET /%6detrics HTTP/1.1" + HOST, [404]),
    ("asterisk", b"OPTIONS * HTTP/1.1" + HOST, [404]),
    ("post", b"POST /metrics HTTP/1.1\r\nContent-Length: 0" + HOST, [405]),
    ("unknown method", b"PROPFIND /metrics HTTP/1.1" + HOST, [405]),
    ("connect", b"CONNECT a:443 HTTP/1.1" + HOST, [404]),
    ("a method of 5,000 letters", b"G" * 5000 + b" /metrics HTTP/1.1" + HOST, [405]),
    ("too many names", b"GET /metrics?" + b"name[]=a&" * 1000 + b" HTTP/1.1" + HOST, [400]),
    # a HEAD that is refused: its response has no body either
    ("head, fragment", b"HEAD /metrics#a HTTP/1.1" + HOST, [400]),
    ("head, HTTP/2", b"HEAD /metrics HTTP/2.0" + HOST, [505]),
    ("head, a bad chunk", b"HEAD / HTTP/1.1\r\nTransfer-Encoding: chunked" + HOST + b"zz\r\n", [400]),
    (
        "head, two framings",
        b"HEAD / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked" + HOST + b"0\r\n\r\n",
        [400],
    ),
    ("head, a body of 70 kB", b"HEAD / HTTP/1.1\r\nContent-Length: 70000" + HOST + b"a" * 70_000, [413]),
    # what is no HTTP/1.1
    ("HTTP/0.9", b"GET /\r\n\r\n", [400]),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [505]),
    ("TLS to a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", [400]),
    ("blank in the target", b"GET /a b HTTP/1.1" + HOST, [400]),
    ("control character in the target", b"GET /\x01 HTTP/1.1" + HOST, [400]),
    ("no bracket's end", b"GET http://[::1/ HTTP/1.1" + HOST, [400]),
    ("no host", b"GET / HTTP/1.1\r\n\r\n", [400]),
    ("two hosts", b"GET / HTTP/1.1\r\nHost: b" + HOST, [400]),
    ("NUL in a value", b"GET / HTTP/1.1\r\nX: a\x00b" + HOST, [400]),
    ("blank before the colon", b"GET / HTTP/1.1\r\nX : a" + HOST, [400]),
    ("no colon", b"GET / HTTP/1.1\r\nX" + HOST, [400]),
    # sizes
    ("a header of 70 kB", b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + HOST, [431]),
    ("9,000 headers", b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 9000 + HOST, [431]),
    ("a target of 70 kB", b"GET /" + b"a" * 70_000 + b" HTTP/1.1" + HOST, [431]),
    ("a body of 70 kB", b"POST / HTTP/1.1\r\nContent-Length: 70000" + HOST + b"a" * 70_000, [413]),
    # two ways to read one message
    ("two lengths", b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6" + HOST + b"abcdef", [400]),
    ("signed length", b"POST / HTTP/1.1\r\nContent-Length: +5" + HOST + b"abcde", [400]),
    ("coding twice", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked" + HOST, [501]),
    ("unknown coding", b"POST / HTTP/1.1\r\nTransfer-Encoding: xchunked" + HOST, [501]),
    ("a bad chunk", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked" + HOST + b"zz\r\n", [400]),
]


@pytest.mark.parametrize(("request_", "statuses"), [p[1:] for p in PROBES], ids=[p[0] for p in PROBES])
def test_probe(request_: bytes, statuses: list[int], caplog: pytest.LogCaptureFixture) -> None:
    with listening() as listener:
        answer = Client(listener).send(request_)
    assert [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3})", answer)] == statuses
    assert b"evil" not in answer
    assert not caplog.records


def test_a_smuggled_request_gets_no_response() -> None:
    """After Content-Length with Transfer-Encoding the connection is closed."""
    smuggled = b"GET /-/ready HTTP/1.1" + HOST
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: %d" % (len(smuggled) + 5)
    with listening() as listener:
        answer = Client(listener).send(head + HOST + b"0\r\n\r\n" + smuggled)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Ready" not in answer


def test_head_has_the_length_and_no_body() -> None:
    with listening() as listener:
        status, headers, body = parted(Client(listener).send(b"HEAD /metrics HTTP/1.1" + HOST))
    assert (status, headers["content-length"], body) == (200, str(len(BODY)), b"")


def test_every_response_has_the_security_headers() -> None:
    with listening() as listener:
        for path in ("/", "/metrics", "/health", "/nothing", "/-/ready"):
            _, headers, _ = Client(listener).get(path)
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "deny"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert headers["cache-control"] == "no-store"


def test_a_405_says_what_is_allowed() -> None:
    with listening() as listener:
        _, headers, _ = parted(Client(listener).send(b"DELETE /metrics HTTP/1.1" + HOST))
    assert headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("accepted", "coded"),
    [("gzip", True), ("gzip;q=0", False), ("identity", False), ("*", True), ("*;q=0", False), ("br, gzip;q=0.1", True)],
)
def test_gzip_if_the_client_accepts_it(accepted: str, coded: bool) -> None:
    with listening() as listener:
        _, headers, body = Client(listener).get("/metrics", Accept_Encoding=accepted)
    assert (headers.get("content-encoding") == "gzip") is coded
    assert (body == BODY) is not coded


def test_names_and_created_reach_the_service() -> None:
    service = Service()
    with listening(service) as listener:
        Client(listener).get("/metrics?name[]=a&name%5B%5D=b&created=true")
    assert service.asked[0][1:] == (True, frozenset("ab"))


def test_before_the_first_pass_metrics_are_not_shown() -> None:
    service = Service()
    service.is_ready = False
    with listening(service) as listener:
        client = Client(listener)
        for path in ("/metrics", "/-/ready"):
            status, headers, body = client.get(path)
            assert (status, headers["retry-after"]) == (503, "1")
            assert body == b"Not ready: first pass has read 3 of 5 bytes.\n"
        assert client.get("/-/healthy")[0] == 200


def test_a_fault_is_a_500_without_details(caplog: pytest.LogCaptureFixture) -> None:
    service = Service()
    service.metrics = lambda *_: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    with listening(service) as listener:
        status, _, body = Client(listener).get("/metrics")
    assert status == 500
    assert b"Zero" not in body
    assert "/metrics cannot be answered" in caplog.text


def test_the_rate_limit_returns_429_and_refills() -> None:
    with listening(config=WebConfig(rate_limit=RateLimit("1s", 3))) as listener:
        client = Client(listener)
        assert [client.get("/-/healthy")[0] for _ in range(3)] == [200, 200, 200]
        for status in (429, 200):
            until(f"an answer of {status}", lambda status=status: client.get("/-/healthy")[0] == status)


def test_requests_at_the_same_time_share_a_rendering() -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Service):
        def metrics(self, options: ScrapeOptions) -> bytes:
            begun.set()
            assert go_on.wait(10)
            return super().metrics(options)

    service = Slow()
    with listening(service) as listener:
        client = Client(listener)
        connections = [client.connect() for _ in range(50)]
        connections[0].sendall(b"GET /metrics HTTP/1.1\r\nConnection: close" + HOST)
        assert begun.wait(10)
        for each in connections[1:]:
            each.sendall(b"GET /metrics HTTP/1.1\r\nConnection: close" + HOST)
        assert client.get("/-/healthy")[0] == 200  # so all of them have been read
        go_on.set()
        assert {parted(received(each))[0] for each in connections} == {200}
        for each in connections:
            each.close()
    assert len(service.asked) <= 3


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "TIMEOUT", 0.4)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (b"GET / HT", b"408"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"408"),
        (b"HEAD / HTTP/1.1\r\nContent-Length: 5" + HOST, b"408"),
    ],
)
def test_an_incomplete_request_times_out(sent: bytes, answer: bytes) -> None:
    with listening() as listener, Client(listener).connect() as slow:
        slow.sendall(sent)
        assert received(slow)[9:12] == answer


@pytest.mark.usefixtures("impatient")
def test_single_bytes_do_not_extend_the_timeout() -> None:
    with listening() as listener, Client(listener).connect() as slow:
        begun = time.monotonic()
        slow.settimeout(0.05)
        answer = None
        while answer is None:
            assert time.monotonic() - begun < 4
            slow.sendall(b"G")
            with suppress(TimeoutError):
                answer = slow.recv(100)
        assert answer.startswith(b"HTTP/1.1 408")


@pytest.mark.usefixtures("impatient")
def test_a_client_that_does_not_read_times_out() -> None:
    size = 20 << 20  # three responses of this size are within the memory limit
    with listening(Service(b"x" * size)) as listener, ExitStack() as deaf:
        clients = [deaf.enter_context(Client(listener).connect()) for _ in range(3)]
        for each in clients:
            each.sendall(b"GET /metrics HTTP/1.1" + HOST)
        for each in clients:
            assert each.recv(1, socket.MSG_PEEK), "its response has started"
        until("all of them to be closed", lambda: not listener._unsent)
        assert all(len(received(each)) < size for each in clients)


def open_connections(clients: list[socket.socket]) -> int:
    """Return how many connections of silent clients the listener has not closed."""
    closed, _, _ = select.select(clients, [], [], 0)
    return len(clients) - len(closed)


def test_a_new_client_replaces_the_one_without_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "_MAX_CONNECTIONS", 20)
    monkeypatch.setattr(connection, "TIMEOUT", 3600.0)
    with listening() as listener:
        client = Client(listener)
        silent = [client.connect() for _ in range(60)]
        assert client.get("/metrics")[0] == 200
        until("the others to be closed", lambda: open_connections(silent) <= 20)
        assert received(silent[0]) == b""
        for each in silent:
            each.close()


def test_half_of_the_file_descriptors_are_left_to_logs_and_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "fd_limit", lambda: 40)
    monkeypatch.setattr(connection, "TIMEOUT", 3600.0)
    with listening() as listener, ExitStack() as stack:
        client = Client(listener)
        silent = [stack.enter_context(client.connect()) for _ in range(60)]
        assert client.get("/metrics")[0] == 200
        until("the others to be closed", lambda: open_connections(silent) <= 20)


def test_close_closes_open_connections() -> None:
    with listening() as listener:
        held = Client(listener).connect()
        held.sendall(b"GET /-/healthy HTTP/1.1" + HOST)
        assert held.recv(100)
    assert received(held)[-9:] == b"Healthy.\n"
    held.close()


def test_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with_ipv6 = listener_module.Listener(("::1", 0), Service(), WebConfig())
    try:
        assert with_ipv6.url.startswith("http://[::1]:")
        assert Client(with_ipv6).get("/metrics")[0] == 200
    finally:
        with_ipv6.close()


@settings(
    max_examples=settings.default.max_examples * 3 // 2, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.tuples(
            st.sampled_from([b"GET ", b"POST ", b"HEAD ", b"get "]),
            st.sampled_from([b"/metrics", b"/", b"*", b"http://x/", b"/?\xff"]) | st.binary(max_size=20),
            st.sampled_from([b" HTTP/1.1", b" HTTP/1.0", b" HTTP/9.9", b""]),
            st.lists(st.sampled_from([b"Host: a", b"Content-Length: 3", b"Transfer-Encoding: chunked", b"Expect: 100-continue",
                                      b"Accept: ;q=,", b"Accept-Encoding: gzip;q=x", b"Authorization: Basic !"])
                     | st.binary(max_size=20), max_size=4).map(lambda lines: b"\r\n" + b"\r\n".join([*lines, b"", b""])),
            st.binary(max_size=30),
        ).map(b"".join),
    )
)  # fmt: skip
def test_any_bytes_get_responses_or_nothing(shared: Client, caplog: pytest.LogCaptureFixture, sent: bytes) -> None:
    answer = shared.send(sent)
    assert not caplog.records
    assert not answer or answer.startswith(b"HTTP/1.1 ")
    assert b"HTTP/1.1 500" not in answer
    assert shared.get("/-/healthy")[0] == 200


@pytest.fixture(scope="module")
def shared():
    with listening() as listener:
        yield Client(listener)


def test_a_lack_of_file_descriptors_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accept = asyncio.SelectorEventLoop.sock_accept
    refused = [OSError(errno.EMFILE, os.strerror(errno.EMFILE)) for _ in range(3)]

    async def few(loop: asyncio.SelectorEventLoop, sock: socket.socket) -> object:
        if refused:
            raise refused.pop()
        return await accept(loop, sock)

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_accept", few)
    with listening(Service()) as listener:
        assert Client(listener).get("/-/healthy")[0] == 200
    assert caplog.text.count("a connection cannot be accepted: Too many open files") == 1


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/metrics/", "../metrics"),
        ("/metrics/?name[]=up&x=1", "../metrics?name[]=up&x=1"),
        ("/-/ready/", "../ready"),
        ("/health/", "../health"),
    ],
)
def test_a_slash_behind_a_page_is_redirected_also_behind_a_prefix(path: str, location: str) -> None:
    with listening() as listener:
        status, headers, _ = Client(listener).get(path)
    assert (status, headers["location"]) == (308, location)
    assert urljoin(f"http://a/prefix{path}", location) == "http://a/prefix" + path.replace("/?", "?").removesuffix("/")
