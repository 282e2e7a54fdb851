"""The interface of a parser: a frozen struct whose fields are the options of its `[[source]]` table.

Built-in and third-party parsers register in the same entry-point group, `dify_exporter.parsers`. Each parser obeys six
laws, which tests/parsers/test_laws.py checks:

* total: any bytes give a batch, and no exception;
* cut-proof: the sums are the same wherever the log is cut into windows;
* complete: each line is observed, ignored or unparsed;
* stateless: the same window gives the same batch;
* bounded: the memory of a parse is proportional to the window, and none is kept after it;
* linear: the time of a parse is proportional to the window.

Because of these laws, `parsers.slices` can cut the log of any parser at boundaries of event time.
"""

from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from operator import attrgetter
from types import NoneType
from typing import Any, ClassVar

from msgspec import Struct

from parsers.advice import Advice
from parsers.batch import ERROR_KINDS, FAILURE_REASONS, Batch
from parsers.frame import FrameOf
from parsers.lines import by_line

ENTRY_POINTS = "dify_exporter.parsers"


class Parser(Struct, frozen=True, dict=True, forbid_unknown_fields=True, kw_only=True):
    """The base class of all parsers.

    A subclass compiles patterns in a `cached_property` and accesses it in `__post_init__`. A bad option then raises
    ValueError, which becomes a configuration error before anything runs, and parsing changes no attribute.
    """

    #: Sets of options that the format detection tries; () for a parser that cannot be detected.
    guesses: ClassVar[tuple[dict[str, Any], ...]] = ({},)

    #: Services of Dify that write this log, by their names in Dify's Docker Compose file; () if they are not known.
    services: ClassVar[tuple[str, ...]] = ()

    #: Whether a record may have several physical lines. Windows then grow to twice `line_length`, so that each parse
    #: of the largest window consumes at least half of it.
    joined: ClassVar[bool] = False

    def parse(self, window: bytes, final: bool = False) -> Batch:
        """Parse the whole records at the beginning of `window`. It never raises. This method takes no line.

        With `final` the log ends here, so an unfinished last line counts as a whole one.
        """
        return by_line(window, final, lambda _: "format")

    def parse_part(self, window: bytes, final: bool, skip: tuple[str, ...], line_length: int) -> Batch:
        """Like `parse`, for a window that may begin inside a record. The tail calls this method.

        `skip` is the `skip` of the previous batch: the streams whose current record is passed over until it ends. A
        record of several physical lines that spans more than `line_length` bytes is dropped and counts as one unparsed
        line (`too_long`). Only a parser with `joined` has to override this method.
        """
        del skip, line_length
        return self.parse(window, final)

    def parse_stored(self, window: bytes, size: int, frame_of: FrameOf, *, in_json: bool) -> tuple[Batch, bytes]:
        """Parse those lines of an envelope that this parser can read as they are stored.

        The first `size` bytes of `window` are whole physical lines. `frame_of` says what is stored around a content.
        With `in_json` the contents are escaped as in JSON. Return the batch of the lines that are read, and all others.
        A parser that always needs the unwrapped lines does not override this method.
        """
        return Batch(), window[:size]

    def prepare(self) -> None:
        """Import what large windows need. It is called once, before the processes that parse a large log are forked."""

    def matched_length(self, line: bytes) -> int:
        """Return how many bytes at the beginning of an unparsed line (without its newline) fit the format.

        Messages show the place, and the format detection suggests the parser with the longest match.
        """
        del line
        return 0

    def ignores_continuations(self) -> bool:
        """Return whether a line that begins no record is ignored as the continuation of the previous record.

        If nearly all lines of a log are ignored in this way, the log probably has another format.
        """
        return False

    def remedy(self, line: bytes) -> str:
        """Return one sentence for the operator: what to change so that an unparsed line fits; "" if it is not known."""
        del line
        return ""

    def error_kinds(self, sample: Batch) -> frozenset[str]:
        """Return the kinds (of ERROR_KINDS) that the `Failure` records of this log may have.

        They depend on the options and on `sample`, the batch of a part of the log. They decide which alerts can fire.
        """
        del sample
        return frozenset(ERROR_KINDS)

    def failure_reasons(self, sample: Batch) -> frozenset[str]:
        """Return the reasons (of FAILURE_REASONS) that the `Request` records of this log may have, besides ""."""
        del sample
        return frozenset(FAILURE_REASONS)

    def advice(self, sample: Batch, log: bytes = b"") -> tuple[Advice, ...]:
        """Return advice for the operator: what this log does not contain, and how to change that.

        The advice depends on the options, on `sample`, the batch of a part of the log, and perhaps on `log`, the text
        of this part; b"" if that is not known.
        """
        del sample, log
        return ()


