"""A parser: a frozen struct whose fields are the options of its `[[source]]` table.

Built-in and third-party parsers come through one door, the entry-point group `dify_exporter.parsers`. Each one
keeps six laws (tests/parsers/test_laws.py): total, cut-proof, complete, stateless, bounded, linear.
"""

from importlib.metadata import entry_points
from typing import Any, ClassVar

from msgspec import Struct

from parsers.batch import ERROR_KINDS, FAILURE_REASONS, Batch

ENTRY_POINTS = "dify_exporter.parsers"


class Parser(Struct, frozen=True, dict=True, forbid_unknown_fields=True, kw_only=True):
    """What must be compiled is a `cached_property`, touched in `__post_init__`: a bad option is a
    configuration error (ValueError) before anything runs, and parsing changes no attribute.
    """

    #: Option sets that the detection tries; () where a parser cannot be guessed.
    guesses: ClassVar[tuple[dict[str, Any], ...]] = ({},)

    def parse(self, window: bytes, final: bool = False) -> Batch:
        """Parses the whole records at the beginning of `window`; with `final` nothing more will come."""
        raise TypeError(f"{type(self).__name__} has no parse method")

    def reach(self, line: bytes) -> int:
        """How many bytes of a line, without its newline, fit the format: where a line that nobody takes broke."""
        del line
        return 0

    def ignores_continuations(self) -> bool:
        """Whether a line that begins no record is ignored as the continuation of the record before it. Where nearly all
        lines of such a log are ignored, it is written in another format.
        """
        return False

    def remedy(self, line: bytes) -> str:
        """What to change so that an unparsed line fits, in one sentence for the operator; "" where nobody knows."""
        del line
        return ""

    def error_kinds(self, sample: Batch) -> frozenset[str]:
        """Kinds that its `Failure` records may have, by its options and by what a sample of the log gave: which
        alerts can fire is judged by them.
        """
        del sample
        return frozenset(ERROR_KINDS)

    def failure_reasons(self, sample: Batch) -> frozenset[str]:
        """What the `failure` of its `Request` records may be, beside ""."""
        del sample
        return frozenset(FAILURE_REASONS)

    def advice(self, sample: Batch) -> tuple[str, ...]:
        """Sentences on what this log cannot tell, by its options and by what a sample of it gave, and how to change
        that.
        """
        del sample
        return ()

    def advice_on(self, log: bytes, sample: Batch) -> tuple[str, ...]:
        """The same, where the text of the sample says more than what it gave."""
        del log
        return self.advice(sample)


def registered(only: str | None = None) -> dict[str, type[Parser]]:
    """All parsers by name, sorted, or of that name. A package that fails to load raises its own ImportError."""
    points = entry_points(group=ENTRY_POINTS, name=only) if only else entry_points(group=ENTRY_POINTS)
    found = {point.name: point.load() for point in points}
    return dict(sorted(found.items()))
