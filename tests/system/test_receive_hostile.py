"""Any bytes, slow clients, bombs, a full disk: bounded memory, others are served meanwhile, no 408, 429 or 500."""

import gzip
import http.client
import json
import os
import random
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.exporter.receive.callable import SPANS
from tests.system.programs import until
from tests.system.proxy import read_all, resident
from tests.system.receiver import Receiver, facts, items, lines, receiving
from tests.system.test_proxy_hostile import REFUSED as MALFORMED

MIB = 1 << 20
HEAD = b"POST /v1/traces HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    folder = tmp_path_factory.mktemp("receive")
    (folder / "token").write_text("secret-CANARY")
    with receiving(folder, "native = true\n") as found:
        yield found


def raw(receiver: Receiver, request: bytes) -> bytes:
    """Everything that comes back on a connection of its own."""
    with socket.create_connection(receiver.address, timeout=20) as connection:
        connection.sendall(request)
        return read_all(connection)


MALFORMED_HERE = {
    name: request
    for name, (_, request) in MALFORMED.items()
    if name not in ("CONNECT", "a WebSocket", "a fragment", "an authority", "TE gzip, chunked", "no Host")
}


@pytest.mark.parametrize("name", MALFORMED_HERE)
def test_what_can_be_read_in_two_ways_is_refused(receiver: Receiver, name: str) -> None:
    answer = raw(receiver, MALFORMED_HERE[name].replace(b"/v1/info", b"/v1/traces"))
    assert answer[:13] in (b"HTTP/1.1 400 ", b"HTTP/1.1 414 ", b"HTTP/1.1 415 ", b"HTTP/1.1 417 ", b"HTTP/1.1 431 ",
                           b"HTTP/1.1 501 ")  # fmt: skip
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"hello" not in answer


def test_random_bodies_get_200_or_400(receiver: Receiver) -> None:
    dice = random.Random(7)
    for _ in range(300):
        body = bytearray(SPANS if dice.random() < 0.5 else dice.randbytes(dice.randrange(400)))
        for _ in range(dice.randrange(1, 5)):
            if body:
                body[dice.randrange(len(body))] = dice.randrange(256)
        content_type = dice.choice(["application/json", "application/x-protobuf"])
        path = dice.choice(["/v1/traces", "/api/public/ingestion", "/api/public/otel/v1/traces"])
        fields = {"Content_Encoding": "gzip"} if dice.random() < 0.2 else {}
        status = receiver.post(path, bytes(body), Content_Type=content_type, **fields)
        assert status in (200, 207, 400, 413, 415), (status, path, body)
    assert receiver.post("/v1/traces", SPANS, Content_Type="application/json") == 200


def test_a_body_in_chunks(receiver: Receiver) -> None:
    chunk = b"%x\r\n%s\r\n" % (len(SPANS), SPANS)
    answer = raw(receiver, HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunk + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    endless = b"%x\r\n" % MIB + b" " * MIB + b"\r\n"
    with socket.create_connection(receiver.address, timeout=20) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(80):
                connection.sendall(endless)
        except OSError:
            pass  # it has answered and closed
        assert read_all(connection).startswith((b"HTTP/1.1 413 ", b"<reset>"))


def test_a_length_that_is_a_lie_gets_no_answer(receiver: Receiver) -> None:
    with socket.create_connection(receiver.address, timeout=20) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (len(SPANS) + 10) + SPANS)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b""
    with socket.create_connection(receiver.address, timeout=20) as connection:
        connection.sendall(HEAD + b"Content-Length: 10\r\nConnection: close\r\n\r\n" + SPANS)
        answer = read_all(connection)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_slow_clients_lose_their_connection_and_stop_nobody(receiver: Receiver) -> None:
    slow = [socket.create_connection(receiver.address, timeout=60) for _ in range(150)]
    try:
        for number, each in enumerate(slow):
            if number % 3 == 0:
                each.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")  # silent in its body
            elif number % 3 == 1:
                each.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n" + b" " * 200_000)
            else:
                each.sendall(b"POST /v1/tra")  # silent in its head
        until("places that slow clients lose", lambda: receiver.post("/v1/traces", b"") == 200, 30)
        times = []
        for _ in range(50):
            begun = time.monotonic()
            assert receiver.post("/v1/traces", b"") in (200, 503)
            times.append(time.monotonic() - begun)
        assert sorted(times)[25] < 1.0
        # Those that got a place lose it without an answer, the others were refused. Which ones depends on the kernel.
        answers = [read_all(each).replace(b"<reset>", b"") for number, each in enumerate(slow) if number % 3 < 2]
        assert all(not answer or answer.startswith(b"HTTP/1.1 503 ") for answer in answers)
        assert answers.count(b"") >= 32
    finally:
        for each in slow:
            each.close()
    until("the end of the slow ones", lambda: all(receiver.post("/v1/traces", b"") == 200 for _ in range(10)))


def test_connections_that_never_send_a_head_keep_nobody_out(receiver: Receiver) -> None:
    """There are more of them than the receiver accepts, and they come back."""
    kept = http.client.HTTPConnection(*receiver.address, timeout=20)  # a client that sends now and then
    silent = []
    try:
        for number in range(700):
            silent.append(socket.create_connection(receiver.address, timeout=20))
            silent[-1].sendall(b"POST /v1/tra")
            if number % 70 == 0:
                kept.request("POST", "/v1/traces", b"", {"Content-Type": "application/x-protobuf"})
                answer = kept.getresponse()
                assert (answer.status, answer.read()) == (200, b"")
                assert receiver.post("/v1/traces", b"") == 200
    finally:
        kept.close()
        for each in silent:
            each.close()


