"""nginx' access log: lines of the samples and of a real nginx 1.22, in all built-in and many other formats."""

import pytest

from parsers.batch import Batch, DroppedValue, Failure, Request
from parsers.nginx import Nginx

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
AT = 1_795_518_702 * SECOND  # 24/Nov/2026:11:11:42 +0000

HEAD = b"127.0.0.1 - - [24/Nov/2026:11:11:42 +0000] "
TAIL = b' "-" "-" "-"'
BACK = b' rt=0.000 uct="-" uht="-" urt="-" us="-"'

JSON = """
log_format json escape=json '{"time":"$time_iso8601","request":"$request","status":$status,'
                            '"bytes":$body_bytes_sent,"request_time":"$request_time",'
                            '"upstream_header_time":"$upstream_header_time","user_agent":"$http_user_agent"}';
"""
INGRESS = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
    '"$http_user_agent" $request_length $request_time [$proxy_upstream_name] [$proxy_alternative_upstream_name] '
    "$upstream_addr $upstream_response_length $upstream_response_time $upstream_status $req_id"
)


def only(batch: Batch) -> Request:
    assert (batch.lines, batch.observed, batch.unparsed) == (1, 1, {}), batch
    record, *unread = batch.records
    assert isinstance(record, Request)
    assert all(isinstance(each, DroppedValue) for each in unread)
    return record


def request(line: bytes, format: str = "dify") -> Request:
    return only(Nginx(format=format).parse(line + b"\n"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            b'"POST /v1/chat-messages?user=CANARY HTTP/1.1" 200 239 "-" "curl/7.88.1" "-"',
            Request("POST", "/v1/chat-messages", "200", "", 1, 239),
        ),
        (
            rb'"POST /v1/completion-messages HTTP/1.1" 400 62 "-" "Mo\x22zilla\x5C5.0 \xC3\xA9" "-"',
            Request("POST", "/v1/completion-messages", "400", "", 1, 62),
        ),
        (b'"GET /favicon.ico HTTP/2.0" 404 47' + TAIL, Request("GET", "static", "404", "", 1, 47)),
        (b'"GET /.env HTTP/1.1" 404 47' + TAIL, Request("GET", "other", "404", "", 1, 47)),
        (b'"GET /v1/x%0A127.0.0.1 HTTP/1.1" 200 32' + TAIL, Request("GET", "other", "200", "", 1, 32)),
        (b'"FOOBAR /v1/info HTTP/1.1" 405 32' + TAIL, Request("other", "/v1/info", "405", "", 1, 32)),
        (b'"POST /v1/audio-to-text HTTP/1.1" 504 167' + TAIL, Request("POST", "/v1/audio-to-text", "504", "timeout", 1, 167)),
        (b'"GET /v1/info HTTP/1.1" 502 157' + TAIL, Request("GET", "/v1/info", "502", "server_error", 1, 157)),
        (b'"GET /v1/info HTTP/1.1" 429 169' + TAIL, Request("GET", "/v1/info", "429", "rate_limited", 1, 169)),
        (b'"POST /v1/text-to-audio HTTP/1.1" 499 0' + TAIL, Request("POST", "/v1/text-to-audio", "499", "client_closed", 1, 0)),
        (rb'"\x16\x03\x01\x02\x00\x01" 400 157' + TAIL, Request("unknown", "invalid", "400", "", 1, 157)),
        (b'"" 400 0' + TAIL, Request("unknown", "invalid", "400", "", 1, 0)),
        (b'"-" 408 0' + TAIL, Request("unknown", "invalid", "408", "", 1, 0)),
        (b'"GET /a b HTTP/1.1" 400 157' + TAIL, Request("unknown", "invalid", "400", "", 1, 157)),
        (b'"GET /old" 404 36' + TAIL, Request("unknown", "invalid", "404", "", 1, 36)),
        (b'"GET http://h/v1/info?x HTTP/1.1" 200 5' + TAIL, Request("GET", "/v1/info", "200", "", 1, 5)),
        (rb'"GET /v1/in\x66o HTTP/1.1" 200 5' + TAIL, Request("GET", "/v1/info", "200", "", 1, 5)),
        (rb'"GET /v1/info\x5Cx00 HTTP/1.1" 200 5' + TAIL, Request("GET", "other", "200", "", 1, 5)),
        (b'"GET /v1/info HTTP/1.1" 600 -' + TAIL, Request("GET", "/v1/info", "other", "", 1, None)),
        (b'"GET /v1/info HTTP/1.1" - -' + TAIL, Request("GET", "/v1/info", "unknown", "", 1, None)),
        (b'"GET /v1/info HTTP/1.1" 200 99999999999999999999' + TAIL, Request("GET", "/v1/info", "200", "", 1, None)),
        (b'"GET /v1/info HTTP/1.1" 200 5 "-" "\xff\xfe\x85" "-"', Request("GET", "/v1/info", "200", "", 1, 5)),
        (b'"GET /v1/info HTTP/1.1" 200 5' + TAIL + b"\r", Request("GET", "/v1/info", "200", "", 1, 5)),
    ],
)  # fmt: skip
def test_a_line_in_the_format_that_dify_ships(line: bytes, expected: Request) -> None:
    assert request(HEAD + line) == expected
    assert request(HEAD + line.removesuffix(b"\r") + BACK, "dify-timed") == _timed(expected)


