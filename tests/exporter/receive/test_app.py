"""The channels of the receiver through its WSGI callable: statuses, bodies, tokens, limits."""

import base64
import gzip
import json
import os
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.receive import app as app_module
from exporter.receive.body import MAX_BYTES
from tests.exporter.receive.callable import GENERATION, JSON, NODE, PROTOBUF, SPANS, Receiver
from tests.exporter.wsgi.test_log_file import file_size_limit


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    found = Receiver(tmp_path)
    yield found
    found.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Receiver]:
    found = Receiver(tmp_path, token="secret-CANARY")
    yield found
    found.close()


def test_a_span_is_one_line_and_comes_once(receiver: Receiver) -> None:
    reply = receiver.post("/v1/traces", SPANS)
    assert (reply.status, reply.fields["Content-Type"], reply.body, reply.closes) == (200, JSON, b"{}", False)
    assert receiver.post("/v1/traces?again", SPANS, JSON + "; charset=utf-8").status == 200
    (line,) = receiver.lines()
    assert line["attributes"]["gen_ai.usage.input_tokens"] == 12
    assert b"CANARY" not in receiver.path.read_bytes()
    assert receiver.items() == {("otel", "written"): 1, ("otel", "duplicate"): 1}


def test_a_protobuf_answer_to_a_protobuf_request(receiver: Receiver) -> None:
    reply = receiver.post("/v1/traces", b"", PROTOBUF)
    assert (reply.status, reply.fields["Content-Type"], reply.body) == (200, PROTOBUF, b"")
    reply = receiver.post("/v1/traces", b"\xff", PROTOBUF)
    assert (reply.status, reply.fields["Content-Type"], reply.body[0], reply.body[1]) == (
        400, PROTOBUF, 0x12, len(reply.body) - 2,
    )  # fmt: skip


PACKED = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": gzip.compress,
    "deflate": zlib.compress,
    "identity": bytes,
    "": bytes,
}


@pytest.mark.parametrize("encoding", PACKED)
def test_encodings(receiver: Receiver, encoding: str) -> None:
    body = PACKED[encoding](SPANS)
    assert receiver.post("/v1/traces", body, HTTP_CONTENT_ENCODING=encoding).status == 200
    assert len(receiver.lines()) == 1


def test_a_gzip_body_of_several_members(receiver: Receiver) -> None:
    body = gzip.compress(SPANS[:100]) + gzip.compress(SPANS[100:])
    assert receiver.post("/v1/traces", body, HTTP_CONTENT_ENCODING="gzip").status == 200
    assert len(receiver.lines()) == 1


@pytest.mark.parametrize("path", ["/v1/metrics", "/v1/logs"])
@pytest.mark.parametrize("content_type", [JSON, PROTOBUF])
def test_metrics_and_logs_are_dropped(receiver: Receiver, path: str, content_type: str) -> None:
    reply = receiver.post(path, b"anything", content_type, HTTP_CONTENT_ENCODING="gzip")
    assert (reply.status, reply.fields["Content-Type"]) == (200, content_type)
    assert receiver.items() == {("none", "ignored"): 1}
    assert len(receiver.lines()) == 1


def test_the_check_of_a_provider_gets_200(receiver: Receiver) -> None:
    span = {**NODE, "name": "api_check", "attributes": [{"key": "test", "value": {"stringValue": "true"}}]}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    assert receiver.post("/v1/traces", body).status == 200
    assert receiver.lines() == []


def test_langfuse(receiver: Receiver) -> None:
    reply = receiver.ask("GET", "/api/public/projects")
    (project,) = json.loads(reply.body)["data"]
    assert (reply.status, set(project)) == (200, {"id", "name", "organization", "metadata"})
    body = json.dumps({"batch": [GENERATION, {"id": "x", "type": "sdk-log", "body": {}}]}).encode()
    reply = receiver.post("/api/public/ingestion", body)
    assert (reply.status, json.loads(reply.body)) == (
        207,
        {"successes": [{"id": GENERATION["id"], "status": 201}, {"id": "x", "status": 201}], "errors": []},
    )
    assert receiver.post("/api/public/ingestion", body).status == 207
    (line,) = receiver.lines()
    assert line["attributes"]["gen_ai.usage.output_tokens"] == 5
    assert receiver.post("/api/public/otel/v1/traces", b"", PROTOBUF).status == 200


