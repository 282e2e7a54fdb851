"""An envelope: a parser that holds a parser, around the lines that a container or a shipper writes.

Each physical line of the file is counted once. Of a record in several pieces one physical line counts as what the inner
parser makes of the whole, and the others are `ignored`. Of a record that spans more than `line_length` bytes the
first piece is unparsed (`too_long`), and the others are ignored.
"""

from typing import Any, ClassVar

from msgspec import structs

from parsers.batch import Batch
from parsers.envelope.pieces import Limits, Line, Piece, Taken, join, taken_whole
from parsers.lines import whole_lines
from parsers.parser import Parser

_EXAMPLE_LENGTH = 200


class Envelope(Parser, frozen=True):
    """Joins the pieces of each stream and passes whole lines to the inner parser."""

    parser: Parser

    guesses: ClassVar[tuple[dict[str, Any], ...]] = ()

    def piece(self, line: bytes) -> Piece | None:
        """What a physical line holds. None for a line that holds nothing of the container's output.

        Raises ValueError for a line that the writer of this envelope does not write.
        """
        raise TypeError(f"{type(self).__name__} opens no line such as {line!r}")

    def parse(self, window: bytes, final: bool = False) -> Batch:
        """Records of any length; nothing is consumed behind a record that is open."""
        return self._parse(window, Limits(len(window), final, (), None))

    def parse_part(self, window: bytes, final: bool, skip: tuple[str, ...], line_length: int) -> Batch:
        return self._parse(window, Limits(len(window), final, skip, line_length))

    def matched_length(self, line: bytes) -> int:
        try:
            piece = self.piece(line)
        except ValueError:
            return 0
        if piece is None:
            return 0
        return max(0, line.find(piece.content[:40])) + self.parser.matched_length(piece.content)

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

    def _parse(self, window: bytes, limits: Limits) -> Batch:
        whole, _ = whole_lines(window, limits.final)
        physical = window[:whole].split(b"\n")
        if physical[-1] == b"":
            physical.pop()
        lines = self._lines(physical, limits.line_length, b"\0" in window)
        taken = taken_whole(lines) if not limits.skip else None
        if taken is None:
            taken = join(lines, physical, limits)
        payload = b"\n".join([*taken.contents, b""])
        inner = self.parser.parse(payload, limits.final)
        if inner.consumed < len(payload):
            held = taken.first_line(payload.count(b"\n", 0, inner.consumed))
            window = window[: _size(physical[:held])]
            return self._parse(window, structs.replace(limits, size=len(window), final=False))
        consumed = whole if taken.cut == len(physical) else _size(physical[: taken.cut])
        return _counted(inner, physical, lines, taken, consumed)

    def _lines(self, physical: list[bytes], line_length: int | None, has_nuls: bool) -> list[Line]:
        lines: list[Line] = []
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


def _size(physical: list[bytes]) -> int:
    return sum(map(len, physical)) + len(physical)


def _counted(inner: Batch, physical: list[bytes], lines: list[Line], taken: Taken, consumed: int) -> Batch:
    """The batch of the inner parser, for the physical lines before the cut."""
    bad = [(line, number) for number, line in enumerate(lines[: taken.cut]) if isinstance(line, str)]
    bad += [("too_long", number) for number in taken.dropped]
    unparsed, examples = dict(inner.unparsed), dict(inner.examples)
    for reason, number in bad:
        unparsed[reason] = unparsed.get(reason, 0) + 1
        examples.setdefault(reason, physical[number][:_EXAMPLE_LENGTH])
    return structs.replace(
        inner,
        consumed=consumed,
        lines=taken.cut,
        ignored=inner.ignored + taken.cut - len(bad) - len(taken.contents),
        unparsed=unparsed,
        examples=examples,
        skip=taken.skip,
    )
