"""What goes into the proxy comes out of it: targets, fields, bodies, framing."""

import contextlib
import hashlib
import http.client
import os
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
import trustme

from tests.system.exporter import COMMAND
from tests.system.programs import running, until
from tests.system.proxy import OK, Proxy, Recorder, proxying, recording, resident


@pytest.fixture(scope="module")
def listening() -> Iterator[Recorder]:
    with recording() as found:
        yield found


@pytest.fixture
def recorder(listening: Recorder) -> Recorder:
    listening.answer, listening.reads_bodies = OK, True
    return listening


@pytest.fixture(scope="module")
def proxy(listening: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with proxying(tmp_path_factory.mktemp("proxy"), listening.url) as found:
        yield found


def fields_of(request: bytes) -> list[tuple[str, str]]:
    lines = request.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]


@pytest.mark.parametrize(
    "target",
    [
        "/a%2Fb%20c;d/%e4%bd?q=%0A&z", "//v1//x/../y/./z", "/v1/x%0Ainjected", "/?", "/%zz", "/v1/a;b=c?a=%26&&b==#"[:-1],
        "/v1/chat-messages?user=%C3%A9&x=[1]{2}|3", "/" + "a" * 4000,
    ],
)  # fmt: skip
def test_a_target_passes_byte_for_byte(proxy: Proxy, recorder: Recorder, target: str) -> None:
    assert b" 200 OK\r\n" in proxy.raw(f"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
    assert recorder.requests[-1].split(b"\r\n")[0] == f"GET {target} HTTP/1.1".encode()


@pytest.mark.parametrize(
    "method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "foobar", "X"]
)
def test_any_method_passes(proxy: Proxy, recorder: Recorder, method: str) -> None:
    proxy.raw(f"{method} /v1/info HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
    assert recorder.requests[-1].startswith(f"{method} /v1/info HTTP/1.1\r\n".encode())


def test_the_options_of_the_whole_server_pass(proxy: Proxy, recorder: Recorder) -> None:
    proxy.raw(b"OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert recorder.requests[-1].startswith(b"OPTIONS * HTTP/1.1\r\n")


def test_a_target_in_absolute_form_becomes_one_normal_request(proxy: Proxy, recorder: Recorder) -> None:
    proxy.raw(b"GET http://dify.example/v1/info?x=%2f HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n")
    assert recorder.requests[-1].startswith(b"GET /v1/info?x=%2f HTTP/1.1\r\n")
    assert ("Host", "dify.example") in fields_of(recorder.requests[-1])


def test_fields_of_one_connection_stay_there(proxy: Proxy, recorder: Recorder) -> None:
    proxy.raw(
        b"GET /v1/info HTTP/1.1\r\nHost: dify.example\r\nConnection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
        b"TE: trailers\r\nTrailer: X-T\r\nUpgrade: h2c\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\n"
        b"X-Kept: caf\xe9\r\nTraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
        b"X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nAccept-Encoding: br;q=1.0\r\n\r\n"
    )
    found = dict(fields_of(recorder.requests[-1]))
    assert found == {
        "Host": "dify.example",
        "X-Kept": "caf\xe9",
        "Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "X-Forwarded-For": "203.0.113.7, 127.0.0.1",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "dify.example",
        "Accept-Encoding": "br;q=1.0",
    }
    assert (
        until("its line", lambda: [x for x in proxy.lines() if x["trace_id"]])[-1]["trace_id"]
        == "0af7651916cd43dd8448eb211c80319c"
    )


def test_a_key_in_a_field_of_its_own_becomes_authorization(proxy: Proxy, recorder: Recorder) -> None:
    proxy.raw(b"GET /v1/info HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Dify-Api-Key: app-CANARY\r\n\r\n")
    assert ("Authorization", "Bearer app-CANARY") in fields_of(recorder.requests[-1])
    assert b"X-Dify-Api-Key" not in recorder.requests[-1]
    proxy.raw(
        b"GET /v1/info HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Dify-Api-Key: other\r\n"
        b"Authorization: Bearer first\r\n\r\n"
    )
    assert ("Authorization", "Bearer first") in fields_of(recorder.requests[-1])
    assert b"other" not in recorder.requests[-1]


def test_the_fields_of_an_answer_pass(proxy: Proxy, recorder: Recorder) -> None:
    recorder.answer = (
        b"HTTP/1.1 201 Made It\r\nContent-Length: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2; Path=/\r\nConnection: X-Hop\r\n"
        b"X-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-Version: 1.12.1\r\nX-Latin: caf\xe9\r\nX-Accel-Buffering: no\r\n"
        b"Cache-Control: no-cache\r\nProxy-Authenticate: Basic\r\nTrailer: X-T\r\n\r\nok"
    )
    connection = http.client.HTTPConnection(*proxy.address, timeout=10)
    connection.request("GET", "/v1/info")
    response = connection.getresponse()
    assert (response.status, response.reason, response.read()) == (201, "Made It", b"ok")
    assert response.headers.get_all("Set-Cookie") == ["a=1", "b=2; Path=/"]
    assert {name.lower() for name in response.headers} == {
        "server", "date", "connection", "content-length", "set-cookie", "x-version", "x-latin", "x-accel-buffering",
        "cache-control",
    }  # fmt: skip
    assert response.headers["Connection"] == "keep-alive"
    assert response.headers["X-Latin"] == "caf\xe9"
    connection.close()


@pytest.mark.parametrize(
    ("method", "answer", "length"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", "1234"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 99\r\n\r\n", "99"),
        ("GET", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "0"),
    ],
)  # fmt: skip
def test_answers_without_a_body_leave_the_connection_usable(
    proxy: Proxy, recorder: Recorder, method: str, answer: bytes, length: str | None
) -> None:
    recorder.answer = answer
    connection = http.client.HTTPConnection(*proxy.address, timeout=10)
    for _ in range(2):
        connection.request(method, "/v1/info")
        response = connection.getresponse()
        assert response.read() == b""
        assert response.headers["Content-Length"] == length
        assert response.headers["Transfer-Encoding"] is None
    connection.close()


def test_connections_to_dify_are_kept(proxy: Proxy, recorder: Recorder) -> None:
    ports = set()

    def answer(connection: socket.socket, _: bytes) -> None:
        ports.add(connection.getpeername()[1])
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")

    recorder.answer = answer
    connection = http.client.HTTPConnection(*proxy.address, timeout=10)
    for _ in range(20):
        connection.request("POST", "/v1/info", body=b"x" * 10)
        assert connection.getresponse().read() == b"ok"
    connection.close()
    assert len(ports) <= 5  # a pause of this machine may make one stale


def test_a_chunked_body_passes_as_it_is(proxy: Proxy, recorder: Recorder) -> None:
    connection = http.client.HTTPConnection(*proxy.address, timeout=10)
    connection.request("POST", "/v1/files/upload", body=iter([b"1" * 3, b"2" * 150000]), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})  # fmt: skip
    assert connection.getresponse().read() == b"ok"
    connection.close()
    request = recorder.requests[-1]
    assert ("Transfer-Encoding", "chunked") in fields_of(request)
    assert request.partition(b"\r\n\r\n")[2].count(b"2") >= 150000


def test_a_large_upload_costs_no_memory(tmp_path: Path, proxy: Proxy, recorder: Recorder) -> None:
    """As curl sends it, with Expect: 100-continue. `make bench` sends a gigabyte."""
    size, block = 60_000_000, os.urandom(1_000_000)
    source = tmp_path / "body"
    source.write_bytes(block * 60)
    received: list[tuple[bytes, str]] = []

    def answer(connection: socket.socket, head: bytes) -> None:
        body = head.partition(b"\r\n\r\n")[2]
        found, left = hashlib.sha256(body), size - len(body)
        while left:
            piece = connection.recv(1 << 20)
            found.update(piece)
            left -= len(piece)
        received.append((head, found.hexdigest()))
        connection.sendall(OK)

    recorder.answer, recorder.reads_bodies = answer, False
    before = resident(proxy)
    curl = ["curl", "-sS", "-T", str(source), "-X", "POST", "-H", "Expect: 100-continue"]
    result = subprocess.run([*curl, f"{proxy.url}/v1/files/upload"], capture_output=True, check=True, timeout=60)
    assert result.stdout == b"ok"
    assert received[0][1] == hashlib.sha256(block * 60).hexdigest()
    assert b"expect" not in received[0][0].lower()
    assert resident(proxy) - before < 20_000
    until("its line", lambda: [line for line in proxy.lines() if line["http.request.body.size"] == size])


def test_an_answer_before_the_bodys_end_reaches_the_client(proxy: Proxy, recorder: Recorder) -> None:
    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n")
        raise StopIteration

    recorder.answer, recorder.reads_bodies = answer, False
    body = b"x" * 30_000_000
    with socket.create_connection(proxy.address, timeout=10) as connection:
        connection.sendall(b"POST /v1/files/upload HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body))
        sender = threading.Thread(target=_send, args=(connection, body))
        sender.start()
        head = connection.recv(65536)
        assert head.startswith(b"HTTP/1.1 413 Too Large\r\n")
        assert b"Connection: close\r\n" in head
        sender.join()
    until("its line", lambda: [line for line in proxy.lines() if line["http.response.status_code"] == 413])


def _send(connection: socket.socket, body: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(body)


def test_health_is_answered_without_dify(tmp_path: Path) -> None:
    with proxying(tmp_path, "http://127.0.0.1:9") as proxy:
        assert proxy.raw(b"GET /-/healthy HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").endswith(b"\r\n\r\nok\n")
        assert proxy.lines() == []


@pytest.mark.parametrize("listen", ["[::1]:0", "::1:0"])
def test_ipv6(tmp_path: Path, listen: str) -> None:
    (tmp_path / "proxy.toml").write_text(f'[proxy]\nlisten = "{listen}"\n')
    with running([COMMAND, "proxy", "--config", "proxy.toml"], tmp_path) as process:
        found = re.search(r"http://\[::1\]:\d+", process.said("Listening at"))
        assert found
        with urlopen(f"{found[0]}/-/healthy", timeout=10) as answer:
            assert answer.read() == b"ok\n"


def test_dify_behind_tls_is_verified_and_called_by_its_own_name(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    for name, ca in (("authority", authority), ("stranger", stranger)):
        ca.cert_pem.write_to_path(str(tmp_path / f"{name}.pem"))
    request = b"GET /v1/info HTTP/1.1\r\nHost: dify.example\r\nConnection: close\r\n\r\n"
    with recording(tls) as upstream:
        with proxying(tmp_path, upstream.url, 'upstream_ca = "authority.pem"\n') as proxy:
            assert proxy.raw(request).endswith(b"\r\n\r\nok")
        found = fields_of(upstream.requests[-1])
        assert ("Host", upstream.url.removeprefix("https://")) in found
        assert ("X-Forwarded-Host", "dify.example") in found
        with proxying(tmp_path, upstream.url, 'upstream_ca = "stranger.pem"\n') as proxy:
            assert all(proxy.raw(request).startswith(b"HTTP/1.1 502 ") for _ in range(2))
            reason = proxy.process.said("no connection to Dify at localhost:")
            assert "certificate verify failed" in reason
            assert proxy.process.lines[-1] == reason
            assert proxy.wait_for_lines(2)[-1]["dify.proxy.outcome"] == "upstream_refused"
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_upload_to_dify_behind_tls_waits_for_no_answer(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """TLS 1.3 sends session tickets: there is something to read, and no answer in it."""
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.maximum_version = version
    authority.issue_cert("localhost").configure_cert(tls)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    settings = 'upstream_ca = "authority.pem"\nread_timeout = 5\n'
    with recording(tls) as upstream, proxying(tmp_path, upstream.url, settings) as proxy:
        with socket.create_connection(proxy.address, timeout=10) as connection:
            connection.sendall(b"POST /v1/files/upload HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nfirst")
            until(
                "it", lambda: [x for x in proxy.lines("dify.proxy.heartbeat") if x["dify.proxy.active_requests"] == 1]
            )
            connection.sendall(b"later")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
        assert upstream.requests[-1].endswith(b"firstlater")
