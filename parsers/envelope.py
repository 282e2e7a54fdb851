"""Envelopes: parsers that hold a parser, around the lines of a container's output.

Lines are the physical lines of the file: of a record in several pieces all but the last are `ignored`, and the
last one counts as what the inner parser makes of the whole.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from msgspec import Struct

from parsers.batch import Batch
from parsers.lines import whole_lines
from parsers.parser import Parser
from parsers.values import json as lenient_json

#: Docker cuts a line every 16 KiB (moby daemon/logger/copier.go). Bytes that are no UTF-8 grow when it writes
#: them as JSON, so a cut piece is at least as long.
_DOCKER_CUT = 16 * 1024


class Piece(Struct, frozen=True, gc=False):
    """The content of one physical line, without its newline; an open one goes on in the stream's next piece."""

    content: bytes
    stream: str = ""
    open: bool = False


class _Line(Struct, frozen=True, gc=False):
    """A line of the container, and the numbers of its first and its last physical line."""

    first: int
    last: int
    content: bytes


class Envelope(Parser, frozen=True):
    """Joins the pieces of each stream and gives whole lines to the inner parser.

    A line that is still open holds back its own first piece and everything behind it: a position lies only where
    no line is open.
    """

    parser: Parser

    guesses: ClassVar[tuple[dict[str, Any], ...]] = ()

    def piece(self, line: bytes) -> Piece | None:
        """What a physical line holds. None for one that the envelope's writer says in its own name.

        Raises ValueError where the line is none of this envelope.
        """
        raise TypeError(f"{type(self).__name__} opens no line such as {line!r}")

    def parse(self, window: bytes, final: bool = False) -> Batch:
        whole, _ = whole_lines(window, final)
        physical = window[:whole].split(b"\n")
        if physical[-1] == b"":
            physical.pop()
        lines, bad, taken = self._open(physical, final)
        lines = [line for line in lines if line.last < taken]
        payload = b"".join(line.content + b"\n" for line in lines)
        inner = self.parser.parse(payload, final)
        if inner.consumed < len(payload):
            held = lines[payload.count(b"\n", 0, inner.consumed)]
            return self.parse(_joined(physical[: held.first]))
        bad = [number for number in bad if number < taken]
        unparsed, examples = dict(inner.unparsed), dict(inner.examples)
        if bad:
            unparsed["envelope"] = unparsed.get("envelope", 0) + len(bad)
            examples.setdefault("envelope", physical[bad[0]][:200])
        return Batch(
            consumed=whole if taken == len(physical) else len(_joined(physical[:taken])),
            lines=taken,
            ignored=inner.ignored + taken - len(bad) - len(lines),
            unparsed=unparsed,
            examples=examples,
            last_at=inner.last_at,
            records=inner.records,
        )

    def _piece_behind_nuls(self, line: bytes) -> Piece | None:
        """What a line with NULs holds, as it is or behind the last run of them: a power failure leaves such a run in
        front of a whole line. Raises ValueError where neither is a line of this envelope.
        """
        behind = line.rstrip(b"\0").rpartition(b"\0")[2]
        try:
            if (piece := self.piece(line)) is not None:
                return piece
        except ValueError:
            if not behind or behind == line:
                raise
        return self.piece(behind) if behind else None

    def reach(self, line: bytes) -> int:
        try:
            piece = self.piece(line)
        except ValueError:
            return 0
        if piece is None:
            return 0
        return max(0, line.find(piece.content[:40])) + self.parser.reach(piece.content)

    def ignores_continuations(self) -> bool:
        return self.parser.ignores_continuations()

    def remedy(self, line: bytes) -> str:
        """For a line of the inner parser."""
        return self.parser.remedy(line)

    def error_kinds(self, sample: Batch) -> frozenset[str]:
        return self.parser.error_kinds(sample)

    def failure_reasons(self, sample: Batch) -> frozenset[str]:
        return self.parser.failure_reasons(sample)

    def advice(self, sample: Batch) -> tuple[str, ...]:
        return self.parser.advice(sample)

    def advice_on(self, log: bytes, sample: Batch) -> tuple[str, ...]:
        return self.parser.advice_on(log, sample)

    def _open(self, physical: list[bytes], final: bool) -> tuple[list[_Line], list[int], int]:
        """The container's lines in the order of their ends, the numbers of bad lines, and how many physical
        lines stand before any line that is still open.
        """
        lines: list[_Line] = []
        bad: list[int] = []
        waiting: dict[str, tuple[int, list[bytes]]] = {}
        for number, text in enumerate(physical):
            try:
                piece = self._piece_behind_nuls(text) if b"\0" in text else self.piece(text) if text else None
            except ValueError:
                bad.append(number)
                continue
            if piece is None:
                continue
            first, contents = waiting.pop(piece.stream, (number, []))
            contents.append(piece.content)
            if piece.open:
                waiting[piece.stream] = (first, contents)
            else:
                lines.append(_Line(first, number, b"".join(contents)))
        if final:
            end = len(physical) - 1
            lines += [_Line(first, end, b"".join(contents)) for first, contents in waiting.values()]
            return lines, bad, len(physical)
        return lines, bad, _before_open((first for first, _ in waiting.values()), lines, len(physical))


