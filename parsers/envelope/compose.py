"""Remove what the commands of Docker and Kubernetes print in front of the lines of a container.

* `docker compose logs`: `api-1  | LINE`; Docker Desktop prints a time in front of the name;
* `docker service logs`: `dify_api.1.TASK@HOST    | LINE`, with `--timestamps` a time in front of the name;
* `kubectl logs --prefix`: `[pod/NAME/CONTAINER] LINE`;
* `--timestamps` of any of them, also of `docker logs`: a time in front of LINE.

Sources: docker/compose pkg/api/logs and cmd/formatter/logs.go; docker/cli cli/command/service/logs.go; kubectl
pkg/cmd/logs/logs.go.
"""

import re
from functools import lru_cache
from operator import itemgetter
from typing import Final

from parsers.envelope.envelope import Envelope
from parsers.envelope.pieces import LinePiece, PhysicalLine
from parsers.frame import Frame

_ANSI = rb"(?:\x1b\[[0-9;]{0,20}m){0,4}"
_NAME = rb"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}"
_TIME = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9}+)?(?:Z|[+-]\d\d:\d\d) "
#: Lines of the plugin daemon itself also begin with a time, but their severity follows it.
_ADDED_TIME = _TIME + rb"(?!(?:DEBUG|INFO|WARN|ERROR|PANIC|FATAL) [^ \[])"

_PREFIX = re.compile(
    _ANSI
    + rb"(?:"
    + (rb"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d |" + _TIME + rb")?" + _ANSI)
    + (rb"(?P<container>" + _NAME + rb"(?:@" + _NAME + rb")?)" + _ANSI + rb" {0,250}\|" + _ANSI + rb" ?")
    + (rb"|\[pod/(?P<pod>" + _NAME + rb")/(?P<of_pod>" + _NAME + rb")\] ")
    + (rb")?" + _ANSI)
    + (rb"(?:" + _ADDED_TIME + rb")?")
)

#: The usual prefix, that of `docker compose logs` without options, in front of what is no more of a prefix.
_USUAL = re.compile(rb"(" + _NAME + rb") {0,250}\| (?!\x1b|.{10}T)")
#: Matches every line. The groups capture the container and the text behind the prefix of a line that has the usual
#: prefix and no added time; they are empty for any other line.
_USUAL_LINE = re.compile(rb"^(" + _NAME + rb"+) {0,250}+\| (?!\x1b|" + _ADDED_TIME + rb")(.*\n)|^.*\n", re.MULTILINE)

#: Bytes of a content that may be more of a prefix: an escape sequence or an added time.
_MORE_PREFIX: Final = ((0, 0x1B), (10, ord("T")))

#: The stream of all pieces that another service of Dify wrote.
_OTHER_SERVICE: Final = "other"
_MAX_CONTAINERS: Final = 1024

#: Messages of the commands themselves, on lines without a prefix.
_COMMAND_MESSAGE = re.compile(
    rb"Attaching to |Gracefully [Ss]topping|Aborting on container exit|Defaulted container |canceled\b"
    rb"|time=\"[^\"]{1,64}\" level=|WARN\[\d{4}\] |[Ee]rror (?:response )?from daemon|failed to watch file "
    rb"|" + _NAME + rb" (?:exited with code \d{1,5}|has been recreated)"
)  # fmt: skip

#: The services in Dify's own Docker Compose file (docker/docker-compose.yaml) and in its Helm chart.
_SERVICES: Final = frozenset(
    "nginx api api_websocket worker worker_beat beat plugin_daemon web sandbox ssrf_proxy certbot init_permissions "
    "db db_postgres db_mysql postgres postgresql redis redis_master redis_replicas weaviate qdrant milvus_standalone "
    "milvus_etcd milvus_minio minio etcd pgvector pgvecto_rs chroma couchbase_server elasticsearch kibana opensearch "
    "opensearch_dashboards unstructured oceanbase oracle myscale vastbase matrixone".split()
)