REFUSED = {
    "not JSON": (400, SPANS[:-1], {}),
    "JSON of another shape": (400, b'{"resourceSpans": 1}', {}),
    "no body of Langfuse": (400, b"[]", {"RAW_URI": "/api/public/ingestion"}),
    "damaged gzip": (400, b"\x1f\x8b" + SPANS, {"HTTP_CONTENT_ENCODING": "gzip"}),
    "half a gzip body": (400, gzip.compress(SPANS)[:-9], {"HTTP_CONTENT_ENCODING": "gzip"}),
    "bytes behind a gzip body": (400, gzip.compress(SPANS) + b"x", {"HTTP_CONTENT_ENCODING": "gzip"}),
    "10,001 spans": (413, b'{"resourceSpans":[{"scopeSpans":[{"spans":[%s]}]}]}' % b",".join([b"{}"] * 10_001), {}),
    "a large body": (413, b"", {"CONTENT_LENGTH": str(MAX_BYTES + 1)}),
    "a gzip bomb": (413, gzip.compress(b" " * (MAX_BYTES + 1), 1), {"HTTP_CONTENT_ENCODING": "gzip"}),
    "zstd": (415, SPANS, {"HTTP_CONTENT_ENCODING": "zstd"}),
    "a form": (415, SPANS, {"CONTENT_TYPE": "application/x-www-form-urlencoded"}),
    "no content type": (415, SPANS, {"CONTENT_TYPE": ""}),
    "protobuf for Langfuse": (415, b"", {"RAW_URI": "/api/public/ingestion", "CONTENT_TYPE": PROTOBUF}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_never_be_read(receiver: Receiver, name: str) -> None:
    status, body, environ = REFUSED[name]
    reply = receiver.post("/v1/traces", body, **environ)
    assert reply.status == status
    assert receiver.items() == {("none", "rejected"): 1}
    assert len(receiver.lines()) == 1


#: Where the clients of LangSmith, Opik, MLflow, W&B Weave and Arize Phoenix (its own interface) send traces.
FOREIGN = [
    "/runs/multipart", "/runs/batch", "/api/v1/private/spans/batch", "/api/2.0/mlflow/traces", "/call/upsert_batch",
    "/v1/projects/x/spans", "/api/public/traces",
]  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/traces/", "//v1/traces", "/api/public/health", "/-/ready", "/CANARY", *FOREIGN]
)
def test_anything_else_is_404(guarded: Receiver, path: str) -> None:
    reply = guarded.post(path, SPANS, "multipart/form-data; boundary=CANARY")
    assert (reply.status, json.loads(reply.body)["message"]) == (404, "the receiver has no such path")
    assert b"CANARY" not in reply.body
    assert guarded.ask("GET", path).status == guarded.ask("HEAD", path).status == 404
    assert guarded.items() == {("none", "rejected"): 1}  # what probes and scanners ask for brings nothing
    assert b"CANARY" not in guarded.path.read_bytes()


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/traces", "POST"),
        ("PUT", "/v1/logs", "POST"),
        ("POST", "/api/public/projects", "GET"),
        ("POST", "/-/healthy", "GET"),
    ],
)
def test_other_methods_are_405(guarded: Receiver, method: str, path: str, allowed: str) -> None:
    reply = guarded.ask(method, path)
    assert (reply.status, reply.fields["Allow"]) == (405, allowed)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    "value",
    ["Bearer secret-CANARY", "bearer  secret-CANARY ", basic("public", "secret-CANARY"), basic("", "secret-CANARY")],
)
def test_each_path_accepts_the_token(guarded: Receiver, value: str) -> None:
    assert guarded.ask("GET", "/api/public/projects", HTTP_AUTHORIZATION=value).status == 200
    assert guarded.post("/v1/traces", SPANS, HTTP_AUTHORIZATION=value).status == 200


