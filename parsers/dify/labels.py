"""The labels of what Dify's lines name: apps, providers, models, node types and statuses."""

import re
from collections.abc import Collection, Iterable
from typing import cast

from parsers.batch import OTHER, UNKNOWN

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
#: The shape of a UUID: its digits as zeros.
_SHAPE = b"00000000-0000-0000-0000-000000000000"
_HEXADECIMAL = bytes.maketrans(b"123456789abcdefABCDEF", b"0" * 21)
_NAME_LENGTH = 128

#: The values of NodeType in api/core/workflow/enums.py.
_NODE_TYPES = frozenset(
    """start end answer llm knowledge-retrieval knowledge-index if-else code template-transform question-classifier
    http-request tool datasource variable-aggregator legacy-variable-aggregator loop loop-start loop-end iteration
    iteration-start parameter-extractor assigner variable-assigner document-extractor list-operator agent agent-v2
    human-input trigger-webhook trigger-schedule trigger-plugin""".split()
)
#: The statuses of nodes and runs in the same file, and of messages.
_STATUSES = frozenset(
    """scheduled pending running succeeded failed stopped partial-succeeded paused skipped exception retry normal
    error""".split()
)


def name_of(value: object) -> str:
    """Return the label of a provider or model: its name, at most 128 characters, or `unknown`."""
    return value[:_NAME_LENGTH] if isinstance(value, str) and value else UNKNOWN


def names_of(values: Iterable[str | None]) -> list[str]:
    """Return the labels of many providers or models."""
    return [value[:_NAME_LENGTH] if value else UNKNOWN for value in values]


def app_id_of(value: object) -> str:
    """Return an app id: a UUID, `unknown` for anything else."""
    return value if isinstance(value, str) and _UUID.fullmatch(value) else UNKNOWN


def app_ids_of(values: Collection[str | None]) -> Iterable[str]:
    """Return the app id of each value. All UUIDs together are recognised at once."""
    try:
        joined = ",".join(values).encode("ascii", "replace")  # type: ignore[arg-type]
    except TypeError:
        return map(app_id_of, values)
    is_uuids = joined.translate(_HEXADECIMAL) == b",".join([_SHAPE] * len(values))
    return cast(Iterable[str], values) if is_uuids else map(app_id_of, values)


def node_type_of(value: object) -> str:
    """Return the label of a node type: a type of Dify, `other` or `unknown`."""
    return _one_of(value, _NODE_TYPES)


def status_of(value: object) -> str:
    """Return the label of the status of a node, run or message: a status of Dify, `other` or `unknown`."""
    return _one_of(value, _STATUSES)


def _one_of(value: object, known: frozenset[str]) -> str:
    if not isinstance(value, str) or value in ("", UNKNOWN):
        return UNKNOWN
    return value if value in known else OTHER
