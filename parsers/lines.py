"""The cut every parser of lines makes: whole lines now, the rest again later."""

from collections.abc import Callable, Sequence

from parsers.batch import Batch, Record

#: What a line gives: records and event time. None: the line is ignored; a string: why it is unparsed.
Outcome = tuple[Sequence[Record], int | None] | None | str

_EXAMPLE_LENGTH = 200


def whole_lines(window: bytes, final: bool) -> tuple[int, int]:
    """Bytes that are whole lines, and how many lines they are. With `final` the last one needs no newline."""
    consumed = len(window) if final else window.rfind(b"\n") + 1
    lines = window.count(b"\n", 0, consumed)
    if consumed and window[consumed - 1] != 0x0A:
        lines += 1
    return consumed, lines


def by_line(window: bytes, final: bool, read: Callable[[bytes], Outcome]) -> Batch:
    """A batch from a function of one line, which gets it without its newline; an empty line is ignored."""
    consumed, count = whole_lines(window, final)
    ignored, last_at = 0, None
    unparsed: dict[str, int] = {}
    examples: dict[str, bytes] = {}
    records: list[Record] = []
    torn = b"\0" in window
    for line in window[:consumed].split(b"\n", count)[:count]:
        text = line.removesuffix(b"\r")
        outcome = read(text) if text else None
        if torn and b"\0" in text:
            outcome = _behind_nuls(text, outcome, read)
        if outcome is None:
            ignored += 1
        elif isinstance(outcome, str):
            unparsed[outcome] = unparsed.get(outcome, 0) + 1
            examples.setdefault(outcome, text[:_EXAMPLE_LENGTH])
        else:
            records += outcome[0]
            at = outcome[1]
            if at is not None and (last_at is None or at > last_at):
                last_at = at
    return Batch(consumed, count, ignored, unparsed, examples, last_at, tuple(records))


def _behind_nuls(text: bytes, outcome: Outcome, read: Callable[[bytes], Outcome]) -> Outcome:
    """What a line with NULs gives where it is no record as it is: that of the text behind the last run of them.

    A truncation in place and a power failure leave such a run in front of a whole line. A line that was recognised is
    left as it is, so that a client that writes a NUL hides and forges nothing.
    """
    rest = text.rstrip(b"\0")
    if not rest:
        return None
    if isinstance(outcome, str) or (outcome is None and text.startswith(b"\0")):
        return read(rest.rpartition(b"\0")[2]) or outcome
    return outcome
