"""Values that were not understood, paths that a format lacks, and quotes written in another way: cases 02, 07, 18, 19,
33 and 46, and other inputs of their kind, through the commands as an operator sees them.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families

from exporter.cli import main
from tests.golden import ROOT

CASES = {path.name[:2]: path for path in (ROOT / "tests/cases").iterdir() if path.is_dir()}
HEAD = '[exporter]\nstate = ""\n[[source]]\nname = "s"\npaths = ["in.log"]\n'

Value = Callable[..., float]


def numbers(result: Result) -> Value:
    """A function that gives the value of a series, the sum where labels are left out, and 0 where there is none."""
    assert result.exit_code == 0, result.output
    samples = [sample for family in text_string_to_metric_families(result.stdout) for sample in family.samples]

    def value(name: str, **labels: str) -> float:
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    return value


def replayed(folder: Path, *arguments: str) -> Value:
    config = str(folder / "exporter.toml")
    return numbers(CliRunner().invoke(main, ["replay", "--config", config, "--output", "metrics", *arguments]))


def checked(folder: Path) -> str:
    return CliRunner().invoke(main, ["check", "--config", str(folder / "exporter.toml")]).stdout


def explained(folder: Path, line: str) -> str:
    return CliRunner().invoke(main, ["explain", "--config", str(folder / "exporter.toml"), "--", line]).stdout


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder with a configuration of one source and its log."""

    def make(options: str, *lines: str, more: str = "") -> Path:
        (tmp_path / "exporter.toml").write_text(f"{HEAD}{options}\n{more}", "utf-8")
        (tmp_path / "in.log").write_text("".join(line + "\n" for line in lines), "utf-8")
        return tmp_path

    return make


def nginx(format: str) -> str:
    return f"parser = \"nginx\"\nformat = '''{format}'''"


def regex(pattern: str, **options: str) -> str:
    return "\n".join([f"parser = \"regex\"\npattern = '''{pattern}'''", *(f'{k} = "{v}"' for k, v in options.items())])


# Case 02 and 46: a format that has no path.


def test_case_02_a_path_in_a_variable_of_the_users_own() -> None:
    value = replayed(CASES["02"])
    assert value("dify_requests_total", route="unknown", status_code="200") == 1
    assert value("dify_requests_total", route="unknown", status_code="504") == 1
    assert value("dify_failed_requests_total", reason="timeout") == 1
    assert value("dify_response_bytes_total") == 237
    assert value("dify_exporter_last_line_timestamp_seconds") == 1_795_940_694
    result = checked(CASES["02"])
    assert "has no request path: the route of every request is unknown; add $request, or $request_uri" in result
    assert "$request_uri_without_args: not a variable of nginx itself" in result


def test_case_46_a_request_line_of_apisix() -> None:
    value = replayed(CASES["46"])
    assert value("dify_requests_total", source="apisix", route="unknown", status_code="200") == 1
    assert value("dify_requests_total", source="apisix", route="unknown", status_code="404") == 1
    assert value("dify_requests_total", source="apisix-llm", route="/v1/chat-messages") == 1
    assert value("dify_requests_total", source="apisix-llm", route="/v1/info") == 1
    assert value("dify_tokens_used_total", model="gpt-4", token_type="input") == 23
    assert value("dify_tokens_used_total", model="gpt-4", token_type="output") == 8
    assert value("dify_exporter_dropped_values_total") == 0
    result = checked(CASES["46"])
    assert result.count("has no request path") == 1
    assert "$request_line: not a variable of nginx itself" in result


@pytest.mark.parametrize(
    ("format", "line", "sentence"),
    [
        ("$request_method $status $msec", "POST 200 1795939201.327", "has no request path"),
        (
            "$my_path $original_uri $status $msec",
            "/v1/info /v1/info 200 1795939201.327",
            "($my_path, $original_uri: not a variable of nginx itself",
        ),
        (
            "$status $upstream_uri $request_filename $msec",
            "200 - - 1795939201.327",
            "add $request, or $request_uri and $request_method\n",
        ),
        ("$request_method $uri $status $msec", "GET /v1/info 200 1795939201.327", "only $uri, which nginx's rewrites"),
        (
            '"$request" $loggable_status $upstream_cache_status $msec',
            '"GET /v1/info HTTP/1.1" 200 MISS 1795939201.327',
            "has no $status: every request has status unknown; add $status ($loggable_status: not a variable",
        ),
        ('"$request" $status', '"GET /v1/info HTTP/1.1" 200', "has no time"),
    ],
)
def test_what_a_format_lacks_is_said_with_what_to_add(
    log: Callable[..., Path], format: str, line: str, sentence: str
) -> None:
    folder = log(nginx(format), line)
    assert replayed(folder)("dify_requests_total") == 1
    assert sentence in checked(folder)


