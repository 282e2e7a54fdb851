"""All versions of the plugin daemon's log, with lines that users posted."""

import pytest

from parsers.batch import DroppedValue, Failure, Invocation, Record
from parsers.plugin_daemon import PluginDaemon, go_duration, operation_of
from tests.golden import ROOT

TENANT = "118f3deb-3190-4859-98d1-4d927b6f5184"
LLM = f"/plugin/{TENANT}/dispatch/llm/invoke"
SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("line", "records"),
    [
        (
            f'[GIN] 2025/07/17 - 07:35:41 | 200 |         1m41s |     192.168.0.9 | POST     "{LLM}"',
            [Invocation("invoke_llm", "200", 101 * SECOND)],
        ),
        (
            f"[GIN] 2025/07/17 - 07:35:41 |\x1b[97;41m 500 \x1b[0m| 98.7µs |              :: |"
            f'\x1b[97;46m POST    \x1b[0m "/plugin/{TENANT}/dispatch/text_embedding/invoke"',
            [Invocation("invoke_text_embedding", "500", 98_700)],
        ),
        (
            f'[GIN] 2025/07/17 - 07:35:41 | 200 |   22.474066ms |                 | POST     "{LLM}?q=\\"x\\\\"',
            [Invocation("invoke_llm", "200", 22_474_066)],
        ),
        (
            '[GIN] 2025/03/06 - 06:32:18 | 200 |  182.220057ms |    192.168.96.4 | POST     "/v1/sandbox/run"',
            [],
        ),
        ('[GIN] 2025/07/17 - 07:35:41 | 200 |      22.474µs |       127.0.0.1 | GET      "/health/check"', []),
        (
            f"2026-05-21T03:08:03.120448211Z INFO dify-plugin-daemon middleware.go:83 trace_id=5b8a tenant_id={TENANT} "
            f"HTTP request latency_ms=2644 client_ip=172.18.0.7 method=POST path={LLM} status=200",
            [Invocation("invoke_llm", "200", 2_644_000_000)],
        ),
        (
            "2026-05-21T11:08:03.120448+08:00 WARN dify-plugin-daemon server/middleware.go:83 HTTP request "
            f'status=404 path="/plugin/{TENANT}/dispatch/model/schema?a=b c" latency_ms=3 method=POST client_ip=::1',
            [Invocation("get_ai_model_schemas", "404", 3_000_000)],
        ),
        (
            '2026-05-21T03:08:03.1Z INFO dify-plugin-daemon middleware.go:83 trace_id=5b8a user_id="a \\"b\\" c" '
            f"HTTP request status=200 latency_ms=2644 path={LLM}?status=500 method=POST",
            [Invocation("invoke_llm", "200", 2_644_000_000)],
        ),
        (  # X-User-ID is logged unchanged
            '2026-05-21T03:08:03.1Z INFO dify-plugin-daemon middleware.go:83 trace_id=5b8a user_id=Jo "x" Doe '
            f"HTTP request status=200 latency_ms=2644 path={LLM} method=POST client_ip=172.18.0.7",
            [Invocation("invoke_llm", "200", 2_644_000_000)],
        ),
        (
            f"2026-05-21T03:08:03.1Z WARN dify-plugin-daemon middleware.go:83 user_id=x HTTP request path={LLM} status=200 "
            'latency_ms=9000 q=" HTTP request status=404 latency_ms=1 path="/e/x/\\"" method=GET client_ip=1.2.3.4',
            [],
        ),
        (
            "2026-03-20T02:49:04.392104444Z INFO dify-plugin-daemon logger.go:20 local runtime ready "
            "plugin=antv/visualization:0.1.8@701c",
            [],
        ),
        (
            "2026-03-20T02:49:04.392104Z ERROR dify-plugin-daemon pool.go:20 plugin crashed "
            'traceback="goroutine 745 [running]:\\n main()" message="HTTP request path=x"',
            [Failure("other")],
        ),
        (
            '{"attributes":{"client_ip":"172.18.0.7","latency_ms":2644,"method":"POST","path":"'
            + LLM
            + '","status":200},"caller":"middleware.go:83","identity":{"tenant_id":"CANARY"},"message":"HTTP request",'
            '"service":"dify-plugin-daemon","severity":"INFO","span_id":"a","trace_id":"b","ts":"2026-05-21T03:08:03.12Z"}',
            [Invocation("invoke_llm", "200", 2_644_000_000)],
        ),
        (
            '{"caller":"x.go:1","message":"plugin died","service":"dify-plugin-daemon","severity":"ERROR",'
            '"ts":"2026-05-21T03:08:03.12Z"}',
            [Failure("other")],
        ),
        (
            "\x1b[31m2025/11/28 08:20:22 factory.go:28: [ERROR]PluginDaemonInternalServerError: killed by timeout\x1b[0m",
            [Failure("upstream_timeout")],
        ),
        ("2026/03/12 06:15:27 main.go:19: [PANIC]failed to init database", [Failure("unhandled_exception")]),
        ("2026/03/12 06:15:27 [Recovery] 2026/03/12 - 06:15:27 panic recovered:", [Failure("unhandled_exception")]),
        ("2026/06/18 07:41:50 cocrrent.go:31: [INFO]setting max requests to 50", []),
        ("2026/03/12 06:15:27 /app/internal/db/executor.go:259 record not found", []),
    ],
)
def test_a_line_gives_its_records(line: str, records: list[Record]) -> None:
    batch = PluginDaemon().parse(line.encode() + b"\n")
    assert list(batch.records) == records
    assert (batch.lines, batch.ignored, batch.unparsed) == (1, 0, {})
    assert batch.last_at is not None


