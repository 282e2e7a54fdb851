"""nginx' error log: messages of nginx 1.22 and messages that users of Dify posted."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.batch import DroppedValue, Failure
from parsers.nginx import Nginx
from tests.golden import ROOT
from tests.parsers.laws import check_laws

ERROR = Nginx(format="error")
CLIENT = (
    b', client: 127.0.0.1, server: _, request: "GET /slow/health HTTP/1.1", upstream: "http://127.0.0.1:5131/health", '
    b'host: "127.0.0.1:8099"'
)


def kinds(line: bytes) -> list[str]:
    batch = ERROR.parse(line + b"\n")
    assert (batch.observed, batch.unparsed) == (1, {})
    return [record.kind for record in batch.records if isinstance(record, Failure)]


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (b"upstream timed out (110: Connection timed out) while reading response header from upstream", "upstream_timeout"),
        (b"upstream timed out (110: Operation timed out) while connecting to upstream", "upstream_timeout"),
        (b"upstream timed out (110: Connection timed out) while reading upstream", "upstream_timeout"),
        (b"connect() failed (111: Connection refused) while connecting to upstream", "upstream_refused"),
        (b"connect() failed (113: Host is unreachable) while connecting to upstream", "upstream_refused"),
        (b"connect() to unix:/run/api.sock failed (2: No such file or directory) while connecting to upstream", "upstream_refused"),
        (b"connect() to [::1]:5001 failed (101: Network is unreachable) while connecting to upstream", "upstream_refused"),
        (b"connect() failed (110: Connection timed out) while connecting to upstream", "upstream_timeout"),
        (b"worker process 29 exited on signal 9", "other"),
        (b"worker process 29 exited on signal 11 (core dumped)", "other"),
        (b'host not found in upstream "api" in /etc/nginx/conf.d/default.conf:8', "upstream_unresolved"),
        (b"no live upstreams while connecting to upstream", "upstream_refused"),
        (b"upstream prematurely closed connection while reading response header from upstream", "upstream_reset"),
        (b"upstream prematurely closed connection while reading upstream", "upstream_reset"),
        (b"recv() failed (104: Connection reset by peer) while reading response header from upstream", "upstream_reset"),
        (b"connect() failed (104: Connection reset by peer) while connecting to upstream", "upstream_reset"),
        (b"writev() failed (32: Broken pipe) while sending request to upstream", "upstream_reset"),
        (b"recv() failed (104: Connection reset by peer) while waiting for request", "other"),
        (b'host not found in upstream "api" in /etc/nginx/conf.d/default.conf:22', "upstream_unresolved"),
        (b"api could not be resolved (3: Host not found)", "upstream_unresolved"),
        (b"no resolver defined to resolve api", "upstream_unresolved"),
        (b"api could not be resolved (110: Operation timed out)", "upstream_unresolved"),
        (b"client timed out (110: Connection timed out) while reading client request body", "other"),
        (b"client timed out (110: Operation timed out) while sending to client", "other"),
        (b"SSL_do_handshake() failed (110: Connection timed out) while SSL handshaking to upstream", "upstream_timeout"),
        (b"upstream sent too big header while reading response header from upstream", "other"),
        (b"client intended to send too large body: 20971520 bytes", "request_too_large"),
        (b"client intended to send too large chunked body: 8192+1048576 bytes", "request_too_large"),
        (b'limiting requests, excess: 0.999 by zone "slow"', "other"),
        (b'limiting connections by zone "addr"', "other"),
        (b'open() "/usr/share/nginx/html/x" failed (2: No such file or directory)', "other"),
        (b"worker process 31 exited on signal 11", "other"),
        (b"", "other"),
    ],
)  # fmt: skip
def test_a_message_has_a_kind(message: bytes, kind: str) -> None:
    assert kinds(b"2026/11/23 09:04:22 [error] 16360#16360: *16 " + message + CLIENT) == [kind]
    assert kinds(b"2026/11/23 09:04:22 [error] 16360#16360: " + message) == [kind]


@pytest.mark.parametrize(
    ("level", "counted"),
    [("error", 1), ("crit", 1), ("alert", 1), ("emerg", 1), ("warn", 0), ("notice", 0), ("info", 0), ("debug", 0)],
)
def test_levels_from_error_up_count(level: str, counted: int) -> None:
    batch = ERROR.parse(f"2026/11/23 09:04:22 [{level}] 1#1: *16 upstream timed out\n".encode())
    assert (batch.observed, batch.ignored, len(batch.records)) == (counted, 1 - counted, counted)


def test_text_of_the_client_is_not_part_of_the_message() -> None:
    line = b"2026/11/23 09:04:22 [error] 1#1: *1 access forbidden by rule, client: ::1, server: _, request: "
    open_ = (
        b'2026/11/23 09:04:22 [error] 1#1: *1 open() "/var/www/upstream timed out" connect() failed" failed (2: No such'
    )
    assert kinds(open_ + b" file or directory), client: ::1, server: _") == ["other"]
    assert kinds(line + b'"GET /upstream-timed-out,%20client:%20?a=upstream timed out HTTP/1.1"') == ["other"]


def test_an_emerg_at_the_start_is_logged_twice_and_counts_once() -> None:
    message = b'host not found in upstream "plugin_daemon" in /etc/nginx/conf.d/default.conf:40'
    batch = ERROR.parse(b"2026/11/23 09:04:22 [emerg] 1#1: " + message + b"\nnginx: [emerg] " + message + b"\n")
    assert batch.records == (Failure("upstream_unresolved"),)
    assert (batch.observed, batch.ignored, batch.unparsed) == (1, 1, {})


@pytest.mark.parametrize(
    "line",
    [
        b"x",
        b"2026/11/23 09:04:22",
        b"2026/11/23 09:04:22 [error] upstream timed out",
        b"2026-11-23 09:04:22 [error] 1#1: upstream timed out",
        b'127.0.0.1 - - [24/Nov/2026:11:11:42 +0000] "GET / HTTP/1.1" 200 5 "-" "-" "-"',
    ],
)
def test_another_line_is_unparsed(line: bytes) -> None:
    batch = ERROR.parse(line + b"\n")
    assert (batch.unparsed, batch.examples, batch.records) == ({"format": 1}, {"format": line}, ())


def test_times_are_local() -> None:
    line = b"2026/11/23 09:04:22 [error] 1#1: upstream timed out\n"
    utc = ERROR.parse(line).last_at
    shanghai = Nginx(format="error", timezone="Asia/Shanghai").parse(line).last_at
    assert utc == 1_795_424_662_000_000_000
    assert shanghai == utc - 8 * 3600 * 1_000_000_000


def test_a_bad_time_is_left_out() -> None:
    batch = ERROR.parse(b"2026/99/23 09:04:22 [error] 1#1: upstream timed out\n")
    assert (batch.records, batch.last_at) == (
        (Failure("upstream_timeout"), DroppedValue("time", 1, "2026/99/23 09:04:22")),
        None,
    )


@pytest.mark.parametrize(
    ("line", "fit"),
    [
        (b"2026/11/23 09:04:22 [error] 1#1: *16 x", 38),
        (b"2026/11/23 09:04:22 [error] x", 27),
        (b"2026/11/23 x", 10),
        (b"x", 0),
    ],
)
def test_the_matched_length_of_a_line(line: bytes, fit: int) -> None:
    assert ERROR.matched_length(line) == fit


def test_the_sample_has_a_failure_of_each_kind() -> None:
    batch = ERROR.parse((ROOT / "samples/nginx-error.log").read_bytes())
    found = sorted(record.kind for record in batch.records if isinstance(record, Failure))
    assert found == ["other"] * 2 + ["request_too_large"] + ["upstream_refused"] * 2 + ["upstream_timeout"]
    assert (batch.unparsed, batch.observed) == ({}, 6)


LINES = st.sampled_from((ROOT / "samples/nginx-error.log").read_bytes().splitlines(keepends=True))


@given(log=st.lists(LINES | st.binary(max_size=40), max_size=8).map(b"".join), cuts=st.lists(st.integers(0, 2000)))
def test_the_laws_hold(log: bytes, cuts: list[int]) -> None:
    check_laws(ERROR, log, cuts)


@pytest.mark.parametrize(
    "noise", [b"connect() ", b"failed (", b"(104: ", b"connect() failed (104: ", b", client", b" "]
)
def test_time_is_linear_on_hostile_lines(noise: bytes) -> None:
    """A quadratic pattern would need minutes for a line of 1 MB."""
    begun = time.process_time()
    ERROR.parse(b"2026/11/23 09:04:22 [error] 1#1: *16 " + noise * (1_048_576 // len(noise)) + b"\n")
    assert time.process_time() - begun < 5