@pytest.mark.parametrize("format", ["dify-timed", "$request_uri $request_method $status $msec", '"$request" $msec'])
def test_a_format_with_a_path_is_not_said_to_lack_one(log: Callable[..., Path], format: str) -> None:
    assert "request path" not in checked(log(nginx(format)))


@pytest.mark.parametrize(
    "comment",
    [
        '    #\'"request":"$request",\'\n',
        "    # '$request' \"$request_uri\";\n",
        "    '$request_method ' # '$request'\n",
        "#log_format other '$request';\n",
    ],
)
def test_what_is_commented_out_is_no_part_of_the_format(log: Callable[..., Path], comment: str) -> None:
    folder = log(nginx(f"log_format a\n{comment}    '$status $msec'\n;"), "200 1795939201.327")
    if "'$request_method ' #" in comment:
        (folder / "in.log").write_text("GET 200 1795939201.327\n")
    assert replayed(folder)("dify_requests_total", route="unknown", status_code="200") == 1
    assert "has no request path" in checked(folder)


# Case 07: quotes.

JSON = '{"s":$status,"r":"$request","ua":"$http_user_agent","t":"$time_iso8601"}'
AT = '"t":"2026-11-29T08:00:01+00:00"}'


def test_case_07_quotes_escaped_as_in_json() -> None:
    value = replayed(CASES["07"])
    chat, feedbacks = "/v1/chat-messages", "/v1/messages/{message_id}/feedbacks"
    assert value("dify_requests_total", method="POST", route=chat, status_code="200") == 1
    assert value("dify_request_duration_seconds_sum", route=chat) == 1.5
    assert value("dify_requests_total", method="POST", route=feedbacks, status_code="499") == 1
    assert value("dify_request_duration_seconds_sum", route=feedbacks) == 0.02
    assert value("dify_failed_requests_total", reason="client_closed") == 1
    assert "escape=json" in checked(CASES["07"])


@pytest.mark.parametrize(
    ("request_line", "agent", "route"),
    [
        ("GET /v1/info HTTP/1.1", r"a \"b\"", "/v1/info"),
        ("GET /v1/info HTTP/1.1", r"a \x22b\x22 \x5C", "/v1/info"),
        ("GET /v1/info HTTP/1.1", r"ends with \\", "/v1/info"),
        ("GET /v1/info HTTP/1.1", r"\u0022 \t \/", "/v1/info"),
        ('GET /v1/info?q=\\"b\\" HTTP/1.1', "-", "/v1/info"),
        ("GET /v1/info?q=\\x22b\\x22 HTTP/1.1", "-", "/v1/info"),
        (r"GET \/v1\/info HTTP\/1.1", "-", "/v1/info"),
        (r"GET /v1/\x69nfo HTTP/1.1", "-", "/v1/info"),
        (r"GET /v1/\u0069nfo HTTP/1.1", "-", "/v1/info"),
        (r"GET /v1/\\x69nfo HTTP/1.1", "-", "other"),
        (r"GET /v1/\x5Cx69nfo HTTP/1.1", "-", "other"),
        (r"\x16\x03\x01", "-", "invalid"),
    ],
)
def test_a_bare_json_format_reads_both_escapes(
    log: Callable[..., Path], request_line: str, agent: str, route: str
) -> None:
    value = replayed(log(nginx(JSON), f'{{"s":200,"r":"{request_line}","ua":"{agent}",{AT}'))
    assert value("dify_requests_total", route=route, status_code="200") == 1
    assert value("dify_exporter_lines_total", outcome="unparsed") == 0


ATTACK = '", "s": 200, "x": "'


@pytest.mark.parametrize(
    "agent",
    [
        r"\x22, \x22s\x22: 200, \x22x\x22: \x22",
        r"\", \"s\": 200, \"x\": \"",
        r"\\\", \\\"s\\\": 200",
        r"\",\"t\":\"2001-01-01T00:00:00+00:00\"}",
    ],
)
def test_a_client_that_writes_quotes_forges_nothing(log: Callable[..., Path], agent: str) -> None:
    folder = log(nginx(JSON), f'{{"s":500,"r":"GET /v1/info HTTP/1.1","ua":"{agent}",{AT}')
    value = replayed(folder)
    assert value("dify_requests_total", route="/v1/info", status_code="500") == value("dify_requests_total") == 1
    assert value("dify_exporter_last_line_timestamp_seconds") == 1_795_939_201