def _timed(plain: Request) -> Request:
    return Request(plain.method, plain.route, plain.status_code, plain.failure, 1, plain.response_bytes, (0,))


@pytest.mark.parametrize(
    ("times", "durations", "first_bytes"),
    [
        (b'rt=0.260 uct="0.000" uht="0.259" urt="0.260" us="200"', (260,), (259,)),
        (b'rt=1.207 uct="0.000" uht="0.304" urt="1.207" us="200"', (1207,), (304,)),
        (b'rt=0.003 uct="-, 0.000" uht="-, 0.003" urt="0.000, 0.003" us="502, 200"', (3,), (3,)),
        (b'rt=0.030 uct="0.001 : 0.002" uht="0.003 : 0.020" urt="0.003 : 0.025" us="200 : 200"', (30,), (20,)),
        (b'rt=0.030 uct="0.001" uht="0.003, -" urt="0.003, 0.025" us="502, 504"', (30,), (3,)),
        (b'rt=0.000 uct="-" uht="-" urt="0.000" us="502"', (0,), ()),
        (b'rt=1.002 uct="0.000" uht="-" urt="1.001" us="504"', (1002,), ()),
        (b'rt=0.000 uct="" uht="" urt="" us=""', (0,), ()),
        (b'rt=- uct="-" uht="-" urt="-" us="-"', (), ()),
        (b'rt= uct="-" uht="-" urt="-" us="-"', (), ()),
        (b'rt=86400.000 uct="-" uht="abc" urt="-" us="-"', (86_400_000,), ()),
        (b'rt=99999999999.000 uct="-" uht="1e9" urt="-" us="-"', (), ()),
        (b'rt=1.2.3 uct="-" uht="-1.5" urt="-" us="-"', (), ()),
    ],
)
def test_times_of_a_timed_line(times: bytes, durations: tuple[int, ...], first_bytes: tuple[int, ...]) -> None:
    """Lists of servers, groups after a redirect, servers not reached, no known time. The first rows are real lines."""
    found = request(HEAD + b'"GET /v1/info HTTP/1.1" 200 5 "-" "-" "-" ' + times, "dify-timed")
    assert found.durations == tuple(each * MILLISECOND for each in durations)
    assert found.first_bytes == tuple(each * MILLISECOND for each in first_bytes)
    assert (found.count, found.response_bytes) == (1, 5)


INFO = ("GET", "/v1/info", "200")
#: A widely copied format: a request without quotes before the times of several upstreams.
UPSTREAMLOG = (
    "[$time_local] $remote_addr - $remote_user - $server_name $host to: $upstream_addr: $request $status "
    "upstream_response_time $upstream_response_time msec $msec request_time $request_time"
)


