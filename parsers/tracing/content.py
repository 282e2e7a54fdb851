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


class Output(Struct, frozen=True, gc=False):
    """The members of `output.value` of a node: the usage of one that calls a model, the ids of a start node."""

    usage: Any = None
    extractor_usage: Any = field(default=None, name="__usage")
    app_id: Any = field(default=None, name="sys.app_id")
    workflow_run_id: Any = field(default=None, name="sys.workflow_run_id")

    @property
    def model_usage(self) -> Usage:
        usage = self.usage if isinstance(self.usage, dict) else self.extractor_usage
        return usage_of(usage)


class Model(Struct, frozen=True, gc=False):
    """The model in `input.value` of an llm, classifier or extractor node."""

    model_provider: Any = None
    model_name: Any = None


_read_metadata = lenient_json.reader(Metadata, LONGEST_REPAIRED)
_read_output = lenient_json.reader(Output, LONGEST_REPAIRED)
_read_model = lenient_json.reader(Model, LONGEST_REPAIRED)

T = TypeVar("T")


def metadata_of(text: object) -> Metadata | None:
    """Return the metadata of a span, None for a text that is no JSON object."""
    return _read(text, _read_metadata)


def model_in(text: object) -> Model:
    return _read(text, _read_model) or Model()


def output_in(text: object) -> Output:
    return _read(text, _read_output) or Output()


def usage_of(members: object) -> Usage:
    """Return the usage in a map; none for anything else."""
    return Usage(*map(members.get, Usage.__struct_fields__)) if isinstance(members, dict) else Usage()


def _read(text: object, read: Callable[[bytes], T | None]) -> T | None:
    is_object = isinstance(text, str) and text.startswith("{") and len(text) <= _MAX_LENGTH
    return read(str(text).encode("utf-8", "replace")) if is_object else None
