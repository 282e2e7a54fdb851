"""Read the few listed members of a JSON text inside a span. Everything else of the text is dropped while it is decoded.

`metadata`, `input.value` and `output.value` of a span hold prompts, answers and names of users beside what counts.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import Struct, field

from parsers.tracing.json_limits import LONGEST_REPAIRED
from parsers.values import json as lenient_json

#: A text with more characters is not decoded.
_MAX_LENGTH = 1 << 24


class Metadata(Struct, frozen=True, gc=False):
    """The members of `metadata` that count (core/ops, all generations)."""

    trace_entity_type: Any = None
    app_id: Any = None
    workflow_run_id: Any = None
    message_id: Any = None
    conversation_id: Any = None
    conversation_mode: Any = None
    conversation_model: Any = None
    agent_based: Any = None
    node_id: Any = None
    node_execution_id: Any = None
    node_type: Any = None
    node_status: Any = None
    status: Any = None
    status_message: Any = None
    elapsed_time: Any = None
    workflow_run_elapsed_time: Any = None
    tool_info: Any = None
    model_provider: Any = None
    model_name: Any = None
    ls_provider: Any = None
    ls_model_name: Any = None
    prompt_tokens: Any = None
    completion_tokens: Any = None
    total_tokens: Any = None
    total_price: Any = None
    currency: Any = None
    first_token: Any = field(default=None, name="gen_ai_server_time_to_first_token")

    @property
    def is_workflow_tool(self) -> bool:
        """Whether the node is a workflow that is used as a tool."""
        return isinstance(self.tool_info, dict) and self.tool_info.get("provider_type") == "workflow"


class Usage(Struct, frozen=True, gc=False):
    """The usage of one model call, as graphon's LLMUsage. Prices are decimal strings, times are seconds."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    total_tokens: Any = None
    total_price: Any = None
    currency: Any = None
    time_to_first_token: Any = None


class _Output(Struct, frozen=True, gc=False):
    usage: Any = None
    extractor_usage: Any = field(default=None, name="__usage")
    app_id: Any = field(default=None, name="sys.app_id")
    workflow_run_id: Any = field(default=None, name="sys.workflow_run_id")


class Model(Struct, frozen=True, gc=False):
    """The model in `input.value` of an llm, classifier or extractor node."""

    model_provider: Any = None
    model_name: Any = None


class Start(Struct, frozen=True, gc=False):
    """The ids in `output.value` of a start node."""

    app_id: Any = None
    workflow_run_id: Any = None


_read_metadata = lenient_json.reader(Metadata, LONGEST_REPAIRED)
_read_output = lenient_json.reader(_Output, LONGEST_REPAIRED)
_read_model = lenient_json.reader(Model, LONGEST_REPAIRED)

T = TypeVar("T")


def metadata_of(text: object) -> Metadata | None:
    """Return the metadata of a span, None for a text that is no JSON object."""
    return _read(text, _read_metadata)


def model_in(text: object) -> Model:
    return _read(text, _read_model) or Model()


def usage_in(text: object) -> Usage:
    """Return the usage in the `output.value` of a node that calls a model."""
    output = _read(text, _read_output) or _Output()
    usage = output.usage if isinstance(output.usage, dict) else output.extractor_usage
    return usage_of(usage) if isinstance(usage, dict) else Usage()


def usage_of(members: dict[Any, Any]) -> Usage:
    return Usage(*(members.get(name) for name in Usage.__struct_fields__))


def start_in(text: object) -> Start:
    output = _read(text, _read_output) or _Output()
    return Start(output.app_id, output.workflow_run_id)


def _read(text: object, read: Callable[[bytes], T | None]) -> T | None:
    is_object = isinstance(text, str) and text.startswith("{") and len(text) <= _MAX_LENGTH
    return read(str(text).encode("utf-8", "replace")) if is_object else None