@pytest.mark.parametrize(
    ("format", "line", "expected"),
    [
        ("combined", HEAD + b'"GET /v1/info HTTP/1.1" 200 5 "-" "curl"', Request(*INFO, "", 1, 5)),
        ("$status", b"200", Request("unknown", "unknown", "200")),
        ("$request_uri", b"/v1/info?a=b", Request("unknown", "/v1/info", "unknown")),
        ("$uri $bytes_sent", b"/v1/info 17", Request("unknown", "/v1/info", "unknown", "", 1, 17)),
        ("$bytes_sent $body_bytes_sent $status", b"170 5 200", Request("unknown", "unknown", "200", "", 1, 5)),
        ("$status|$request", b"200|GET /v1/info HTTP/1.1", Request(*INFO)),
        ("$request|$status", b"GET /v1/info?a|b HTTP/1.1|200", Request(*INFO)),
        ("$request $status $bytes_sent", b"GET /v1/info?404 HTTP/1.1 200 5", Request(*INFO, "", 1, 5)),
        ("$request $status [$http_user_agent]", b"GET /v1/info HTTP/1.1 200 [a b]", Request(*INFO)),
        ("[$time_local] $status $request_uri", b"[24/Nov/2026:11:11:42 +0000] 200 -", Request("unknown", "invalid", "200")),
        ("$request_method $request_uri $status", b"- - 400", Request("unknown", "invalid", "400")),
        ("$request_method $request_uri $status", b"  400", Request("unknown", "invalid", "400")),
        ("$request_method $request_uri $server_protocol $status", b"GET /v1/info?x HTTP/1.1 200", Request(*INFO)),
        ("$status $request_method $uri", b"200 GET /v1/in fo", Request("GET", "other", "200")),
        ("$request_method $uri $status", rb"GET /v1/info\x0A 200", Request("GET", "other", "200")),
        ("$request_method $uri $status", b"GET /v1/info 200 404", Request("GET", "other", "404")),
        ("$remote_user [$time_local] $status $uri", b"a [b] " + HEAD[14:] + b"200 /v1/info", Request("unknown", "/v1/info", "200")),
        (
            '"$request_method $scheme://$host$request_uri $server_protocol" $status',
            b'"GET https://dify.example/v1/info?user=a HTTP/1.1" 200',
            Request(*INFO),
        ),
        (r"$scheme://$host$request_uri\t$status", b"http://_-\t400", Request("unknown", "invalid", "400")),
        (r"$host$request_uri|$status", b"_|400", Request("unknown", "invalid", "400")),
        ('"$request_method $uri$is_args$args" $status', b'"GET /v1/info?a=/b?c" 200', Request(*INFO)),
        ('"$request_method $uri$is_args$args" $status', b'"GET /v1/info" 200', Request(*INFO)),
        (
            UPSTREAMLOG,
            b"[24/Nov/2026:11:11:42 +0000] 127.0.0.1 - - - _ dify to: 10.0.0.1:80, [::1]:80: GET /v1/info "
            b"HTTP/1.1 200 upstream_response_time 0.000, 0.005 : 0.001 msec 1795567384.231 request_time 0.004",
            Request(*INFO, durations=(4 * MILLISECOND,)),
        ),
        (
            "$request $status a=$upstream_addr t=$upstream_header_time",
            b"GET /v1/info HTTP/1.1 200 a=10.0.0.1:80, unix:/x t=-, 0.005",
            Request(*INFO, first_bytes=(5 * MILLISECOND,)),
        ),
        (
            'status=$status referer=$http_referer agent="$http_user_agent" rt=$request_time',
            b'status=200 referer=a b c agent="x" rt=0.004',
            Request("unknown", "unknown", "200", durations=(4 * MILLISECOND,)),
        ),
        ("$http_x_forwarded_for - $remote_user $status $uri", b"a b - - 200 /v1/info", Request("unknown", "/v1/info", "200")),
        ("$http_x_forwarded_for - $remote_user $status $uri", b", - - 200 /v1/info", Request("unknown", "/v1/info", "200")),
        ("$request_uri $http_x_forwarded_for $status", b"/v1/info 10.0.0.1, ::1 200", Request("unknown", "/v1/info", "200")),
        ('$remote_user [$time_iso8601] "$request" $status', b'a [b] "c" [2026-11-24T11:11:42+00:00] "GET /v1/info HTTP/1.1" 200', Request(*INFO)),
        ("$status $request_uri [$http_user_agent]", b"200 /v1/info [iPhone [FBAN/FBIOS] x]", Request("unknown", "/v1/info", "200")),
        (
            "$request | $status | $http_user_agent | $upstream_header_time | $request_time",
            b"GET /v1/info HTTP/1.1 | 200 | Mozilla/5.0 (X11; Linux) | 0.001, 0.003 | 0.004",
            Request(*INFO, durations=(4 * MILLISECOND,), first_bytes=(3 * MILLISECOND,)),
        ),
        ("$uri $status ua=$http_user_agent ref=$http_referer", b"/v1/info 200 ua=a b ref=-", Request("unknown", "/v1/info", "200")),
        ("[$host] $status", b"[[::1]] 200", Request("unknown", "unknown", "200")),
        (
            "$request $status $body_bytes_sent $request_time $http_user_agent",
            b"GET /v1/info HTTP/1.1 200 5 0.004 a 404 7 9 8 2",
            Request(*INFO, "", 1, 5, (4 * MILLISECOND,)),
        ),
        ("'$request_uri'\n'\t$status';", b"/v1/info\t200", Request("unknown", "/v1/info", "200")),
        (r"log_format ltsv 'req:$request\tstatus:$status';", b"req:GET /v1/info HTTP/1.1\tstatus:200", Request(*INFO)),
        (
            INGRESS,
            HEAD + b'"GET /v1/info HTTP/1.1" 200 905 "-" "x" 300 3.500 [dify-api-5001] [] '
            b"10.244.1.17:5001, 10.244.2.9:5001 0, 905 0.000, 3.499 502, 200 4f0c",
            Request(*INFO, "", 1, 905, (3_500 * MILLISECOND,)),
        ),
        (INGRESS, HEAD + b'"" 400 0 "-" "-" 0 0.000 [] [] - - - - 4f0c', Request("unknown", "invalid", "400", "", 1, 0, (0,))),
        (
            JSON,
            '{"time":"2026-11-24T11:11:42+00:00","request":"GET /v1/info HTTP/1.1","status":200,"bytes":5,'
            '"request_time":"0.102","upstream_header_time":"-, 0.101","user_agent":"Mo\\"zilla\\\\5.0 é"}'.encode(),
            Request(*INFO, "", 1, 5, (102 * MILLISECOND,), (101 * MILLISECOND,)),
        ),
        (
            JSON,
            b'{"time":"2026-11-24T11:11:42+00:00","request":"\\u0016\\u0003\xfc","status":400,"bytes":157,'
            b'"request_time":"0.000","upstream_header_time":"","user_agent":""}',
            Request("unknown", "invalid", "400", "", 1, 157, (0,)),
        ),
        (
            "log_format j escape=json '{\"r\":\"$request\",\"urt\":$upstream_response_time,\"s\":$status}';",
            rb'{"r":"GET \/v1\/inf\u006f?a=\"\\ HTTP/1.1","urt":0.000, 0.003,"s":200}',
            Request(*INFO),
        ),
        (
            "log_format j escape=json '{\"r\":\"$request\",\"urt\":$upstream_response_time,\"s\":$status}';",
            b'{"r":"GET /v1/info HTTP/1.1","urt":,"s":200}',
            Request(*INFO),
        ),
        (
            "log_format j escape=json '{\"m\":\"$request_method\",\"u\":\"$uri\",\"s\":$status}';",
            rb'{"m":"FOOBAR","u":"/v1/i\nfo","s":200}',
            Request("other", "other", "200"),
        ),
        (
            "log_format n escape=none '\"$request\" $status \"$http_referer\" \"$http_user_agent\"';",
            b'"GET /v1/info?"x\\ HTTP/1.1" 200 "r\\" "M"o z\\\xc3\xa9\xff"',
            Request(*INFO),
        ),
    ],
)  # fmt: skip
def test_any_log_format(format: str, line: bytes, expected: Request) -> None:
    assert request(line, format) == expected


