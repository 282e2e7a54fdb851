"""The spans of ENABLE_OTEL (extensions/otel, core/app/workflow/layers/observability.py): nodes and runs of workflows.

A node that failed has the status OK and no usage, so the status of a node is not known. A run reports its outcome by
its events. Each attempt of a node is a span of its own, with the same execution id.
"""

from parsers.batch import UNKNOWN
from parsers.dify.labels import node_type_of
from parsers.dify.receiver import FINISHED
from parsers.tracing.calls import call_of_node
from parsers.tracing.content import Metadata, Output, output_in
from parsers.tracing.facts import CONTAINERS, Node, Outcome, node_fact, origin_of, workflow_fact
from parsers.tracing.line import is_time
from parsers.tracing.reading import Ignored, Item, Rejected
from parsers.tracing.span import Span
from parsers.tracing.values import identifier_of

DIALECT = "native"

#: The classes whose method `run` executes a run, by the end of the span's name.
_RUNNERS = {".WorkflowAppRunner.run": "workflow", ".AdvancedChatAppRunner.run": "advanced-chat"}
#: The nodes with which a run starts. The output of each holds the system variables (`sys.workflow_run_id` and others).
_STARTS = frozenset({"start", "trigger-webhook", "trigger-schedule", "trigger-plugin"})
_SCOPES = ("extensions.otel.", "core.app.", "core.workflow.", "core.rag.")
#: The logger of `Unknown Error when workflow entry running`, the record of every failed run.
_ENTRY_LOGGER = "core.workflow.workflow_entry"
_STOPPED = "GenerateTaskStoppedError"


def is_of_dialect(span: Span) -> bool:
    return span.attributes.get("gen_ai.framework") == "dify" or span.scope.startswith(_SCOPES)


def item(span: Span) -> Item:
    """Return the fact of a span of Dify's own."""
    if "node.execution_id" in span.attributes or "node.type" in span.attributes:
        return _node(span) if is_time(span.end) else Rejected(DIALECT)
    mode = next((mode for end, mode in _RUNNERS.items() if span.name.endswith(end)), None)
    if mode is None:
        return Ignored(DIALECT)
    if not is_time(span.end) or not span.span_id:
        return Rejected(DIALECT)
    origin = origin_of(span, DIALECT, span.attributes.get("dify.app_id"))._replace(self_=span.reference)
    return workflow_fact(span.key, mode, Outcome(_run_status(span), span.seconds), origin) or Ignored(DIALECT)


def _node(span: Span) -> Item:
    attributes, node_type = span.attributes, node_type_of(span.attributes.get("node.type"))
    call = call_of_node(attributes, Metadata(), node_type)
    start = output_in(attributes.get("output.value")) if node_type in _STARTS else Output()
    node_id = identifier_of(attributes.get("node.execution_id"))
    if node_id is None and not span.span_id:
        return Rejected(DIALECT)
    is_tool_workflow = attributes.get("gen_ai.tool.type") == "workflow"
    run_id = identifier_of(start.workflow_run_id)
    node = Node(node_id, node_type, UNKNOWN, span.seconds, call, None, is_tool_workflow, run_id)
    # After Dify 1.17 the nodes inside an iteration have spans too: they ask the iteration's span for their app.
    asked = span.reference if node_type in CONTAINERS else None
    origin = origin_of(span, DIALECT, start.app_id)._replace(self_=asked, parent=span.parent)
    return node_fact(node, origin) or Ignored(DIALECT)


def _run_status(span: Span) -> str:
    exceptions = [str(event.attributes.get("exception.type", "")) for event in span.events]
    if "dify.workflow.abort_reason" in span.attributes or any(event.name.endswith(".aborted") for event in span.events):
        return "stopped"
    if span.is_error and (_STOPPED in span.message or any(each.endswith(_STOPPED) for each in exceptions)):
        return "stopped"
    is_logged = any(event.attributes.get("log.logger") == _ENTRY_LOGGER for event in span.events)
    return "failed" if span.is_error or is_logged else FINISHED