@pytest.mark.parametrize(
    ("format", "line"),
    [
        (JSON, f'{{"s":500,"r":"GET /v1/info HTTP/1.1","ua":"{ATTACK}",{AT}'),
        (JSON, f'{{"s":500,"r":"GET /x","s":200,"r":"GET /v1/info HTTP/1.1","ua":"-",{AT}'),
        ('{"ua":"$http_user_agent","s":$status,"x":"$http_x"}', '{"ua":"a","s":200,"x":"b","s":500,"x":"c"}'),
        ('{"ua":"$http_user_agent","s":$status,"x":"$http_x"}', '{"ua":"a\\","s":500,"x":"b"}'),
        ('{"ua":"$http_user_agent","s":$status,"x":"$http_x"}', '{"ua":"a","s":500,"x":"b\\"}'),
    ],
)
def test_a_line_whose_quotes_are_not_escaped_is_unparsed(log: Callable[..., Path], format: str, line: str) -> None:
    value = replayed(log(nginx(format), line))
    assert value("dify_exporter_unparsed_lines_total", reason="format") == 1
    assert value("dify_requests_total") == 0


@pytest.mark.parametrize(
    ("format", "line"),
    [
        ("combined", r'1.2.3.4 - - [29/Nov/2026:08:00:01 +0000] "GET /v1/info HTTP/1.1" 200 5 "-" "a \"b\""'),
        ('"$request" $status "$http_user_agent"', r'"GET /v1/info HTTP/1.1" 200 "a \"b\""'),
        ("log_format x '\"$request\" $status';", r'"GET /v1/info?q=\"b\" HTTP/1.1" 200'),
    ],
)
def test_the_remedy_is_named_where_a_format_that_is_no_json_has_jsons_escapes(
    log: Callable[..., Path], format: str, line: str
) -> None:
    folder = log(nginx(format), line)
    assert "escape=json" in checked(folder)
    directive = format if format.startswith("log_format") else f"log_format x '{format}';"
    (folder / "exporter.toml").write_text(HEAD + nginx(directive.replace("x '", "x escape=json '")), "utf-8")
    if format != "combined":
        assert replayed(folder)("dify_requests_total", route="/v1/info", status_code="200") == 1


def test_explain_names_the_remedy_too(log: Callable[..., Path]) -> None:
    line = r'200 "GET /v1/info HTTP/1.1" [x] "a \"b\""'
    folder = log(nginx('$status "$request" [$http_x] "$http_user_agent"'), line)
    assert "log_format NAME escape=json" in explained(folder, line)
    assert "escape=json" not in explained(folder, line.replace(r"\"", "'"))


# Case 18, 19: units and times of other gateways.


def test_case_18_traefiks_nanoseconds() -> None:
    value = replayed(CASES["18"])
    assert value("dify_requests_total", method="POST", route="/v1/chat-messages", status_code="200") == 1
    assert value("dify_request_duration_seconds_sum") == 1.811271
    assert value("dify_exporter_dropped_values_total") == 0


def test_case_19_caddys_time() -> None:
    value = replayed(CASES["19"])
    assert value("dify_request_duration_seconds_sum", route="/v1/chat-messages") == 1.204113
    assert value("dify_request_duration_seconds_sum", route="/v1/info") == 0.000081123
    assert value("dify_exporter_last_line_timestamp_seconds") == 1_795_939_202.5
    assert replayed(CASES["19"], "--since", "2026-11-29T08:00:02Z")("dify_requests_total") == 1
    assert "not understood" not in checked(CASES["19"])