@pytest.mark.parametrize(
    ("format", "line"),
    [
        ("$status $time_local", b"200 24/Nov/2026:11:11:42 +0000"),
        ("$status $time_local", b"200 24/Nov/2026:19:11:42 +0800"),
        ("$time_local - $status", b"24/Nov/2026:01:41:42 -0930 - 200"),
        ("$status $time_iso8601", b"200 2026-11-24T11:11:42+00:00"),
        ("$status [$msec]", b"200 [1795518702.000]"),
        ("$msec $status $time_local", b"1795518702.000 200 01/Jan/2000:00:00:00 +0000"),
    ],
)
def test_the_time_of_a_line(format: str, line: bytes) -> None:
    assert Nginx(format=format).parse(line + b"\n").last_at == AT


def test_milliseconds_are_kept() -> None:
    assert Nginx(format="$status $msec").parse(b"200 1795518702.123\n").last_at == AT + 123 * MILLISECOND


def test_the_newest_time_counts_in_any_line() -> None:
    lines = b"200 24/Nov/2026:11:11:41 +0000\n200 24/Nov/2026:11:11:42 +0000\n200 24/Nov/2026:11:11:40 +0000\n"
    assert Nginx(format="$status $time_local").parse(lines).last_at == AT


@pytest.mark.parametrize("line", [b"200 99/Abc/2026:11:11:42 +0000", b"200 24/Nov/2026:99:11:42 +0000"])
def test_a_line_with_a_bad_time_counts(line: bytes) -> None:
    batch = Nginx(format="$status $time_local").parse(line + b"\n")
    assert (batch.observed, batch.last_at) == (1, None)