#: What each method of a parser returns: the collection, if it is one, and the type of its elements or of the value.
_RETURNED: Mapping[str, tuple[Callable[[Any], Any] | None, type]] = {
    "advice": (tuple, Advice),
    "error_kinds": (frozenset, str),
    "failure_reasons": (frozenset, str),
    "ignores_continuations": (None, bool),
    "matched_length": (None, int),
    "prepare": (None, NoneType),
    "remedy": (None, str),
}


def checked_call(parser: Parser, method: str, *arguments: Any) -> tuple[Any, str]:
    """Call a method of a parser. Return its value, and "".

    The parser of another package may raise an exception or return a value of another type. Then return the value of the
    same method of `Parser`, and a sentence for the operator. The text of an exception is left out, because it may
    contain a part of the log.
    """
    collection, element = _RETURNED[method]
    try:
        given = getattr(parser, method)(*arguments)
        given = collection(given) if collection else given
        misfits = [_misfit(each, element) for each in (given if collection else [given])]
        wrong = next((f"gave {misfit}" for misfit in misfits if misfit), "")
    except Exception as error:
        wrong = f"raised {type(error).__name__}"
    if not wrong:
        return given, ""
    expected = "Advice(str, frozenset)" if element is Advice else element.__name__
    sentence = f"this parser has a fault: {method} {wrong}, expected {expected}; ask its author"
    return getattr(Parser, method)(parser, *arguments), sentence


def construction_fault(error: Exception) -> str:
    """Return the sentence for an exception of a constructor that is no ValueError or TypeError about an option."""
    return f"this parser has a fault: its constructor raised {type(error).__name__}; ask its author"


def advice_of(parser: Parser, sample: Batch, log: bytes) -> tuple[Advice, ...]:
    """Return the advice of a parser, and the faults of its methods that describe a log."""
    given, *faults = checked_call(parser, "advice", sample, log)
    faults += [checked_call(parser, method, sample)[1] for method in ("error_kinds", "failure_reasons")]
    faults += [checked_call(parser, "ignores_continuations")[1]]
    return (*given, *(Advice(fault) for fault in faults if fault))


def _misfit(given: Any, expected: type) -> str:
    """Return the type of a value, "" if it is the expected one."""
    if not isinstance(given, expected):
        return type(given).__name__
    types = (type(given.sentence), type(given.elsewhere)) if isinstance(given, Advice) else (str, frozenset)
    return "" if types == (str, frozenset) else f"Advice({', '.join(each.__name__ for each in types)})"


class PackageError(Exception):
    """The parser of an installed package cannot be loaded. The message is one sentence."""


@cache
def registered(only: str | None = None) -> Mapping[str, type[Parser]]:
    """Load all registered parsers, or only the one with this name, and return them by name, sorted.

    The metadata of all installed packages is read once per process. Raises PackageError.
    """
    points = _points().select(name=only) if only else _points()
    return {point.name: _loaded(point) for point in sorted(points, key=attrgetter("name"))}


def _loaded(point: EntryPoint) -> type[Parser]:
    if point.module.startswith("parsers."):
        found: type[Parser] = point.load()
        return found
    try:
        found = point.load()
        wrong = "" if issubclass(found, Parser) else "is no subclass of Parser"
    except Exception as error:  # a third-party module may raise anything
        wrong = f"cannot be loaded ({type(error).__name__})"
    if not wrong:
        return found
    package = f"the package {point.dist.name}" if point.dist else "its package"
    raise PackageError(f'the parser "{point.name}" {wrong}: {point.value}; update or remove {package}')


@cache
def _points() -> EntryPoints:
    return entry_points(group=ENTRY_POINTS)