@pytest.mark.parametrize(
    ("options", "line", "at", "seconds"),
    [
        pytest.param(
            # doc/configuration.txt of HAProxy, option httplog, with %Tt in milliseconds.
            regex(
                r'\[(?P<time>[^]]+)\] \S+ \S+ [\d/-]+/(?P<duration>\+?-?\d+) (?P<status_code>-?\d+) (?P<bytes>\d+) .*"(?P<method>\S+) (?P<path>\S+)',
                duration_unit="ms",
            ),
            'haproxy[14389]: 10.0.1.2:33317 [29/Nov/2026:08:00:01.327] http-in static/srv1 10/0/30/69/1109 200 2750 - - ---- 1/1/1/1/0 0/0 "GET /v1/info HTTP/1.1"',
            1_795_939_201.327,
            1.109,
            id="HAProxy",
        ),
        pytest.param(
            # Envoy's default format string: DURATION is whole milliseconds.
            regex(
                r'^\[(?P<time>[^]]+)\] "(?P<method>\S+) (?P<path>\S+) [^"]*" (?P<status_code>\d+) \S+ \d+ (?P<bytes>\d+) (?P<duration>\d+)',
                duration_unit="ms",
            ),
            '[2026-11-29T08:00:01.327Z] "GET /v1/info HTTP/1.1" 200 - 0 154 1109 3 "-" "curl/8" "id" "dify" "10.0.0.1:80"',
            1_795_939_201.327,
            1.109,
            id="Envoy",
        ),
        pytest.param(
            # AWS' application load balancer: ISO 8601, three times in seconds, -1 for none.
            regex(
                r'^\w+ (?P<time>\S+) \S+ \S+ \S+ \S+ (?P<duration>\S+) \S+ (?P<status_code>\S+) \S+ \d+ (?P<bytes>\d+) "(?P<method>\S+) (?P<path>\S+)'
            ),
            'https 2026-11-29T08:00:01.327000Z app/lb/1 10.0.0.1:2817 10.0.0.2:80 0.000 1.109 0.000 200 200 34 366 "GET https://dify.example.org:443/v1/info HTTP/1.1" "curl/8" - -',
            1_795_939_201.327,
            1.109,
            id="AWS",
        ),
        pytest.param(
            # squid's native format (Dify's ssrf_proxy): seconds with milliseconds, elapsed milliseconds.
            regex(
                r"^(?P<time>\d+\.\d+) +(?P<duration>\d+) \S+ \w+/(?P<status_code>\d+) (?P<bytes>\d+) (?P<method>\S+) (?P<path>\S+)",
                duration_unit="ms",
            ),
            "1795939201.327   1109 172.20.0.5 TCP_MISS/200 512 GET http://dify.example.org/v1/info - HIER_DIRECT/1.2.3.4 text/html",
            1_795_939_201.327,
            1.109,
            id="squid",
        ),
        pytest.param(
            # IIS (W3C extended): date and time in UTC, time-taken in milliseconds.
            regex(
                r"^(?P<time>\S+ \S+) \S+ (?P<method>\S+) (?P<path>\S+) \S+ \d+ .* (?P<status_code>\d{3}) \d+ \d+ (?P<duration>\d+)$",
                duration_unit="ms",
            ),
            "2026-11-29 08:00:01 10.0.0.1 GET /v1/info - 443 - 10.0.0.9 curl/8 - 200 0 0 1109",
            1_795_939_201,
            1.109,
            id="IIS",
        ),
        pytest.param(
            # Kong's http-log plugin: started_at and latencies in milliseconds.
            regex(
                r'"path":"(?P<path>[^"]*)","method":"(?P<method>[A-Z]+)".*"status":(?P<status_code>\d+).*"request":(?P<duration>\d+).*"started_at":(?P<time>\d+)',
                duration_unit="ms",
            ),
            '{"request":{"path":"/v1/info","method":"GET"},"response":{"status":200},"latencies":{"proxy":5,"request":1109},"started_at":1795939201327}',
            1_795_939_201.327,
            1.109,
            id="Kong",
        ),
        pytest.param(
            regex(r"^(?P<time>\d+) (?P<duration>\d+) (?P<path>\S+) (?P<status_code>\d+)$", duration_unit="us"),
            "1795939201327000 1109000 /v1/info 200",
            1_795_939_201.327,
            1.109,
            id="microseconds",
        ),
        pytest.param(
            regex(r"^(?P<time>\d+) (?P<duration>\d+) (?P<path>\S+) (?P<status_code>\d+)$", duration_unit="ns"),
            "1795939201327000000 1109000000 /v1/info 200",
            1_795_939_201.327,
            1.109,
            id="nanoseconds",
        ),
        pytest.param(
            regex(r"^\[(?P<time>.+?)\] (?P<path>\S+) (?P<status_code>\d+) (?P<duration>\S+)$"),
            "[29/Nov/2026:08:00:01 +0000] /v1/info 200 1.109",
            1_795_939_201,
            1.109,
            id="common log time",
        ),
        pytest.param(
            regex(r"^(?P<time>\S+) (?P<path>\S+) (?P<status_code>\d+) (?P<duration>\S+)$", time_format="epoch"),
            "1795939201.327 /v1/info 200 1.109e0",
            1_795_939_201.327,
            1.109,
            id="epoch by name",
        ),
    ],
)
def test_times_and_durations_of_other_gateways(
    log: Callable[..., Path], options: str, line: str, at: float, seconds: float
) -> None:
    folder = log(options, line)
    value = replayed(folder)
    assert value("dify_requests_total", route="/v1/info", status_code="200") == 1
    assert value("dify_request_duration_seconds_sum") == pytest.approx(seconds, abs=1e-9)
    assert value("dify_exporter_last_line_timestamp_seconds") == pytest.approx(at, abs=1e-6)
    assert value("dify_exporter_dropped_values_total") == 0
    assert "not understood" not in checked(folder)