def _before_open(open_firsts: Iterable[int], lines: list[_Line], end: int) -> int:
    """The last place before every open line that no other line spans."""
    cut = min(open_firsts, default=end)
    for line in reversed(lines):
        if line.first < cut <= line.last:
            cut = line.first
    return cut


def _joined(physical: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in physical)


class _DockerRecord(Struct, frozen=True, gc=False):
    log: str
    stream: Any = ""


_DOCKER_HEADS = (b'{"log":', b'{"stream":', b'{"time":')
_decode_docker = lenient_json.decoder(_DockerRecord)


class Docker(Envelope, frozen=True):
    """Docker's json-file driver: `{"log":"…\\n","stream":"stdout","time":"…"}`; only `log` is needed.

    A piece without its newline is open only if it is as long as Docker cuts: a killed container leaves a
    short one behind, and nothing may wait for it.
    """

    def reach(self, line: bytes) -> int:
        return Envelope.reach(self, line) or (lenient_json.reach(line) if line.startswith(_DOCKER_HEADS) else 0)

    def piece(self, line: bytes) -> Piece | None:
        try:
            record = _decode_docker(line)
        except RecursionError:
            raise ValueError("nested too deep") from None
        content = record.log.encode()
        stream = record.stream if isinstance(record.stream, str) else ""
        ended = content.endswith(b"\n")
        content = content[:-1] if ended else content
        if b"\n" in content:
            raise ValueError("Docker cuts at newlines: this line was not written by it")
        return Piece(content, stream, open=not ended and len(content) >= _DOCKER_CUT)


_CRI = re.compile(
    rb"\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d) (stdout|stderr) ([PF])(?::[^ ]*)?(?: (.*))?", re.DOTALL
)


class Cri(Envelope, frozen=True):
    """Kubernetes' CRI: `<RFC 3339 time> <stdout|stderr> <P|F>[:tags] <content>`; P goes on until F."""

    def piece(self, line: bytes) -> Piece | None:
        match = _CRI.fullmatch(line)
        if match is None:
            raise ValueError("no CRI line")
        return Piece(match[3] or b"", match[1].decode(), open=match[2] == b"P")


_ANSI = rb"(?:\x1b\[[0-9;]*m)*"
_COMPOSE = re.compile(
    _ANSI
    + rb"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d )?"  # Docker Desktop
    + rb"(?P<container>[A-Za-z0-9][A-Za-z0-9_.-]*) *\|"
    + _ANSI
    + rb" ?"
    + _ANSI
    # --timestamps; the plugin daemon's own lines begin alike, with their severity behind the time.
    + rb"(?:\d{4}-\d\d-\d\dT[0-9:.]+Z (?!(?:DEBUG|INFO|WARN|ERROR|PANIC|FATAL) ))?"
    + rb"(?P<content>.*)",
    re.DOTALL,
)


class Compose(Envelope, frozen=True):
    """The output of `docker compose logs`: `api-1  | …`. A line without a bar is compose's own word."""

    def piece(self, line: bytes) -> Piece | None:
        match = _COMPOSE.fullmatch(line)
        return match and Piece(match["content"])


def services(text: bytes) -> list[str]:
    """The services whose containers `docker compose logs` names in front of these lines."""
    found = {match["container"] for line in text.splitlines() if (match := _COMPOSE.fullmatch(line))}
    return sorted({re.sub(rb"[-_]\d+$", b"", container).decode() for container in found})


ENVELOPES: dict[str, Callable[..., Envelope]] = {"docker": Docker, "cri": Cri, "compose": Compose}