@pytest.mark.parametrize(
    "value",
    ["", "Bearer", "Bearer ", "Bearer wrong", "secret-CANARY", basic("secret-CANARY", "wrong"), "Basic !!!", "Basic",
     "Bearer secret-CANARY\xe9"],
)  # fmt: skip
def test_without_the_token_they_are_shut(guarded: Receiver, value: str) -> None:
    for reply in (
        guarded.ask("GET", "/api/public/projects", HTTP_AUTHORIZATION=value),
        guarded.post("/v1/traces", SPANS, HTTP_AUTHORIZATION=value),
    ):
        assert reply.status == 401
        assert b"CANARY" not in reply.body
    assert reply.closes
    assert guarded.ask("GET", "/-/healthy").body == b"ok\n"
    assert guarded.items() == {("none", "rejected"): 2}
    assert b"CANARY" not in guarded.path.read_bytes()


def test_a_changed_token_counts_at_once(guarded: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    def status(token: str) -> int:
        return guarded.ask("GET", "/api/public/projects", HTTP_AUTHORIZATION=f"Bearer {token}").status

    new = guarded.token_file.with_name("new")
    new.write_text("other-CANARY\n")
    os.replace(new, guarded.token_file)
    assert (status("secret-CANARY"), status("other-CANARY")) == (401, 200)
    guarded.token_file.write_text("")
    assert status("other-CANARY") == 200
    guarded.token_file.unlink()
    assert (status("other-CANARY"), status("")) == (200, 401)
    assert "the old one stays in use" in caplog.text
    assert "CANARY" not in caplog.text


def test_a_full_disk_is_503_and_nothing_is_acknowledged(receiver: Receiver) -> None:
    assert receiver.post("/v1/traces", b"", PROTOBUF).status == 200
    receiver.facts.write_heartbeat()
    size = receiver.path.stat().st_size
    with file_size_limit(size + 20):
        reply = receiver.post("/v1/traces", SPANS)
        assert (reply.status, reply.fields["Retry-After"]) == (503, "2")
        assert (
            receiver.post("/api/public/ingestion", json.dumps({"batch": [GENERATION]}).encode()).fields["Retry-After"]
            == "5"
        )
        assert receiver.path.stat().st_size == size
    assert receiver.post("/v1/traces", SPANS).status == 200
    assert receiver.items() == {("otel", "written"): 1}


def test_an_error_of_ours_is_no_500_and_quotes_nothing(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("CANARY")

    monkeypatch.setattr(app_module, "read_otlp", fail)
    reply = receiver.post("/v1/traces", SPANS)
    assert reply.status == 400
    assert "a body cannot be read: KeyError in " in caplog.text
    assert "CANARY" not in caplog.text + reply.body.decode()


def test_a_client_that_sends_less_than_it_promised_gets_no_answer(receiver: Receiver) -> None:
    with pytest.raises(BrokenPipeError):
        receiver.post("/v1/traces", SPANS, CONTENT_LENGTH=str(len(SPANS) + 1))
    assert receiver.lines() == []
    assert not receiver.requests.greenlets


def test_too_many_open_requests_are_503(receiver: Receiver) -> None:
    others = [socket.socket() for _ in range(64)]
    assert all(receiver.requests.admit(each) for each in others)
    reply = receiver.app(
        {"REQUEST_METHOD": "GET", "RAW_URI": "/api/public/projects", "gunicorn.socket": receiver.client,
         "dify_exporter.close": lambda: None},
        lambda status, _: others.append(status),  # type: ignore[arg-type]
    )  # fmt: skip
    assert b"too many open requests" in b"".join(reply)
    assert str(others.pop())[:3] == "503"
    for each in others:
        receiver.requests.remove(each)
        each.close()


def test_large_bodies_share_their_memory(receiver: Receiver) -> None:
    small, large = SPANS + b" " * (300 << 10), SPANS + b" " * (600 << 10)
    with receiver.app._memory.share() as hold:
        hold(MAX_BYTES)
        assert receiver.post("/v1/traces", small).status == 200
        assert receiver.post("/v1/traces", large).status == 503
        assert receiver.post("/v1/traces", small).status == 200
    assert receiver.post("/v1/traces", large).status == 200