SHORT = r"^(?P<time>\[.*\]) (?P<path>\S+) (?P<status_code>\S+) (?P<bytes>\S+) (?P<duration>\S+)$"


@pytest.mark.parametrize(
    ("options", "line", "field", "example"),
    [
        (regex(SHORT, time_format="%Y"), "[29/Nov/2026:08:00:01 +0000] /v1/info 200 5 1.5", "time", "29/Nov/2026"),
        (regex(SHORT, time_format="epoch"), "[2026-11-29T08:00:01Z] /v1/info 200 5 1.5", "time", "2026-11-29T08"),
        (regex(SHORT), "[Sun Nov 29 08:00:01 2026] /v1/info 200 5 1.5", "time", "Sun Nov 29 08:00:01 2026"),
        (regex(SHORT), "[12] /v1/info 200 5 1.5", "time", "[12]"),
        (regex(SHORT), "[2026-11-29T08:00:01Z] /v1/info 200 5 1.5s", "duration", "1.5s"),
        (regex(SHORT), "[2026-11-29T08:00:01Z] /v1/info 200 5 1,5", "duration", "1,5"),
        (regex(SHORT), "[2026-11-29T08:00:01Z] /v1/info 200 5kB 1.5", "bytes", "5xx"),
        (regex(SHORT), "[2026-11-29T08:00:01Z] /v1/info OK 5 1.5", "status_code", "xx"),
        (nginx('"$request" $status [$time_local]'), '"GET /v1/info HTTP/1.1" 200 [31/Feb/2026:08:00:01 +0000]', "time", "31/Feb"),
        (nginx('"$request" "$upstream_header_time" $msec'), '"GET /v1/info HTTP/1.1" "1.5s" 1795939201.327', "first_byte", "1.5s"),
        ('parser = "dify"', '{"ts":"29.11.2026 08:00","severity":"INFO","caller":"x.py:1","message":"x"}', "time", "29.11.2026"),
        ('parser = "dify"', "2026-11-31 08:00:01.000 INFO [x] [x.py:1]  - x", "time", "2026-11-31"),
        ('parser = "plugin-daemon"', "2026-11-31T08:00:01.000Z INFO dify-plugin-daemon x.go:1 x", "time", "2026-11-31"),
        ('parser = "gunicorn"', '- - - [31/Nov/2026:08:00:01 +0000] "GET /v1/info HTTP/1.1" 200 5 "-" "-"', "time", "31/Nov"),
    ],
)  # fmt: skip
def test_a_value_that_is_not_understood_is_counted_and_said(
    log: Callable[..., Path], options: str, line: str, field: str, example: str
) -> None:
    folder = log(options, line)
    value = replayed(folder)
    assert value("dify_exporter_lines_total", outcome="observed") == 1
    assert value("dify_exporter_dropped_values_total", source="s", field=field) == 1
    assert value("dify_exporter_dropped_values_total") == 1
    result = checked(folder)
    assert f"problem: {field} not understood 1 time and left out, for example: " in result
    assert example in result
    assert f"{field} not understood and left out: " in explained(folder, line)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (regex(SHORT), "[-] /v1/info - - -"),
        (regex(SHORT), "[2026-11-29T08:00:01Z] /v1/info -1 - -1"),
        (nginx("dify-timed"), '1.2.3.4 - - [29/Nov/2026:08:00:01 +0000] "GET /x HTTP/1.1" - - "-" "-" "-" rt=- uct="-" uht="-, -" urt="-" us="-"'),
        (nginx('"$request" "$upstream_header_time" $msec'), '"GET /x HTTP/1.1" "" '),
    ],
)  # fmt: skip
def test_a_value_that_is_not_known_is_no_dropped_value(log: Callable[..., Path], options: str, line: str) -> None:
    value = replayed(log(options, line))
    assert value("dify_requests_total") == 1
    assert value("dify_exporter_dropped_values_total") == 0