@pytest.mark.parametrize(
    "line",
    [
        b"x",
        b"\r\r",
        b"\x00\x01",
        HEAD + b'"GET /v1/info HTTP/1.1" 200 5 "-" "-"',
        HEAD + b'"GET /v1/info HTTP/1.1" 200 5 "-" "-" "-" rt=0.1',
        HEAD + b'"GET /v1/info HTTP/1.1" abc 5 "-" "-" "-"',
        HEAD + b'"GET /v1/info HTTP/1.1" 200 5 "-" "a"b" "-"',
    ],
)
def test_a_line_of_another_format_is_unparsed(line: bytes) -> None:
    batch = Nginx().parse(line + b"\n")
    assert (batch.observed, batch.unparsed, batch.records) == (0, {"format": 1}, ())
    assert batch.examples == {"format": line.removesuffix(b"\r")}


def test_one_stream_of_a_container_contains_both_logs() -> None:
    """Docker writes nginx' standard output and error, and the output of the image's scripts, into one file."""
    log = (
        b"/docker-entrypoint.sh: Launching /docker-entrypoint.d/20-envsubst-on-templates.sh\n"
        b"20-envsubst-on-templates.sh: Running envsubst on /etc/nginx/templates/x\n"
        b"2026/11/24 11:11:40 [notice] 1#1: start worker processes\n"
        + HEAD
        + b'"GET /v1/info HTTP/1.1" 504 5 "-" "-" "-"\n'
        + b'2026/11/24 11:11:43 [error] 1#1: *16 upstream timed out (110: x) while, client: ::1, request: "GET /"\n'
        + b'nginx: [emerg] host not found in upstream "api"\noops\n'
    )
    batch = Nginx().parse(log)
    assert batch.records == (Request("GET", "/v1/info", "504", "timeout", 1, 5), Failure("upstream_timeout"))
    assert (batch.lines, batch.ignored, batch.observed, batch.unparsed) == (7, 4, 2, {"format": 1})
    assert batch.last_at == AT + SECOND


def test_lines_of_all_outcomes_add_up() -> None:
    good = HEAD + b'"GET /v1/info HTTP/1.1" 200 5 "-" "-" "-"'
    batch = Nginx().parse(b"\n" + good + b"\nbad one\n\r\n" + good + b"\r\nbad two\n" + good)
    assert (batch.lines, batch.ignored, batch.observed, batch.unparsed) == (6, 2, 2, {"format": 2})
    assert batch.examples == {"format": b"bad one"}
    assert batch.records == (Request("GET", "/v1/info", "200", "", 2, 10),)


def test_a_long_example_is_shortened() -> None:
    assert Nginx().parse(b"x" * 999 + b"\n").examples == {"format": b"x" * 200}


def test_equal_requests_are_one_record() -> None:
    line = HEAD + b'"GET /console/api/apps/%d HTTP/1.1" 200 5 "-" "-" "-" rt=0.%03d uct="-" uht="-" urt="-" us="-"\n'
    (record,) = Nginx(format="dify-timed").parse(b"".join(line % (i, i) for i in range(100))).records
    assert record == Request(
        "GET", "/console/api/apps/{app_id}", "200", "", 100, 500, tuple(i * MILLISECOND for i in range(100))
    )


def test_an_additional_route() -> None:
    parser = Nginx(format="$request_uri $status", routes=("/gateway/{tenant}/chat",))
    assert only(parser.parse(b"/gateway/acme/chat?x 200\n")).route == "/gateway/{tenant}/chat"