class Compose(Envelope, frozen=True):
    """The output of `docker compose logs` and similar commands.

    A line without a prefix (`--no-log-prefix`) is passed to the inner parser unchanged, unless the command itself wrote
    it. A line of another service of Dify, one that the inner parser is not made for, is ignored if the inner parser
    cannot parse it.
    """

    def piece(self, line: bytes) -> LinePiece | None:
        if (usual := _USUAL.match(line)) is not None:
            return LinePiece(line[usual.end() :], _streams_of(self.parser.services)[usual[1]])
        match = _PREFIX.match(line)
        assert match is not None  # every part is optional
        if (container := match["container"] or match["of_pod"]) is not None:
            return LinePiece(line[match.end() :], _streams_of(self.parser.services)[container])
        if line.startswith(b"\0"):
            raise ValueError("NULs in place of the prefix")
        return None if _COMMAND_MESSAGE.match(line) else LinePiece(line[match.end() :])

    def frame(self, line: bytes) -> Frame | None:
        usual = _USUAL.match(line)
        if usual is None or _streams_of(self.parser.services)[usual[1]] == _OTHER_SERVICE:
            return None
        return Frame(usual[0], excluded=_MORE_PREFIX)

    def contents(self, block: bytes) -> tuple[bytes, int] | None:
        found = _USUAL_LINE.findall(block)
        containers, streams = set(map(itemgetter(0), found)), _streams_of(self.parser.services)
        if b"" in containers or any(streams[container] == _OTHER_SERVICE for container in containers):
            return None
        return b"".join(map(itemgetter(1), found)), len(found)

    def matched_length(self, line: bytes) -> int:
        match = _PREFIX.match(line)
        return Envelope.matched_length(self, line) if match is not None and match.end() else 0

    def _lines(self, physical: list[bytes], line_length: int | None, has_nuls: bool) -> list[PhysicalLine]:
        lines = Envelope._lines(self, physical, line_length, has_nuls)
        others = [
            (number, line.content)
            for number, line in enumerate(lines)
            if isinstance(line, LinePiece) and line.stream == _OTHER_SERVICE
        ]
        kept = self._parsed(others) if others else set()
        for number, _ in others:
            lines[number] = lines[number] if number in kept else None
        return lines

    def _parsed(self, lines: list[tuple[int, bytes]]) -> set[int]:
        """Return the numbers of the lines that the inner parser can parse, found by bisection."""
        batch = self.parser.parse(b"\n".join([*(content for _, content in lines), b""]), True)
        if not batch.unparsed:
            return {number for number, _ in lines}
        if not batch.observed or len(lines) == 1:
            return set()
        middle = len(lines) // 2
        return self._parsed(lines[:middle]) | self._parsed(lines[middle:])


class _ContainerStreams(dict[bytes, str]):
    """The stream of the pieces of each container, for a parser that is made for the services `own`.

    It is _OTHER_SERVICE for a container of another service of Dify.
    """

    def __init__(self, own: tuple[str, ...]) -> None:
        self._own = own

    def __missing__(self, container: bytes) -> str:
        name, _, host = container.partition(b"@")
        service = _dify_service(_service(name, bool(host))) if self._own else None
        if len(self) >= _MAX_CONTAINERS:
            self.clear()
        self[container] = stream = _OTHER_SERVICE if service is not None and service not in self._own else ""
        return stream


@lru_cache(maxsize=64)
def _streams_of(own: tuple[str, ...]) -> _ContainerStreams:
    return _ContainerStreams(own)


def _service(container: bytes, is_task: bool) -> str:
    """Return the service of a container: its name without its number, or without the number and id of a Swarm task."""
    name = container.decode()
    return name.partition(".")[0] if is_task else re.sub(r"[-_]\d{1,9}$", "", name)


def _dify_service(service: str) -> str | None:
    """Return the service of Dify with the longest name that `service` ends with, behind the name of its project."""
    words = service.replace("-", "_").split("_")
    names = ("_".join(words[begin:]) for begin in range(max(0, len(words) - 3), len(words)))
    return next((name for name in names if name in _SERVICES), None)


def services(text: bytes) -> list[str]:
    """Return the services of the containers that are named in front of these lines, sorted."""
    found = set[str]()
    for line in text.splitlines():
        match = _PREFIX.match(line)
        if match is not None and (container := match["container"] or match["of_pod"]) is not None:
            name, _, host = container.partition(b"@")
            found.add(_service(name, bool(host)))
    return sorted(found)
