"""Read the tracing requests of a Dify deployment: from the bytes of a request to lines in the envelope of Dify's log.

Dify sends the same facts (a node has run, a message was answered, a workflow has run) in several dialects. A fact
becomes one line, which is built from a list of allowed attributes. The parser `dify` reads these lines.
"""

from collections.abc import Mapping
from typing import NamedTuple, Optional

#: The dialects of items. `none` is an item of no dialect, such as the span of an SQL statement.
DIALECTS = ("otel", "phoenix", "langfuse", "native", "none")
#: What became of an item: its line was written, it was known, it holds no fact, or its values could not be used.
OUTCOMES = ("written", "duplicate", "ignored", "rejected")


class UnreadableBody(ValueError):
    """The body of a request is not what its content type says. The text never quotes the body. Answer 400."""


class TooManyItems(ValueError):
    """A request has more items than MAX_ITEMS, or attributes that are nested too deeply. Answer 413."""


class Fact(NamedTuple):
    """One item that tells a fact.

    * `key`: identifies the fact across doors, workers and retries. A fact whose key is known is not written again.
    * `dialect`: one of DIALECTS.
    * `line`: a whole ASCII line of JSON with its newline.
    * `rest`: what must be written instead of `line` if `key` is known and the key of `rest` is not: the tokens of a
      further attempt of a node, or the app of a span that a retry sends under a new id. `line` contains `rest`.

    So the writer does for each fact: if `key` is not known, write `line`, and remember `key` and the key of `rest`;
    else if there is a `rest` and its key is not known, write the line of `rest`, and remember its key; else the item
    is a duplicate. An item gives at most one fact, and a fact at most one line.
    """

    key: str
    dialect: str
    line: bytes
    rest: Optional["Fact"] = None


class Reading(NamedTuple):
    """The items of one request: those that tell a fact, in order, and the number of the others by dialect.

    * `ignored`: items without a fact.
    * `rejected`: items that look like a fact and whose values could not be used.
    * `event_ids`: the ids of all Langfuse events in order, for the answer 207. Empty for OTLP.
    """

    facts: list[Fact]
    ignored: dict[str, int]
    rejected: dict[str, int]
    event_ids: tuple[str, ...] = ()


def read_otlp(body: bytes, *, is_json: bool, native: bool) -> Reading:
    """Read an ExportTraceServiceRequest in protobuf or JSON. Without `native` the spans of ENABLE_OTEL are ignored.

    Raises UnreadableBody and TooManyItems.
    """
    raise NotImplementedError


def read_langfuse(body: bytes) -> Reading:
    """Read the JSON body of Langfuse's `POST /api/public/ingestion`. Raises UnreadableBody and TooManyItems."""
    raise NotImplementedError


def keys_of(line: bytes) -> tuple[str, ...]:
    """Return all keys that a line of ours makes known (that of its `rest` too), nothing for any other line."""
    raise NotImplementedError


def heartbeat_line(items: Mapping[tuple[str, str], int], at: int) -> bytes:
    """Return the line `dify.receiver.heartbeat`, with its newline.

    `items` counts the items since the heartbeat before, by dialect and outcome (DIALECTS, OUTCOMES); `at` is the time
    in nanoseconds since the epoch.
    """
    raise NotImplementedError
