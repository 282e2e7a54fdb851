"""Lines that a log shipper or an archive stores in JSON."""

import json
from typing import Any

import pytest

from parsers.batch import Batch, Request
from parsers.dify import Dify
from parsers.envelope import Json
from tests.parsers.laws import check_every_cut, check_linear

ACCESS = "2026-11-29 08:00:01.100 INFO [Dummy-1] [ext_request_logging.py:73]  - GET /v1/info 200 1 "
INFO = Request("GET", "/v1/info", "200", handler_durations=(1_000_000,))
DIFY_JSON = '{"ts":"2026-11-29T08:00:01.100Z","severity":"INFO","service":"api","caller":"ext_request_logging.py:73","message":"GET /v1/info 200 1 "}'
DOCKER = json.dumps({"log": ACCESS + "\n", "stream": "stdout", "time": "2026-11-29T08:00:01Z"})
KUBERNETES = {
    "pod_name": "dify-api-0",
    "namespace_name": "dify",
    "container_name": "api",
    "docker_id": "4d5e",
    "labels": {"app": "x"},
}
PARSER = Json(parser=Dify())


def line(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"


def outcome(batch: Batch) -> tuple[int, int, int, dict[str, int]]:
    return batch.lines, batch.observed, batch.ignored, dict(batch.unparsed)


RECORDS = {
    "fluent-bit": {"date": 1764403201.1, "log": ACCESS + "\n", "stream": "stdout", "kubernetes": KUBERNETES},
    "fluent-bit, cri": {"@timestamp": "2026-11-29T08:00:01.1Z", "stream": "stdout", "logtag": "F", "message": ACCESS},
    "fluent-bit, Merge_Log": {"log": DIFY_JSON, "ts": "2026", "message": "GET /v1/info 200 1 ", "kubernetes": KUBERNETES},
    "fluentd": {"container_id": "4d5e", "container_name": "/api", "source": "stdout", "log": ACCESS},
    "vector": {"message": ACCESS, "timestamp": "2026-11-29T08:00:01Z", "source_type": "docker_logs", "label": {"a": "b"}},
    "filebeat": {"@timestamp": "x", "message": ACCESS, "log": {"offset": 7, "file": {"path": "/x"}}, "container": {"id": "4d5e"}},
    "logstash": {"@version": "1", "message": ACCESS + "\r", "event": {"original": ACCESS}},
    "elasticsearch": {"_index": "x", "_id": "1", "_source": {"message": ACCESS, "log": {"offset": 1}}},
    "journalctl": {"__REALTIME_TIMESTAMP": "1764403201100000", "_SYSTEMD_UNIT": "docker.service", "MESSAGE": ACCESS},
    "journalctl, bytes": {"MESSAGE": [*ACCESS.encode(), 0x1B, 0xFF], "_PID": "17"},
    "logcli": {"labels": {"app": "dify"}, "line": ACCESS, "timestamp": "2026-11-29T08:00:01Z"},
    "a line of Docker's": {"log": DOCKER, "kubernetes": KUBERNETES},
    "a line of Docker's, ended": {"log": DOCKER + "\n"},
    "a line of CRI": {"log": "2026-11-29T08:00:01.123456789Z stdout F " + ACCESS},
    "a line of Dify's JSON": {"message": DIFY_JSON},
    "a joined traceback": {"message": ACCESS + "\nTraceback (most recent call last):\n  File \"a.py\""},
}  # fmt: skip


FRONTS = ["", "2026-11-29T08:00:01+00:00\tkube.api\t", "kube.api: [1764403201.123456, "]


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
@pytest.mark.parametrize("front", FRONTS)
def test_a_line_in_json(record: dict[str, Any], front: str) -> None:
    """The file outputs of Fluentd and Fluent Bit write a time and a tag in front of the object."""
    log = front.encode() + line(record).rstrip() + (b"]\n" if front.endswith(", ") else b"\n")
    batch = PARSER.parse(log)
    assert ([type(record) for record in batch.records], outcome(batch)) == ([Request], (1, 1, 0, {}))
    if front == FRONTS[0] or record == RECORDS["fluentd"]:
        check_every_cut(PARSER, log)


@pytest.mark.parametrize(
    "text",
    [
        '{"MESSAGE":null}',  # journalctl without -a, for more than 4,096 bytes
        '{"MESSAGE":[300]}',
        '{"MESSAGE":["a"]}',
        '{"MESSAGE":[[1],[2]]}',
        '{"a":1}',
        '{"log":5}',
        '{"log":{"offset":1}}',
        '{"_source":[1]}',
        '{"_source":{"message":1}}',
        '{"log":"{\\"log\\":5,\\"stream\\":1}"}',
        "[1]",
        "null",
        "{",
        '"x"',
        "[" * 5000,
        '{"message":"a","container_id":' + "[" * 900 + "]" * 900 + ',"message":1}',
        ACCESS,
    ],
)
def test_an_object_without_a_line(text: str) -> None:
    assert outcome(PARSER.parse(text.encode() + b"\n")) == (1, 0, 0, {"envelope": 1})


def test_nested_members_do_no_harm() -> None:
    deep: Any = ["x"]
    for _ in range(900):
        deep = [deep]
    log = line(
        {"message": ACCESS, "container_id": deep, "kubernetes": {"docker_id": deep}, "stream": deep, "logtag": deep}
    )
    assert PARSER.parse(log).records == (INFO,)


def test_a_shipper_cannot_be_made_to_forge_a_record() -> None:
    """A line inside a joined text is never taken for a record, whatever its beginning."""
    log = line({"message": f"{ACCESS}\n{ACCESS}\n{ACCESS}"})
    assert PARSER.parse(log).records == (INFO,)


PARTIAL = {
    "fluent-bit, cri": ({"logtag": "P"}, {"logtag": "F"}),
    "fluentd": ({"partial_message": "true", "partial_last": "false"}, {"partial_message": "true", "partial_last": "true"}),
    "journald": ({"CONTAINER_PARTIAL_MESSAGE": "true"}, {"CONTAINER_PARTIAL_MESSAGE": "true", "CONTAINER_PARTIAL_LAST": "true"}),
    "journald, old": ({"CONTAINER_PARTIAL_MESSAGE": "true"}, {}),
}  # fmt: skip


@pytest.mark.parametrize("marks", PARTIAL.values(), ids=PARTIAL)
def test_pieces_are_joined_by_container_and_stream(marks: tuple[dict[str, str], dict[str, str]]) -> None:
    piece, last = marks
    log = b"".join(
        line(record)
        for record in (
            {"message": ACCESS[:30], "container_id": "one", "stream": "stdout", **piece},
            {"message": ACCESS[:40], "container_id": "two", "stream": "stdout", **piece},
            {"message": ACCESS[:9], "container_id": "one", "stream": "stderr", **piece},
            {"message": ACCESS[40:], "container_id": "two", "stream": "stdout", **last},
            {"message": ACCESS[30:], "container_id": "one", "stream": "stdout", **last},
            {"message": ACCESS[9:], "container_id": "one", "stream": "stderr", **last},
        )
    )
    batch = PARSER.parse(log)
    assert (batch.records, outcome(batch)) == ((INFO,) * 3, (6, 3, 3, {}))
    check_every_cut(PARSER, log)


def test_pieces_in_docker_and_cri_lines_that_were_shipped_as_they_are() -> None:
    cri = ["2026-11-29T08:00:01Z stdout P " + ACCESS[:30], "2026-11-29T08:00:01Z stdout F " + ACCESS[30:]]
    assert PARSER.parse(b"".join(line({"log": text}) for text in cri)).records == (INFO,)
    long = ACCESS.replace("/v1/info", "/v1/" + "x" * 20_000) + "\n"
    docker = [{"log": long[:16_384], "stream": "stdout"}, {"log": long[16_384:], "stream": "stdout"}]
    batch = PARSER.parse(b"".join(line({"log": json.dumps(record)}) for record in docker))
    assert outcome(batch) == (2, 1, 1, {})


@pytest.mark.parametrize(
    "beginning", [b'{"log":"', b'{"MESSAGE":[', b"a: [1.5, {", b"a\tb\t{", b'{"log":"{\\"log\\":\\"']
)
def test_json_is_read_in_linear_time(beginning: bytes) -> None:
    for noise in (b"\\n", b"1,", b"\\\\", b"a", b"[", b'{"log":', b"\\ud800", b"\t"):
        check_linear(PARSER, beginning, noise, b'"}')
