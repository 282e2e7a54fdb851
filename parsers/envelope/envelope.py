"""The base class of envelopes: parsers that unwrap the lines of a container or log shipper for an inner parser.

Each physical line of the file is counted once. For a record of several pieces, one physical line counts as the inner
parser says, and the others are `ignored`. For a record that spans more than `line_length` bytes, the first piece is
unparsed (`too_long`), and the others are ignored.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from msgspec import structs

from parsers.advice import Advice
from parsers.batch import Batch
from parsers.envelope.pieces import ConsumedLines, LinePiece, PhysicalLine, WindowLimits, join, single_line_records
from parsers.frame import Frame
from parsers.lines import EXAMPLE_LENGTH, before_too_long, together
from parsers.parser import Parser


class Envelope(Parser, frozen=True):
    """Joins the pieces of each stream and passes whole lines to the inner `parser`."""

    parser: Parser

    #: Whether contents are escaped as in JSON.
    in_json: ClassVar[bool] = False

    guesses: ClassVar[tuple[dict[str, Any], ...]] = ()

    def piece(self, line: bytes) -> LinePiece | None:
        """Return the content of a physical line, None for a line without any output of the container.

        Raises ValueError for a line that does not have the format of this envelope.
        """
        raise TypeError(f"{type(self).__name__} has no piece method")

    def contents(self, block: bytes) -> tuple[bytes, int] | None:
        """Return the contents of whole lines, each with its newline, by a few calls for all of them; and their number.

        None if any line is not a whole record in the usual form. Then `piece` reads each line.
        """
        return None

    def frame(self, line: bytes) -> Frame | None:
        """Return what is stored around the content of a line in the usual form, None for any other line."""
        return None

    def parse(self, window: bytes, final: bool = False) -> Batch:
        """Parse records of any length. Nothing behind the first unfinished record is consumed."""
        return self._parse(window, WindowLimits(len(window), final, (), None))

    def parse_part(self, window: bytes, final: bool, skip: tuple[str, ...], line_length: int) -> Batch:
        return self._parse(window, WindowLimits(len(window), final, skip, line_length))

    def matched_length(self, line: bytes) -> int:
        try:
            piece = self.piece(line)
        except ValueError:
            return 0
        if piece is None:
            return 0
        return max(0, line.find(piece.content[:40])) + self.parser.matched_length(piece.content)

    def prepare(self) -> None:
        self.parser.prepare()

    def ignores_continuations(self) -> bool:
        return self.parser.ignores_continuations()

    def remedy(self, line: bytes) -> str:
        """Return the remedy of the inner parser for one of its lines."""
        return self.parser.remedy(line)

    def error_kinds(self, sample: Batch) -> frozenset[str]:
        return self.parser.error_kinds(sample)

    def failure_reasons(self, sample: Batch) -> frozenset[str]:
        return self.parser.failure_reasons(sample)

    def advice(self, sample: Batch, log: bytes = b"") -> tuple[Advice, ...]:
        return self.parser.advice(sample, log)

    def _parse(self, window: bytes, limits: WindowLimits) -> Batch:
        whole = len(window) if limits.final else window.rfind(b"\n") + 1
        batch = self._parse_block(window, whole, limits)
        if batch is not None:
            return batch
        physical = window[:whole].split(b"\n")
        if physical[-1] == b"":
            physical.pop()
        lines = self._lines(physical, limits.line_length, b"\0" in window)
        consumed_lines = single_line_records(lines) if not limits.skip else None
        if consumed_lines is None:
            consumed_lines = join(lines, physical, limits)
        payload = b"\n".join([*consumed_lines.contents, b""])
        inner = self.parser.parse(payload, limits.final)
        if inner.consumed < len(payload):
            held = consumed_lines.first_line(payload.count(b"\n", 0, inner.consumed))
            window = window[: _size(physical[:held])]
            return self._parse(window, structs.replace(limits, size=len(window), final=False))
        consumed = whole if consumed_lines.cut == len(physical) else _size(physical[: consumed_lines.cut])
        return _counted(inner, physical, lines, consumed_lines, consumed)

    def _parse_block(self, window: bytes, size: int, limits: WindowLimits) -> Batch | None:
        """Parse the first `size` bytes, whole lines, if they are all in the usual form; None if they are not."""
        has_too_long = limits.line_length is not None and before_too_long(window, limits.line_length) < size
        if limits.skip or has_too_long or window.find(b"\0", 0, size) >= 0 or window[size - 1 : size] != b"\n":
            return None
        if self.frame(window[: window.index(b"\n")]) is not None:
            stored, rest = self.parser.parse_stored(window, size, self.frame, in_json=self.in_json)
        else:
            stored, rest = Batch(), window[:size]
        contents = self.contents(rest)
        if contents is None:
            return None
        payload, count = contents
        inner = self.parser.parse(payload, limits.final)
        # A content with a newline inside would be two lines.
        if (inner.consumed, inner.lines) != (len(payload), count):
            return None
        return together(stored, structs.replace(inner, consumed=len(rest)))

    def _lines(self, physical: list[bytes], line_length: int | None, has_nuls: bool) -> list[PhysicalLine]:
        lines: list[PhysicalLine] = []
        longest = len(max(physical, key=len, default=b"")) if line_length is not None else 0
        read = self._piece_behind_nuls if has_nuls else self.piece
        for text in physical:
            try:
                lines.append(read(text) if text else None)
            except ValueError:
                lines.append("envelope")
        if line_length is not None and longest >= line_length:
            return [
                "too_long" if len(text) >= line_length else line for text, line in zip(physical, lines, strict=True)
            ]
        return lines

    def _piece_behind_nuls(self, line: bytes) -> LinePiece | None:
        """Return the content of a line with NULs, or of the text behind the last run of them.

        A power failure leaves such a run in front of a whole line. Raises ValueError if neither has the format of this
        envelope.
        """
        rest = line.rstrip(b"\0").rpartition(b"\0")[2]
        try:
            if (piece := self.piece(line)) is not None:
                return piece
        except ValueError:
            if not rest or rest == line:
                raise
        return self.piece(rest) if rest else None


def _size(physical: list[bytes]) -> int:
    return sum(map(len, physical)) + len(physical)


def _counted(
    inner: Batch, physical: list[bytes], lines: list[PhysicalLine], consumed_lines: ConsumedLines, consumed: int
) -> Batch:
    """Turn the batch of the inner parser into one that counts the physical lines before the cut."""
    bad = [(line, number) for number, line in enumerate(lines[: consumed_lines.cut]) if isinstance(line, str)]
    bad += [("too_long", number) for number in consumed_lines.dropped]
    unparsed, examples = dict(inner.unparsed), dict(inner.examples)
    for reason, number in bad:
        unparsed[reason] = unparsed.get(reason, 0) + 1
        examples.setdefault(reason, physical[number][:EXAMPLE_LENGTH])
    return structs.replace(
        inner,
        consumed=consumed,
        lines=consumed_lines.cut,
        ignored=inner.ignored + consumed_lines.cut - len(bad) - len(consumed_lines.contents),
        unparsed=unparsed,
        examples=examples,
        skip=consumed_lines.skip,
    )


def inner_of(parser: Parser) -> Parser:
    """Return the parser in an envelope, or the parser itself."""
    return parser.parser if isinstance(parser, Envelope) else parser


def with_options(parser: Parser, options: Mapping[str, Any]) -> Parser:
    """Return the parser with other options, in the same envelope."""
    if isinstance(parser, Envelope):
        return structs.replace(parser, parser=with_options(parser.parser, options))
    return structs.replace(parser, **options)
