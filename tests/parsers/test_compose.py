"""The prefixes of the commands of Docker and Kubernetes, and the services whose lines are ignored."""

import pytest

from parsers.batch import Batch, Request
from parsers.dify import Dify
from parsers.envelope import Compose, services
from parsers.nginx import Nginx
from parsers.parser import Parser
from parsers.plugin_daemon import PluginDaemon
from parsers.regex import Regex
from tests.parsers.laws import check_every_cut, check_linear

ACCESS = b"2026-11-29 08:00:01.100 INFO [Dummy-1] [ext_request_logging.py:73]  - GET /v1/info 200 1 "
INFO = Request("GET", "/v1/info", "200", handler_durations=(1_000_000,))
NGINX = b'1.2.3.4 - - [29/Nov/2026:08:00:01 +0000] "GET /v1/info HTTP/1.1" 200 5 "-" "curl" "-"'
TIME = b"2026-11-29T08:00:01.123456789Z "
TASK = b"dify_api.1.k3j9d0s8f7g6h5j4k3l2m1n0p@node-1    | "
POD = b"[pod/dify-api-5d9c8b7f6-abcde/api] "


def outcome(batch: Batch) -> tuple[int, int, int, dict[str, int]]:
    return batch.lines, batch.observed, batch.ignored, dict(batch.unparsed)


@pytest.mark.parametrize(
    ("prefix", "service"),
    [
        (TASK, "dify_api"),
        (TIME + TASK, "dify_api"),  # docker service logs --timestamps
        (b"dify_api.1@node-1.example.com | ", "dify_api"),  # --no-task-ids
        (b"dify_api.x7k2@node-1    | ", "dify_api"),  # a global service has the id of a node instead of a number
        (POD, "api"),
        (POD + TIME, "api"),
        (b"[pod/worker-0/worker] 2026-11-29T16:00:01.123456789+08:00 ", "worker"),
        (TIME, None),  # docker logs -t, kubectl logs --timestamps
        (b"2026-11-29T08:00:01Z ", None),
        (b"2026-11-29T16:00:01.1+08:00 ", None),
        (b"api-1  | " + TIME, "api"),
        (b"\x1b[36mapi-1  |\x1b[0m " + TIME, "api"),
        (b"\x1b[36mapi-1\x1b[0m  | ", "api"),
        (b"\x1b[1;38;5;214mapi-1  | \x1b[0m", "api"),
        (b"\x1b[33mdify_api.1.k3j9d0s8f7g6@node-1\x1b[0m    | ", "dify_api"),
        (b"", None),  # docker compose logs --no-log-prefix
    ],
)
def test_a_prefix_is_removed(prefix: bytes, service: str | None) -> None:
    line = prefix + ACCESS + b"\n"
    batch = Compose(parser=Dify()).parse(line)
    assert (batch.records, outcome(batch)) == ((INFO,), (1, 1, 0, {}))
    assert services(line) == ([service] if service else [])
    check_every_cut(Compose(parser=Dify()), line + prefix + b"x\n")


@pytest.mark.parametrize(
    "line",
    [
        b"2026-05-21T03:08:03.1Z INFO dify-plugin-daemon m.go:83 HTTP request latency_ms=2 path=/health/check status=200",
        b"2026-05-21T03:08:03.123456Z ERROR dify-plugin-daemon g.go:141 plugin returned error response",
    ],
)
def test_the_plugin_daemons_own_time_is_kept(line: bytes) -> None:
    """Its lines begin with a time in the format of `--timestamps`."""
    plain = PluginDaemon().parse(line + b"\n")
    for prefix in (
        b"",
        b"plugin_daemon-1  | ",
        TIME,
        b"plugin_daemon-1  | " + TIME,
        b"[pod/d-0/plugin-daemon] " + TIME,
    ):
        assert Compose(parser=PluginDaemon()).parse(prefix + line + b"\n").records == plain.records


