"""Find the kind of an ERROR record. It may contain an error code (api/libs/external_api.py, controllers/*/error.py).

Dify logs several records for one failed model call. Each one counts at its own level: the cause (`rate_limited`,
`provider_unavailable`, …), `node_failed`, `run_failed`, `task_failed`. A record that only repeats an earlier record of
the same level does not count.
"""

import re
from collections import deque

from parsers.batch import OTHER, Failure
from parsers.dify.error_body import CAUSE_BY_CODE
from parsers.lines import without_colors
from parsers.provider_failures import KINDS as PROVIDER_KINDS
from parsers.provider_failures import SDK_ERRORS, kind_of_plugin_error, kind_of_plugin_failure
from parsers.values.patterns import lazy

#: From api/core/plugin/impl/base.py (`reponse` in Dify 1.7.2 to 1.9). The daemon's answer follows, with the plugin's
#: error inside.
_PLUGIN_ERROR = lazy(rb"Error in stream res?ponse for plugin ")

#: Records that do not count, each with the record before it that does.
_REPEATS = (
    b"Error while consuming non-stream plugin chunk iterator",  # large_language_model.py, after a plugin's error
    b"Failed to request plugin daemon, url: ",  # base.py, after `Request to Plugin Daemon Service failed`
    b"Failed to process generate task pipeline, conversation_id: ",  # advanced_chat, after the run's own record
    b"Failed to detach context",  # OpenTelemetry inside a generator; no failure
    b"value_error in request handler",  # libs/external_api.py: the request ends with 400 `invalid_param`
    b"Unknown Error when graph running",  # graph_engine.py up to 1.8 raises it again: see `workflow entry` below
    b"clean_workflow_runs_task failed",  # api/schedule raises it again: see `raised unexpected` below
    b"clean_messages failed",  # likewise, and these of api/tasks
    b"Failed to resume chatflow execution for workflow run ",
    b"Failed to resume workflow execution for workflow run ",
    b"Human Input v2 delivery worker failed, ",
    b"Failed to delete data from db for conversation_id: ",
    b"Error in priority pipeline task",  # before `Error in pipeline task`
    b"Task handler raised error: TimeLimitExceeded(",  # celery/worker/request.py, before `Hard time limit`
)

#: With DEBUG=true Dify repeats the failures of workflows and model calls in these files.
_DEBUG_FILES = frozenset((b"debug_logging.py", b"logging_callback.py"))

#: Files of Dify that log a caught exception as the whole message (`logger.error(e)`): its beginning may be the text of
#: a tool's or a database's server, so no fixed words of Dify are looked for in it.
_OF_EXCEPTIONS = frozenset(
    (b"tool_engine.py", b"retrieval_service.py", b"knowledge_index_node.py", b"base_app_generate_response_converter.py")
)
#: A plugin's error of Dify up to 1.7.1, where base.py does not log it. Later versions begin it with `req_id: `.
_UNLOGGED_PLUGIN_ERROR = lazy(rb"Plugin\w{1,48}Error: ")
_OF_APPS = b"base_app_generate_response_converter.py"
#: Such a message where the exception is a plugin's error, which base.py has logged before: its own text
#: (api/core/plugin/impl/exc.py), or the text that the plugin SDK gives to a model's error.
_LOGGED_PLUGIN_ERROR = lazy(
    rb"req_id: [^\s:]{0,64} Plugin\w{1,48}Error: "
    rb"|\[[\w./-]{1,128}\] (?:Error: |(?:" + SDK_ERRORS.encode() + rb") Error(?:, |\Z)"
    rb"|Incorrect (?:model credentials|API key) provided)"
)

#: Dify logs `Request to Plugin Daemon Service failed` for every httpx.RequestError, whatever the cause.
_DAEMON_NOT_REACHED = lazy(rb"(?:Stream r|R)equest to Plugin Daemon Service failed")

#: Since Dify 1.9 the engine runs nodes in threads of these names (the second since graphon 0.8). It logs the failure of
#: a node once more if this failure ends the run. JSON lines and source installs do not name the thread; most of them
#: are from such versions. A source install of Dify up to 1.8 writes the same words in the same files, and only once;
#: only line numbers distinguish it. So its exceptions in nodes do not count as `node_failed`; its failed runs do count.
_ENGINE_THREADS = (b"GraphWorker", b"EngineWorker")
#: An exception inside a node (core/workflow/nodes, or the same files of the package graphon).
_NODE_RAISED = (
    rb"error while executing [\w -]{1,64} node|Node \S{1,128} failed to (?:run|resume)\b|Loop node \S{1,128} failed"
    rb"|Worker failed while executing node |Container handler failed to start node "
    rb"|Failed to invoke parameter extractor model|Failed to extract text from DOCX"
)
_RAISED_IN_NODE = lazy(_NODE_RAISED)