def test_an_example_shows_no_word_of_a_client(log: Callable[..., Path]) -> None:
    line = "[my secret is hunter2 , tell nobody] /v1/info 200 5 1.5"
    folder = log(regex(SHORT), line)
    assert not {"secret", "hunter2", "tell"} & {*checked(folder).split(), *explained(folder, line).split()}


@pytest.mark.parametrize(
    ("line", "seconds", "at"),
    [
        ('"GET /v1/info HTTP/1.1" 200 0 1795939201.327', 0, 1_795_939_201.327),
        ('"GET /v1/info HTTP/1.1" 200 1 1795939201', 1, 1_795_939_201),
        ('"GET /v1/info HTTP/1.1" 200 12 1795939201.5', 12, 1_795_939_201.5),
    ],
)
def test_whole_seconds_do_not_cost_an_nginx_line(
    log: Callable[..., Path], line: str, seconds: float, at: float
) -> None:
    value = replayed(log(nginx('"$request" $status $request_time $msec'), line))
    assert value("dify_request_duration_seconds_count") == 1
    assert value("dify_request_duration_seconds_sum") == seconds
    assert value("dify_exporter_last_line_timestamp_seconds") == at
    assert value("dify_exporter_dropped_values_total") == 0


@pytest.mark.parametrize(
    ("format", "sentence"),
    [
        ("%s", 'time_format: strptime has no %s; for a time since the epoch use "epoch"'),
        ("epoc", 'time_format: expected "", "epoch" or a format of strptime'),
    ],
)
def test_a_time_format_that_can_never_fit_is_refused(log: Callable[..., Path], format: str, sentence: str) -> None:
    result = CliRunner().invoke(
        main, ["check", "--config", str(log(regex(SHORT, time_format=format)) / "exporter.toml")]
    )
    assert result.exit_code == 2
    assert sentence in result.stderr


# Case 33: budgets.

COST = r'"ts":"?(?P<time>[^",]+)"?,"model":"(?P<model>[^"]+)","cost":(?P<cost>[\d.]+),"currency":"(?P<currency>\w+)"'
BUDGET = '[[budget]]\nname = "b"\nwindow = "month"\nunit = "USD"\nlimit = "100"\n'


@pytest.fixture
def november(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock says 2026-11-29T08:00:00Z."""
    monkeypatch.setattr("time.time", lambda: 1_795_939_200.0)


def spent(time: str, cost: int) -> str:
    return f'{{"ts":"{time}","model":"m","cost":{cost},"currency":"USD"}}'


@pytest.mark.usefixtures("november")
def test_case_33_the_cost_of_another_month_is_not_in_this_ones_budget() -> None:
    value = replayed(CASES["33"])
    assert value("dify_budget_spent", budget="b") == 10
    assert value("dify_cost_total") == 90


@pytest.mark.usefixtures("november")
@pytest.mark.parametrize(
    ("lines", "in_budget", "dropped"),
    [
        ([spent("1793000000.5", 80), spent("1795900000.5", 10)], 10, 0),
        ([spent("1793000000500", 80), spent("1795900000500", 10)], 10, 0),
        ([spent("[26/Oct/2026:06:13:20 +0000]", 80), spent("[28/Nov/2026:21:06:40 +0000]", 10)], 10, 0),
        # A time that is not understood: with the line before it, whichever month that is.
        ([spent("2026-10-26T06:13:20Z", 80), spent("26.10.2026", 7), spent("2026-11-28T21:06:40Z", 10)], 10, 1),
        ([spent("2026-10-26T06:13:20Z", 80), spent("2026-11-28T21:06:40Z", 10), spent("28.11.2026", 7)], 17, 1),
        # At the beginning with the lines behind it; without any other time by the clock.
        ([spent("26.10.2026", 7), spent("2026-10-26T06:13:20Z", 80)], 0, 1),
        ([spent("26.10.2026", 7), spent("27.10.2026", 8)], 15, 2),
    ],
)
def test_a_cost_whose_time_is_not_understood_goes_with_the_line_before_it(
    log: Callable[..., Path], lines: list[str], in_budget: int, dropped: int
) -> None:
    folder = log(regex(COST), *lines, more=BUDGET)
    value = replayed(folder)
    assert value("dify_budget_spent", budget="b") == in_budget
    assert value("dify_exporter_dropped_values_total", field="time") == dropped
    assert ("time not understood" in checked(folder)) == bool(dropped)