def test_large_bodies_and_bombs_in_bounded_memory(receiver: Receiver) -> None:
    before = facts(receiver.log)
    json_body = {"Content_Type": "application/json"}
    around = b'{"resourceSpans":[{"scopeSpans":[{"scope":{"name":"sql"},"spans":[%s]}]}]}'
    text = around % b",".join([b'{"name":"%s"}' % (b"x" * MIB)] * 62)
    assert receiver.post("/v1/traces", text, **json_body) == 200
    assert receiver.post("/v1/traces", gzip.compress(text, 1), Content_Encoding="gzip", **json_body) == 200
    one = around % (b'{"name":"\xf0\x9f\x98\x80%s"}' % (b"x" * 62 * MIB))  # in memory, four times as large
    assert receiver.post("/v1/traces", one, **json_body) == 413
    bomb = gzip.compress(b"\0" * (512 * MIB), 1)
    assert receiver.post("/v1/traces", bomb, Content_Encoding="gzip") == 413
    assert receiver.post("/v1/traces", b"\x0a\x00" * (30 * MIB)) == 413
    assert receiver.post("/v1/traces", b"[" * (60 * MIB), **json_body) == 413
    assert receiver.post("/v1/traces", around % b",".join([b"{}"] * (20 * MIB)), **json_body) == 413
    event = b'{"batch":[{"id":"x","type":"span-create","body":{"input":"%s"}}]}' % (b"x" * 62 * MIB)
    assert receiver.post("/api/public/ingestion", event, **json_body) == 207
    peak = int(Path(f"/proc/{receiver.worker}/status").read_text().split("VmHWM:")[1].split()[0])
    assert peak < 150 * 1024, f"{peak} KiB"
    assert resident(receiver) < 150 * 1024
    assert facts(receiver.log) == before


def test_ten_thousand_spans(tmp_path: Path) -> None:
    span = json.dumps(json.loads(SPANS)["resourceSpans"][0]["scopeSpans"][0]["spans"][0])
    node = "0b6f6a9e-0000-4000-8000-{:012d}"
    spans = ",".join(span.replace(node.format(1), node.format(number)) for number in range(10_000))
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[%s]}]}]}' % spans.encode()
    with receiving(tmp_path) as receiver:
        for _ in range(2):
            assert receiver.post("/v1/traces", body, Content_Type="application/json") == 200
        assert len(facts(receiver.log)) == 10_000
        receiver.process.stop()
        assert items(receiver.log) == {("otel", "written"): 10_000, ("otel", "duplicate"): 10_000}


def test_a_full_disk_is_503_until_there_is_room(tmp_path: Path) -> None:
    body = SPANS
    with receiving(tmp_path, command=("env", "PYTHONDONTWRITEBYTECODE=1")) as receiver:  # it would be cut, too
        until("a heartbeat", lambda: lines(receiver.log))
        size = receiver.log.stat().st_size
        limits = resource.prlimit(receiver.worker, resource.RLIMIT_FSIZE)
        resource.prlimit(receiver.worker, resource.RLIMIT_FSIZE, (size + 100, limits[1]))
        for _ in range(3):
            assert receiver.post("/v1/traces", body, Content_Type="application/json") == 503
            assert receiver.log.stat().st_size == size
        resource.prlimit(receiver.worker, resource.RLIMIT_FSIZE, limits)
        assert receiver.post("/v1/traces", body, Content_Type="application/json") == 200
        assert len(facts(receiver.log)) == 1


def test_a_second_receiver_waits_for_the_first(tmp_path: Path) -> None:
    with receiving(tmp_path) as first:
        assert first.post("/v1/traces", SPANS, Content_Type="application/json") == 200
        with receiving(tmp_path) as second:
            second.process.said("is locked by another receiver")
            first.process.stop()
            until("the second", lambda: second.post("/v1/traces", SPANS, Content_Type="application/json") == 200)
            assert len(facts(second.log)) == 1


def test_nothing_that_was_sent_is_in_the_log_or_in_what_the_receiver_says(receiver: Receiver) -> None:
    for path in ("/v1/traces", "/api/public/ingestion", "/CANARY?CANARY", "/v1/logs", "/api/public/otel/v1/traces"):
        for body in (
            SPANS,
            SPANS[:-5],
            b"CANARY",
            json.dumps({"batch": [{"id": "CANARY", "type": "CANARY"}]}).encode(),
        ):
            for content_type in ("application/json", "application/x-protobuf", "text/CANARY"):
                receiver.post(path, body, Content_Type=content_type, Authorization="Bearer CANARY", X_User="CANARY")
    assert b"CANARY" not in receiver.log.read_bytes()
    assert "CANARY" not in "\n".join(receiver.process.lines)


def test_the_worker_is_replaced_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver:
        worker = receiver.worker
        os.kill(worker, 9)
        until("another worker", lambda: receiver.post("/v1/traces", b"") == 200 and receiver.worker != worker)
    assert not Path(f"/proc/{receiver.process.pid}").exists()