#: The kind by the beginning of the message, tried in this order.
_KINDS = tuple(
    (lazy(pattern), kind)
    for pattern, kind in (
        (rb"Exception on ", "unhandled_exception"),
        (rb"Node \S{1,128} failed with(?: ABORT|out a continuation) strategy|" + _NODE_RAISED, "node_failed"),
        (rb"error while running node, |Failed to create node instance for node_id |Loop run failed\Z", "node_failed"),
        (rb"Unknown Error when workflow entry running|(?:Validation )?Error when generating\Z", "run_failed"),
        (rb"Graph run failed\Z|Unknown Error when generating in parallel", "run_failed"),
        (rb"Failed to handle response, conversation_id: |Fails to process generate task pipeline, ", "run_failed"),
        (rb"Task \S{1,1024} (?:raised unexpected|INTERNAL ERROR)|Task handler raised", "task_failed"),
        (rb"consume document failed|Hard time limit |\w{1,64}_task failed|Error in pipeline task", "task_failed"),
        (rb"Unknown Error (?:when|in) |internal server error", "unhandled_exception"),
    )
)

#: The files of up to Dify 1.8 that log the failure of a node by its title, which is free text.
_OF_TITLES = frozenset((b"graph_engine.py", b"workflow_engine_manager.py"))
_TITLED_NODE = lazy(rb"Node .{0,512} run failed(?:: |\Z)", re.DOTALL)

#: What the files of api/tasks and api/schedule log about a failed task, although Celery then logs `succeeded`. A task
#: that raises the exception again is counted by Celery's own record.
_TASK_FILE = lazy(rb"\w{1,64}_tasks?\.py")
_FAILED_TASK = lazy(
    rb"(?:add document|create segment|enable segments?) to index failed"
    rb"|(?:delete segment|remove (?:document|segment)) from index failed"
    rb"|Build index for (?:annotation|batch import annotations) failed"
    rb"|Annotation (?:deleted|batch deleted|batch created) index failed|Segments batch created index failed"
    rb"|Cleaned (?:dataset|documents?) when (?:dataset|documents?|import form notion document) deleted {1,2}failed"
    rb"|Batch clean documents failed|Deal dataset vector index failed|Document indexing task failed"
    rb"|Error processing (?:duplicate )?document indexing "
    rb"|Failed to generate summary index for document |Regenerate summary index failed "
    rb"|Processing trace tasks failed|Retryable trace dispatch budget exhausted|Failed to schedule trace dispatch retry"
    rb"|Error in async trigger dispatching |Failed to handle timeout for form_id="
    rb"|Failed to (?:trigger workflow|invoke trigger event) for app |Failed to dispatch trigger '"
    rb"|Error running rag pipeline, |Initial website Source import failed"
    rb"|Failed to load resumption context for workflow run |Agent App resume failed for conversation "
    rb"|(?:OAuth|Subscription) refresh failed: "
    rb"|[A-Za-z][a-z ]{1,48}mail\b.{0,320} failed",
    re.DOTALL,
)

#: The name of an exception, or one of Dify's error codes, at the beginning of the message.
_NAMED = lazy(rb"(?:req_id: [^\s:]{0,64} )?(?:[A-Za-z_]\w{0,63}\.){0,8}([A-Za-z_]\w{0,63})(?:: |\b)")
_KIND_OF_NAME = {
    **{code.encode(): cause for code, cause in CAUSE_BY_CODE.items()},
    b"too_many_requests": "rate_limited",
    b"QuotaExceededError": "quota_exceeded",
    b"ProviderTokenNotInitError": "not_initialized",
    b"ProviderNotInitializeError": "not_initialized",
    b"ModelCurrentlyNotSupportError": "model_not_supported",
}
#: Exceptions of Dify's model runtime and plugin client.
_OF_PROVIDER = lazy(rb"(?:Invoke|Plugin)\w{1,56}Error|InvokeError")

#: The files in which Celery logs that it does not reach the broker, and how it begins; the cause follows. `trace.py` is
#: the file of all records in Celery's own format, which does not tell the file.
_OF_BROKER = frozenset((b"consumer.py", b"beat.py", b"worker.py", b"trace.py"))
_BROKER_NOT_REACHED = lazy(
    rb"consumer: Cannot connect to \S{1,512}: |beat(?: pidbox)?: Connection error: "
    rb"|Unrecoverable error: (?:Operational|Connection|Timeout|ConnectionRefused|ConnectionReset)Error\("
)

