"""Read the tracing requests of a Dify deployment: from the bytes of a request to lines in the envelope of Dify's log.

Dify sends the same facts (a node has run, a message was answered, a workflow has run) in several dialects. A fact
becomes one line, which is built from a list of allowed attributes. The parser `dify` reads these lines.
"""

from parsers.tracing.langfuse import read_langfuse
from parsers.tracing.line import Known, draft_of, heartbeat_line, is_draft, known_by, run_of_draft
from parsers.tracing.otlp import read_otlp
from parsers.tracing.reading import MAX_ITEMS, Fact, Reading, TooManyItems, UnreadableBody

__all__ = [
    "MAX_ITEMS",
    "Fact",
    "Known",
    "Reading",
    "TooManyItems",
    "UnreadableBody",
    "draft_of",
    "heartbeat_line",
    "is_draft",
    "known_by",
    "read_langfuse",
    "read_otlp",
    "run_of_draft",
]