@pytest.mark.parametrize(
    "line",
    [
        b"nginx-1 exited with code 137",
        b"Attaching to api-1, nginx-1",
        b"Gracefully Stopping... press Ctrl+C again to force",
        b"Aborting on container exit...",
        b'time="2026-11-29T08:00:00Z" level=warning msg="the attribute `version` is obsolete"',
        b"WARN[0000] docker-compose.yaml: the attribute `version` is obsolete",
        b"Error response from daemon: No such container: api",
        b"Defaulted container \"api\" out of: api, init (init)",
    ],
)  # fmt: skip
def test_messages_of_the_commands_are_ignored(line: bytes) -> None:
    assert outcome(Compose(parser=Nginx()).parse(line + b"\n")) == (1, 0, 1, {})


def test_a_line_without_a_prefix_is_parsed_unchanged() -> None:
    """A whole file of another format is unparsed, not ignored."""
    assert outcome(Compose(parser=Nginx()).parse(b"no line of nginx\n")) == (1, 0, 0, {"format": 1})
    assert Compose(parser=Nginx()).matched_length(b"no line of nginx") == 0


OTHERS = [
    b"db-1",
    b"docker-redis-1",
    b"ssrf_proxy-1",
    b"dify_weaviate.1.k3j9@node-1",
    b"dify-web-1",
    b"plugin_daemon-1",
]


@pytest.mark.parametrize("container", OTHERS)
@pytest.mark.parametrize("line", [b"2026-11-29 09:17:51.100 UTC [1] LOG:  ready", b"    listening port: 8194", b"x"])
def test_a_line_of_another_service_is_ignored(container: bytes, line: bytes) -> None:
    log = container + b" | " + line + b"\n" + b"nginx-1 | " + NGINX + b"\n"
    assert outcome(Compose(parser=Nginx()).parse(log)) == (2, 1, 1, {})


def test_a_line_of_another_service_that_parses_counts() -> None:
    """A service may have the same name as another service of Dify."""
    log = b"".join(b"%s | %s\n" % (name, line) for name in OTHERS for line in (NGINX, b"x", NGINX, b"", b"y"))
    assert outcome(Compose(parser=Nginx()).parse(log)) == (30, 12, 18, {})
    check_every_cut(Compose(parser=Nginx()), b"web-1 | x\nweb-1 | " + NGINX + b"\nweb-1 | y\n")


@pytest.mark.parametrize(
    ("parser", "container", "line"),
    [
        (Nginx(), b"nginx-1", b"no line of nginx"),
        (Nginx(), b"docker-nginx-1", b"2026/11/29 09:18:01 what is this"),
        (Nginx(), b"gateway-1", b"a service that Dify does not have"),
        (Nginx(), b"dify_nginx.1.k3j9@node-1", b"no line of nginx"),
        (Regex(pattern=r"^(?P<path>\S+) (?P<status_code>\d{3})$"), b"db-1", b"a pattern may be for any service"),
    ],
)
def test_a_line_of_the_parsers_own_service_stays_unparsed(parser: Parser, container: bytes, line: bytes) -> None:
    assert outcome(Compose(parser=parser).parse(container + b" | " + line + b"\n")) == (1, 0, 0, {"format": 1})


def test_notices_of_nginx_are_ignored() -> None:
    """Scripts of the entrypoint in Docker's nginx image, and [notice] lines of ngx_cycle.c and ngx_process_cycle.c."""
    log = (
        b"nginx-1  | /docker-entrypoint.sh: Configuration complete; ready for start up\n"
        b"nginx-1  | 10-listen-on-ipv6-by-default.sh: info: /etc/nginx/conf.d/default.conf differs\n"
        b"nginx-1  | 2026/11/29 09:17:55 [notice] 10#10: start worker process 45\n"
        b'nginx-1  | nginx: [warn] the "listen ... http2" directive is deprecated\n'
    )
    assert outcome(Compose(parser=Nginx()).parse(log)) == (4, 0, 4, {})


@pytest.mark.parametrize("beginning", [b"", b"api-1  |", b"[pod/a/", b"\x1b[36m", b"a.1.b@c", b"2026-11-29T08:00:01."])
def test_prefixes_are_read_in_linear_time(beginning: bytes) -> None:
    lines = b"web-1 | x\nweb-1 | " + NGINX + b"\n"
    for noise in (b" ", b"a", b"a.", b"a@", b"\x1b[0m", b"1;", b"/", b"|", b"0", lines):
        check_linear(Compose(parser=Nginx()), beginning, noise, b"|")
