"""Makes foreign text safe in our messages: log lines are reduced to their shape, names to printable characters."""

import re
from collections.abc import Iterable, Sequence

from parsers.values.patterns import lazy

#: Fixed words of log formats. Everything else is shown by its shape only.
_VOCABULARY = frozenset(
    """GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH HTTP DEBUG INFO WARN WARNING ERROR CRITICAL PANIC
    debug info notice warn error crit alert emerg GIN Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec
    ts severity service caller message trace_id span_id attributes identity context stack_trace log stream time
    stdout stderr level msg status method path latency_ms client_ip upstream client server request host
    Traceback Task succeeded received raised unexpected AUDIT""".split()
)
_WORD = lazy(r"[A-Za-z_]+|[0-9]+|[^\x00-\x7f]+|[\x00-\x1f\x7f]+")
_LONGEST = 160

#: An address: its scheme (on Azure with the container), the user and password, the host and path, and the query.
_CREDENTIALS = lazy(
    r"(\b(?:(?:abfss?|az)://[\w$-]+@(?![^\s/]*@)|[a-z][a-z0-9+.-]*://))(?:[^\s/]*@|[^\s/@:]*:(?!\d*/)\S*@)?([^\s?#]*)(?:[?#]\S*)?",
    re.IGNORECASE,
)


def redact(line: bytes) -> str:
    """Letters become `x` and digits `0`, except in fixed words of log formats. The result is one short ASCII line."""
    text = _WORD.sub(_shape, line[:_LONGEST].decode("ascii", "replace"))
    return text + "…" if len(line) > _LONGEST else text


def address(text: str) -> str:
    """The addresses in a text without what may hold credentials: user, password, and query (a signature)."""
    return _CREDENTIALS.sub(r"\1\2", text)


def printable(text: str) -> str:
    """Make a text safe to print: one line, no terminal control characters, no credentials. File names can hold any."""
    text = address(text)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def some(texts: Sequence[str], most: int) -> str:
    """The first `most` of many texts, and how many more there are. A single one more is named too."""
    rest = len(texts) - most
    return ", ".join(texts) if rest <= 1 else f"{', '.join(texts[:most])} and {rest} more"


def counted(number: int, one: str, many: str = "") -> str:
    """A number and its noun: `one` for 1, otherwise `many`, which is `one` with an s unless it is given."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name that does not exist. It suggests the nearest known name."""
    from difflib import get_close_matches  # only a message needs it

    known = sorted(known)
    near = get_close_matches(name, known, n=1)
    names = f"expected one of {', '.join(known)}" if known else "expected none: there is no such name"
    hint = f'did you mean "{near[0]}"?' if near else names
    return f'unknown {what} "{name}", {hint}'


def _shape(match: re.Match[str]) -> str:
    word = match[0]
    if word in _VOCABULARY:
        return word
    if word[0].isdigit():
        return "0" * len(word)
    return "x" * len(word) if word.isascii() and word.isprintable() else "?" * len(word)
