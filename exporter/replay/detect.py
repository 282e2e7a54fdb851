"""Detects the parser, format and envelope of a log."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from msgspec import Struct

from exporter.messages import some
from exporter.replay.errors import parse_or_refuse
from exporter.replay.gateways import GATEWAYS
from exporter.replay.log_formats import derived
from parsers.batch import Batch, DroppedValue
from parsers.envelope import ENVELOPES, Compose, Envelope, inner_of, services
from parsers.envelope.pieces import LinePiece
from parsers.parser import Parser, checked_call, registered

#: How many services a message names.
_MAX_NAMED = 10

#: How many bytes of a log a format is derived from: a container of nginx prints a banner first.
_FIRST_BYTES = 1 << 14

#: Tried first, because formats overlap: gunicorn's default format equals nginx's combined.
_COMMON = ("nginx", "dify", "plugin-daemon")


class Guess(Struct, frozen=True):
    """A configured parser, with the names that a configuration uses for it; or the parser of a configured source."""

    parser: Parser
    name: str
    options: Mapping[str, Any] = {}
    envelope: str = "none"
    source: str = ""

    def __str__(self) -> str:
        if self.source:
            return f'source "{self.source}" ({parser_name(self.parser)})'
        return ", ".join(f"{key} = {toml(value)}" for key, value in self.keys.items())

    @property
    def keys(self) -> Mapping[str, Any]:
        """The keys of a `[[source]]` with this parser."""
        envelope = {} if self.envelope == "none" else {"envelope": self.envelope}
        return {"parser": self.name, **self.options, **envelope}


def guesses(
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    envelope: str | None = None,
    routes: tuple[str, ...] = (),
) -> Iterator[Guess]:
    """All possible parsers, the most common first. A given name, options or envelope is not guessed.

    Raises ValueError or TypeError if the named parser refuses the options; one of another package may raise anything.
    """
    known = registered(name)
    names = [name] if name else [*_COMMON, *(other for other in known if other not in _COMMON)]
    for each in names:
        hidden = {"routes": routes} if "routes" in known[each].__struct_fields__ else {}
        for guessed in (options,) if options else known[each].guesses:
            try:
                parser = known[each](**guessed, **hidden)
            except Exception:
                if name is None:
                    continue
                raise
            yield from (
                Guess(parser if e == "none" else ENVELOPES[e](parser=parser), each, guessed, e)
                for e in ([envelope] if envelope else ["none", *ENVELOPES])
            )


def detect(sample: bytes, candidates: Iterable[Guess]) -> tuple[Guess, Batch] | None:
    """The candidate that finds the most records in a sample; None if none observes a single line.

    If they do not fit most of its lines, and nginx's format is to be detected, the formats of gateways and those that
    are derived from the lines are tried too.
    """
    tried = list(candidates)
    found = _best(sample, tried)
    if found is not None and 2 * sum(found[1].unparsed.values()) < found[1].lines:
        return found
    return _best(sample, chain([found[0]] if found else [], _further_guesses(sample, tried)))


def _best(sample: bytes, candidates: Iterable[Guess]) -> tuple[Guess, Batch] | None:
    parsed = ((guess, parse_or_refuse(guess.parser, sample)[0]) for guess in candidates)
    found = ((guess, batch) for guess, batch in parsed if batch.observed)
    return max(found, key=lambda each: (record_count(each[1]), each[1].observed), default=None)


def _further_guesses(sample: bytes, tried: Iterable[Guess]) -> Iterator[Guess]:
    """The formats of gateways, and those that are derived from the beginning of the sample, in the tried envelopes.

    There is none if nginx's format is given, and none of another parser if the parser is given.
    """
    of_nginx = [guess for guess in tried if guess.name == "nginx" and not guess.source]
    formats = [guess.options for guess in of_nginx]
    is_open = len({guess.name for guess in tried}) > 1
    for guess in of_nginx if any(options != formats[0] for options in formats) else ():
        if guess.options == formats[0]:
            contents = list(_first_contents(guess.parser, sample))
            routes = getattr(inner_of(guess.parser), "routes", ())
            for name, options in chain(GATEWAYS.values(), (("nginx", {"format": each}) for each in derived(contents))):
                if is_open or name == "nginx":
                    yield from guesses(name, options, guess.envelope, routes)


def _first_contents(parser: Parser, sample: bytes) -> Iterator[str]:
    """The first lines of a log without their envelope, up to the first one that the envelope does not fit."""
    for line in sample[:_FIRST_BYTES].splitlines():
        try:
            content = parser.piece(line) if isinstance(parser, Envelope) else LinePiece(line)
        except ValueError:
            return
        if content is not None:
            yield content.content.decode("utf-8", "replace")


def nearest(line: bytes, candidates: Iterator[Guess]) -> tuple[Guess, int]:
    """The candidate that matches the longest beginning of a line, and the length of that beginning in bytes.

    A `regex` parser comes last, because most patterns begin with a word and so match the beginning of any line.
    """

    def rank(found: tuple[Guess, int]) -> tuple[bool, int]:
        guess, length = found
        return length > 0 and not parser_name(guess.parser).startswith("regex"), length

    return max(((guess, checked_call(guess.parser, "matched_length", line)[0]) for guess in candidates), key=rank)


def several_services(parser: Parser, sample: bytes) -> str | None:
    """A message about a log that contains the lines of several services; None for any other log."""
    found = services(sample) if isinstance(parser, Compose) else []
    if len(found) < 2:
        return None
    return (
        f"holds several services ({some(found, _MAX_NAMED)}), and lines in other formats are ignored: use one log per "
        "service, such as that of `docker compose logs --no-color nginx`"
    )


def unrecognised(sample: bytes) -> str:
    """A sentence about a log that no parser fits: what to do."""
    own = "pass nginx's own log_format with --parser nginx --format '…'"
    others = "see docs/other-logs.md, or pass one line to `dify-exporter explain`"
    if sample.lstrip().startswith(b"{"):
        return f"no known format matches its JSON lines; if nginx writes them, {own}, else {others}"
    return f"no known format matches any line at its beginning; name the parser with --parser, {own}, {others}"


def parser_name(parser: Parser) -> str:
    """The name of a parser in a configuration, with its envelope."""
    if isinstance(parser, Envelope):
        envelope = next(name for name, known in ENVELOPES.items() if type(parser) is known)
        return f"{parser_name(parser.parser)} in {envelope}"
    return next(name for name, known in registered().items() if type(parser) is known)


def toml(value: object) -> str:
    """A value as it is written in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    text = str(value)
    if "\n" in text and "'''" not in text and "\r" not in text:
        return f"'''\n{text}\n'''"
    if "'" not in text and text.isprintable():
        return f"'{text}'" if '"' in text or "\\" in text else f'"{text}"'
    if text.isprintable() and "'''" not in text and not text.endswith("'"):
        return f"'''{text}'''"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'


def record_count(batch: Batch) -> int:
    """The number of records in a batch, without dropped values."""
    return sum(getattr(record, "count", 1) for record in batch.records if not isinstance(record, DroppedValue))
