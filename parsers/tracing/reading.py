"""The result of reading a request: its facts, and the numbers of items without a fact."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Optional

#: The largest number of items in one request.
MAX_ITEMS = 10_000
#: The largest depth of nested lists and maps in an attribute.
MAX_DEPTH = 8


class UnreadableBody(ValueError):  # noqa: N818 - it describes a request
    """The body of a request is not what its content type says. The text never quotes the body. Answer 400."""


class TooManyItems(ValueError):  # noqa: N818
    """A request has more items than MAX_ITEMS, or attributes that are nested deeper than MAX_DEPTH. Answer 413."""


class Fact(NamedTuple):
    """An item with a fact.

    * `key`: identifies the fact across channels, workers and retries. A fact whose key is known is not written again.
    * `dialect`: one of TRACING_DIALECTS (parsers.batch).
    * `line`: a whole ASCII line of JSON with its newline.
    * `rest`: what must be written instead of `line` if `key` is known and the key of `rest` is not: the tokens of a
      further attempt of a node, or the app of a span that a retry sends under a new id. `line` contains `rest`.
    * `alias`: two keys that this item shows to be those of one run. The first one is the key of a span, the second one
      is the key that other channels use. Spans of both channels come in any order.
    * `run_app`: the id of the app, if this is a run that another channel may send under another key; "" for an unknown
      app, None for any other fact.

    For each fact the writer does the following. If the fact has an alias, from then on the first key means the second,
    and if one of the two is known, so is the other. Replace `key` if it has an alias. If `key` is not known, write
    `line`, and remember `key` and the key of `rest`. Otherwise, if there is a `rest` whose key is not known, write the
    line of `rest` and remember its key. Otherwise the item is a duplicate. An item has at most one fact, and each fact
    at most one line.

    A run that may be in the log under its other key waits. Its draft is written first (`draft_of`), and `line` later,
    unless the two keys turn out to be those of one run.
    """

    key: str
    dialect: str
    line: bytes
    rest: Optional["Fact"] = None
    alias: tuple[str, str] | None = None
    run_app: str | None = None


class Reading(NamedTuple):
    """The items of one request: those with a fact, in order, and the number of the others by dialect.

    * `ignored`: items without a fact.
    * `rejected`: items that look like a fact and whose values could not be used.
    * `event_ids`: the ids of all Langfuse events in order, for the answer 207. Empty for OTLP.
    """

    facts: list[Fact]
    ignored: dict[str, int]
    rejected: dict[str, int]
    event_ids: tuple[str, ...] = ()


class Rejected(NamedTuple):
    """An item of this dialect that looks like a fact and whose values cannot be used."""

    dialect: str


class Ignored(NamedTuple):
    """An item of this dialect without a fact."""

    dialect: str


Item = Fact | Rejected | Ignored


def reading_of(items: Iterable[Item], noise: int = 0, event_ids: Sequence[str] = ()) -> Reading:
    """Return the reading of these items, and of `noise` items that belong to no dialect."""
    facts, ignored, rejected = list[Fact](), Counter[str](), Counter[str]()
    for item in items:
        if isinstance(item, Fact):
            facts.append(item)
        elif isinstance(item, Rejected):
            rejected[item.dialect] += 1
        else:
            ignored[item.dialect] += 1
    if noise:
        ignored["none"] += noise
    return Reading(facts, dict(ignored), dict(rejected), tuple(event_ids))