#: The line of an exception in a stack trace: httpx (httpx/_exceptions.py); requests in older versions of Dify.
_EXCEPTION = lazy(rb"^(?:httpx|httpcore|requests\.exceptions)\.(\w{1,64})(?:: (.{0,512}))?", re.MULTILINE)
_CAUSES = (
    (lazy(rb"\w*Timeout\n|.*(?:timed out|Timeout (?:connecting|reading|writing))", re.DOTALL), "upstream_timeout"),
    (
        lazy(
            rb".*(?:\[Errno -[2-5]\]|Error -[2-5] connecting|Name or service not known|name resolution"
            rb"|nodename nor servname)",
            re.DOTALL,
        ),
        "upstream_unresolved",
    ),
    (lazy(rb".*(?:\[Errno 111\]|Connection refused)", re.DOTALL), "upstream_refused"),
    (
        lazy(
            rb"(?:ReadError|WriteError|RemoteProtocolError)\n|.*(?:\[Errno 104\]|\[Errno 32\]|Connection reset"
            rb"|Connection aborted|Connection closed by server|Broken pipe|disconnected)",
            re.DOTALL,
        ),
        "upstream_reset",
    ),
)

#: The kinds that `failures_of_record` may return.
KINDS = PROVIDER_KINDS | {*_KIND_OF_NAME.values()} | {kind for _, kind in (*_KINDS, *_CAUSES)} | {OTHER}


def failures_of_record(caller: bytes, message: bytes, stack_trace: bytes, thread: bytes = b"") -> list[Failure]:
    """Return the failure of an ERROR record; none if it repeats another record.

    `caller` is the file that wrote the record. Text logs have no `stack_trace`. `thread` is empty if it is not known.
    """
    if b"\x1b" in message:
        message = without_colors(message)
    if caller in _OF_EXCEPTIONS:
        if caller == _OF_APPS and _UNLOGGED_PLUGIN_ERROR.match(message):
            return [Failure(_kind_of_name(message))]
        return [] if _LOGGED_PLUGIN_ERROR.match(message) else [Failure(OTHER)]
    if plugin_error := _PLUGIN_ERROR.match(message):
        return [Failure(kind_of_plugin_error(message[plugin_error.end() :]))]
    if message.startswith(_REPEATS) or caller in _DEBUG_FILES:
        return []
    if cause := _cause_of(caller, message, stack_trace):
        return [Failure(cause)]
    if _RAISED_IN_NODE.match(message) and (not thread or thread.startswith(_ENGINE_THREADS)):
        return []
    if caller in _OF_TITLES and _TITLED_NODE.match(message):
        return [Failure("node_failed")]
    if _TASK_FILE.fullmatch(caller) and _FAILED_TASK.match(message):
        return [Failure("task_failed")]
    return [Failure(next((kind for pattern, kind in _KINDS if pattern.match(message)), None) or _kind_of_name(message))]


def _kind_of_name(message: bytes) -> str:
    """Return the kind of a message that begins with the name of an exception or an error code."""
    named = _NAMED.match(message)
    if named is None:
        return OTHER
    if kind := _KIND_OF_NAME.get(named[1]):
        return kind
    if not _OF_PROVIDER.fullmatch(named[1]):
        return OTHER
    if named[1] == b"PluginInvokeError":
        return kind_of_plugin_error(message)
    return kind_of_plugin_failure(named[1].decode(), message[named.end() :][:1024].decode("utf-8", "replace"))


def _cause_of(caller: bytes, message: bytes, stack_trace: bytes) -> str:
    """Return why the plugin daemon or the broker was not reached; "" for any other record.

    That of the daemon is the last exception of the stack trace. Without one the cause is `other`: in text logs a record
    consists of its first line only.
    """
    if caller in _OF_BROKER and (broker := _BROKER_NOT_REACHED.match(message)):
        return _cause(message[broker.end() :][:512])
    if not _DAEMON_NOT_REACHED.match(message):
        return ""
    last = deque(_EXCEPTION.finditer(stack_trace), maxlen=1)
    if not last:
        return OTHER
    return _cause(last[0][1] + b"\n" + (last[0][2] or b""))


def _cause(text: bytes) -> str:
    return next((kind for pattern, kind in _CAUSES if pattern.match(text)), OTHER)