def timed(path: str, user: str, status: str, duration: str, keys: str = "map[]") -> bytes:
    """Return an access line of the daemon's own logger, behind the time of Go's logger (as a user posted it)."""
    head = "2026/11/29 08:00:03 [2026-11-29 08:00:01] 10.1.2.9 768469a4cc POST"
    return f'{head} {path} "{user}" {status} {duration} {keys}\n'.encode()


@pytest.mark.parametrize("line", [timed(LLM, "x", "200", "1s", "map["), timed('/x" 200 1s map[', LLM, "200", "1s")])
def test_an_access_line_that_does_not_end_as_one_is_unparsed(line: bytes) -> None:
    batch = PluginDaemon().parse(line)
    assert (batch.records, batch.unparsed) == ((), {"format": 1})


@pytest.mark.parametrize(
    ("line", "records"),
    [
        (timed(LLM, TENANT, "200", "11.245906284s"), [Invocation("invoke_llm", "200", 11_245_906_284)]),
        (timed(LLM, "unknown", "500", "1m41.5s"), [Invocation("invoke_llm", "500", 101_500_000_000)]),
        (timed(LLM, "", "200", "98.7µs"), [Invocation("invoke_llm", "200", 98_700)]),
        (
            timed(f"/plugin/{TENANT}/dispatch/text_embedding/invoke", "x", "404", "3.624471ms"),
            [Invocation("invoke_text_embedding", "404", 3_624_471)],
        ),
        (
            timed(f"/plugin/{TENANT}/dispatch/rerank/invoke?a=b", "x", "499", "2h0m1s"),
            [Invocation("invoke_rerank", "499", 7_201_000_000_000)],
        ),
        (timed(f"/plugin/{TENANT}/dispatch/model/schema", "x", "200", "1s"), [Invocation("get_ai_model_schemas", "200", SECOND)]),
        (timed(f"/plugin/{TENANT}/management/models", "unknown", "200", "1s"), []),
        (timed("/health/check", "unknown", "200", "13.2µs"), []),
        (timed(LLM, "Jo Doe", "200", "1s"), [Invocation("invoke_llm", "200", SECOND)]),
        (timed(LLM, 'Jo "the user" 200', "503", "1s"), [Invocation("invoke_llm", "503", SECOND)]),
        (timed(LLM, 'x" 200 9s map[]', "503", "1s"), [Invocation("invoke_llm", "503", SECOND)]),
        (timed(LLM, 'x\\" 200 9s map[] \\"', "503", "1s"), [Invocation("invoke_llm", "503", SECOND)]),
        (timed(LLM, "x] HTTP request path=/e/x status=200", "503", "1s"), [Invocation("invoke_llm", "503", SECOND)]),
        (timed(LLM, "x", "200", "1s", "map[trace:a b]"), [Invocation("invoke_llm", "200", SECOND)]),
        (timed(LLM, "x", "200", "soon"), [Invocation("invoke_llm", "200"), DroppedValue("duration", 1, "xxxx")]),
    ],
)  # fmt: skip
def test_an_access_line_of_the_daemons_own_logger(line: bytes, records: list[Record]) -> None:
    batch = PluginDaemon().parse(line)
    assert list(batch.records) == records
    assert (batch.lines, batch.ignored, batch.unparsed) == (1, 0, {})
    assert batch.last_at == 1_795_939_203 * SECOND


