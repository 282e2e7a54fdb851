"""Which parser, format and envelope a log is written in."""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from parsers.batch import Batch, DroppedValue
from parsers.envelope import ENVELOPES, Compose, Envelope, services
from parsers.parser import Parser, registered

#: Services that a sentence names.
_NAMED = 10

#: Asked first, since formats overlap: gunicorn's default is nginx' combined.
_FIRST = ("nginx", "dify", "plugin-daemon")


class Guess(Struct, frozen=True):
    """A parser, ready to use, under the names that a configuration would give it; or that of a configured source."""

    parser: Parser
    name: str
    options: Mapping[str, Any] = {}
    envelope: str = "none"
    source: str = ""

    def __str__(self) -> str:
        if self.source:
            return f'source "{self.source}" ({called(self.parser)})'
        named = {"parser": self.name, **self.options}
        if self.envelope != "none":
            named["envelope"] = self.envelope
        return ", ".join(f"{key} = {_toml(value)}" for key, value in named.items())


def guesses(
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    envelope: str | None = None,
    routes: tuple[str, ...] = (),
) -> Iterator[Guess]:
    """Every parser that may be meant, the more usual first; what is given is not guessed.

    Raises ValueError or TypeError for options that the named parser refuses.
    """
    known = registered(name)
    names = [name] if name else [*_FIRST, *(other for other in known if other not in _FIRST)]
    for each in names:
        hidden = {"routes": routes} if "routes" in known[each].__struct_fields__ else {}
        for guessed in (options,) if options else known[each].guesses:
            parser = known[each](**guessed, **hidden)
            yield from (
                Guess(parser if e == "none" else ENVELOPES[e](parser=parser), each, guessed, e)
                for e in ([envelope] if envelope else ["none", *ENVELOPES])
            )


def detect(sample: bytes, candidates: Iterator[Guess]) -> tuple[Guess, Batch] | None:
    """The candidate that says most about a sample, None where no candidate takes a single line."""
    best: tuple[Guess, Batch] | None = None
    for guess in candidates:
        batch = guess.parser.parse(sample, final=True)
        if batch.observed and (best is None or _said(batch) > _said(best[1])):
            best = guess, batch
    return best


def nearest(line: bytes, candidates: Iterator[Guess]) -> tuple[Guess, int]:
    """The candidate whose format a line follows furthest, and the bytes that fit.

    A user's pattern comes last: most begin with words, as any line does.
    """

    def nearness(found: tuple[Guess, int]) -> tuple[bool, int]:
        guess, length = found
        return length > 0 and not called(guess.parser).startswith("regex"), length

    return max(((guess, guess.parser.matched_length(line)) for guess in candidates), key=nearness)


def several_services(parser: Parser, sample: bytes) -> str | None:
    """What to say of a log that holds the lines of several services; None for any other log."""
    found = services(sample) if isinstance(parser, Compose) else []
    if len(found) < 2:
        return None
    named = ", ".join(found[:_NAMED]) + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
    return (
        f"holds several services ({named}), lines in other formats are passed over: replay one at a time, as of "
        "`docker compose logs --no-color nginx`"
    )


def called(parser: Parser) -> str:
    """What a parser is called in a configuration, with its envelope."""
    if isinstance(parser, Envelope):
        envelope = next(name for name, known in ENVELOPES.items() if type(parser) is known)
        return f"{called(parser.parser)} in {envelope}"
    return next(name for name, known in registered().items() if type(parser) is known)


def _toml(value: Any) -> str:
    return f"'{value}'" if '"' in str(value) else f'"{value}"'


def _said(batch: Batch) -> tuple[int, int]:
    said = [record for record in batch.records if not isinstance(record, DroppedValue)]
    return sum(getattr(record, "count", 1) for record in said), batch.observed