def test_access_lines_of_the_daemons_own_logger_from_a_user() -> None:
    log = (ROOT / "tests/cases/14-daemon-third-access-line/in.log").read_bytes()
    batch = PluginDaemon().parse(log, final=True)
    assert batch.records == (
        Invocation("invoke_llm", "200", 11_245_906_284),
        Invocation("get_ai_model_schemas", "200", 3_624_471),
        Failure("upstream_timeout"),
    )
    assert (batch.lines, batch.ignored) == (4, 1)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"panic: [PANIC]failed to init database",
        b"[7.312ms] [rows:0] SELECT * FROM plugins WHERE tenant_id = 'CANARY'",
        b"goroutine 745 [running]:",
        b"\tmain.main()",
        b"[gnet] 2026-03-12T06:14:03.2Z\tINFO\tlogging/logger.go:256\tstart",
        b'{"time":"2026-03-12T06:14:03.2Z","level":"INFO","msg":"sandbox ready"}',
        b"{",
        b"[GIN-debug] GET /health/check",
    ],
)
def test_a_line_outside_any_record_is_ignored(line: bytes) -> None:
    batch = PluginDaemon().parse(line + b"\n")
    assert (batch.lines, batch.ignored, batch.records) == (1, 1, ())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[GIN] 2025/07/17 - 07:35:41 | nonsense", "format"),
        (b"2026-05-21T03:08:03Z INFO dify-plugin-daemon nonsense", "format"),
        (b'{"attributes":{"client_ip":"172', "json"),
    ],
)
def test_a_head_in_no_known_format_is_unparsed(line: bytes, reason: str) -> None:
    batch = PluginDaemon().parse(line + b"\n")
    assert batch.unparsed == {reason: 1}
    assert batch.examples == {reason: line}


def test_the_zone_of_gins_times() -> None:
    line = b'[GIN] 2025/07/17 - 07:35:41 | 200 | 1s | 1.1.1.1 | GET "/health/check"\n'
    utc, shanghai = (PluginDaemon(timezone=name).parse(line).last_at for name in ("UTC", "Asia/Shanghai"))
    assert utc == 1_752_737_741 * SECOND
    assert utc - shanghai == 8 * 3600 * SECOND


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1m41s", 101 * SECOND),
        ("10m0s", 600 * SECOND),
        ("1h2m3.5s", 3_723_500_000_000),
        ("1.234567s", 1_234_567_000),
        ("22.474066ms", 22_474_066),
        ("98.7µs", 98_700),
        ("98.7μs", 98_700),
        ("150ns", 150),
        ("0s", 0),
        ("", None),
        ("12", None),
        ("1m41", None),
        ("..s", None),
        ("99999999h", None),
    ],
)
def test_go_durations(text: str, nanoseconds: int | None) -> None:
    assert go_duration(text.encode()) == nanoseconds


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        (LLM, "invoke_llm"),
        (LLM + "?x=1", "invoke_llm"),
        (f"/plugin/{TENANT}/dispatch/rerank/invoke", "invoke_rerank"),
        (f"/plugin/{TENANT}/dispatch/datasource/get_website_crawl", "invoke_website_datasource_get_crawl"),
        (f"/plugin/{TENANT}/dispatch/model/polling/start", "start_polling"),
        ("/v2/invoke/dispatch/llm/invoke", "invoke_llm"),
        ("/v2/invoke/extract", None),
        (f"/plugin/{TENANT}/dispatch/whatever/comes", "other"),
        (f"/plugin/{TENANT}/management/list", None),
        ("/health/check", None),
    ],
)
def test_operations_are_named_as_the_daemons_own_metrics(path: str, operation: str | None) -> None:
    assert operation_of(path.encode()) == operation
