"""ERROR records of the api and the worker: one failure counts once per level, in each of Dify's log formats."""

import json

import pytest

from parsers.batch import Failure, Task
from parsers.dify import Dify
from tests.parsers.laws import check_linear

TRACE = "ffb42303a84e5779ab41c9fbb4812cf8"
ID = "a1522d57-41a1-47a0-ae52-c9d92448e2db"

#: `rep.__dict__` as api/core/plugin/impl/base.py logs it, for the plugin openai_api_compatible.
ANSWER = (
    "Error in stream response for plugin {'code': -500, 'message': "
    '\'{"message":"{\\\\"args\\\\":{\\\\"description\\\\":\\\\"[models] Error: API request failed with status code 429: '
    '{}\\\\"},\\\\"error_type\\\\":\\\\"InvokeError\\\\",\\\\"message\\\\":\\\\"[models] Error: API request failed with status code '
    '429: {}\\\\"}","error_type":"PluginInvokeError","args":null}\', '
    "'data': None}"
)
NODE = (
    'Node llm failed with ABORT strategy: req_id: 7a514b9e6f PluginInvokeError: {"args":{"description":"[models] Error: '
    'API request failed with status code 429: {}"},"error_type":"InvokeError","message":"x"}'
)

#: The file that logs the record, its message, and its kind (None if the record repeats another one).
RECORDS = [
    ("base.py", ANSWER, "rate_limited"),
    ("base.py", ANSWER.replace("429", "401"), "provider_unauthorized"),
    ("base.py", ANSWER.replace("429", "502"), "provider_unavailable"),
    ("base.py", ANSWER.replace("429", "404"), "provider_error"),
    ("base.py", ANSWER.replace("response", "reponse", 1), "rate_limited"),  # Dify 1.7.2 to 1.9
    ("large_language_model.py", "Error while consuming non-stream plugin chunk iterator.", None),
    # consequences
    ("error_handler.py", NODE, "node_failed"),
    ("node_failure.py", NODE.replace("with ABORT", "without a continuation"), "node_failed"),  # graphon 0.8
    ("error_handler.py", "Node http failed with ABORT strategy: [Errno 111] Connection refused", "node_failed"),
    ("graph.py", "Failed to create node instance for node_id llm", "node_failed"),
    ("workflow_entry.py", "Unknown Error when workflow entry running", "run_failed"),
    ("message_based_app_generator.py", f"Failed to handle response, conversation_id: {ID}", "run_failed"),
    ("app_generator.py", f"Fails to process generate task pipeline, task_id: {ID}", "run_failed"),
    ("app_generator.py", f"Failed to process generate task pipeline, conversation_id: {ID}", None),
    ("app_generator.py", "Validation Error when generating", "run_failed"),
    ("app_generator.py", "Error when generating", "run_failed"),
    # Dify up to 1.8: core/workflow/graph_engine/graph_engine.py, loop_node.py; 0.6: workflow_engine_manager.py
    ("graph_engine.py", "Node LLM 2 of [x] run failed", "node_failed"),
    ("graph_engine.py", "Node Graph run failed run failed", "node_failed"),
    ("graph_engine.py", "Graph run failed", "run_failed"),
    ("graph_engine.py", "Unknown Error when graph running", None),
    ("graph_engine.py", "Unknown Error when generating in parallel", "run_failed"),
    ("loop_node.py", "Loop run failed", "node_failed"),
    ("workflow_engine_manager.py", "Node HTTP run failed: [Errno 111] Connection refused", "node_failed"),
    ("workflow_entry.py", f"error while running node, workflow_id={ID}, node_id=llm, node_type=llm", "node_failed"),
    # DEBUG=true
    ("logging_callback.py", "LLM invoke failed: [openai] Rate Limit Error, Error code: 429", None),
    ("debug_logging.py", "❌ Node failed: llm", None),
    ("debug_logging.py", "  Error: Task tasks.x[1] raised unexpected: x", None),
    # libs/external_api.py since 1.14.2: the request ends with 400
    ("external_api.py", "value_error in request handler", None),
    ("trace.py", f"Task tasks.x[{ID}] raised unexpected: InvokeRateLimitError('429')", "task_failed"),
    ("indexing_runner.py", "consume document failed", "task_failed"),
    # files of api/tasks and api/schedule: Celery says `succeeded`, or it repeats the exception that it got
    ("document_indexing_task.py", f"Document indexing task failed, dataset_id: {ID}", "task_failed"),
    ("document_indexing_update_task.py", f"document_indexing_update_task failed, document_id: {ID}", "task_failed"),
    ("enable_segments_to_index_task.py", "enable segments to index failed", "task_failed"),
    ("remove_document_from_index_task.py", "remove document from index failed", "task_failed"),
    ("delete_annotation_index_task.py", "Annotation deleted index failed", "task_failed"),
    ("clean_notion_document_task.py", "Cleaned document when import form notion document deleted  failed", "task_failed"),
    ("clean_dataset_task.py", "Cleaned dataset when dataset deleted failed", "task_failed"),
    ("ops_trace_task.py", f"Processing trace tasks failed, app_id: {ID}", "task_failed"),
    ("ops_trace_task.py", "Processing trace tasks failed", "task_failed"),
    ("mail_invite_member_task.py", "Send invite member mail to a@example.org failed", "task_failed"),
    ("mail_owner_transfer_task.py", "owner transfer confirm email mail to a@example.org failed", "task_failed"),
    ("trigger_processing_tasks.py", "Error in async trigger dispatching for endpoint x data {}", "task_failed"),
    ("generate_summary_index_task.py", f"\x1b[31mFailed to generate summary index for document {ID}\x1b[0m", "task_failed"),
    ("trigger_processing_tasks.py", f"Failed to trigger workflow for app {ID}", "task_failed"),
    ("trigger_processing_tasks.py", f"Failed to invoke trigger event for app {ID}", "task_failed"),
    ("trigger_processing_tasks.py", f"Failed to dispatch trigger 'push' for subscription {ID} and provider x", "task_failed"),
    ("rag_pipeline_run_task.py", f"\x1b[31mError running rag pipeline, tenant_id: {ID}\x1b[0m", "task_failed"),
    ("workflow_execute_task.py", f"Failed to load resumption context for workflow run {ID}", "task_failed"),
    ("resume_agent_app_task.py", f"Agent App resume failed for conversation {ID} form {ID}", "task_failed"),
    ("knowledge_fs_initial_source_tasks.py", "Initial website Source import failed", "task_failed"),
    ("workflow_execute_task.py", f"Failed to resume chatflow execution for workflow run {ID}", None),
    ("workflow_execute_task.py", f"Failed to resume workflow execution for workflow run {ID}", None),
    ("human_input_v2_delivery_tasks.py", f"Human Input v2 delivery worker failed, attempt_id={ID}", None),
    ("priority_rag_pipeline_run_task.py", "Error in priority pipeline task", None),
    ("delete_conversation_task.py", f"Failed to delete data from db for conversation_id: {ID} failed", None),
    ("clean_workflow_runs_task.py", "clean_workflow_runs_task failed", None),
    ("clean_document_task.py", "Delete image_files failed when storage deleted, image_upload_file_is: x", "other"),
    ("remove_app_and_related_data_task.py", f"\x1b[31mError occurred while deleting app {ID} and related data\x1b[0m", "other"),
    ("tool.py", "add document to index failed", "other"),
    # celery/worker/request.py and celery/concurrency/asynpool.py, with the pool prefork
    ("request.py", "Task handler raised error: TimeLimitExceeded(1)", None),
    ("request.py", f"Hard time limit (1s) exceeded for tasks.x[{ID}]", "task_failed"),
    ("request.py", "Task handler raised error: WorkerLostError('Worker exited prematurely: signal 9 (SIGKILL) Job: 2.')", "task_failed"),
    ("asynpool.py", "Process 'ForkPoolWorker-2' pid:28059 exited with 'signal 9 (SIGKILL)'", "other"),
    ("asynpool.py", "Process 'ForkPoolWorker-1' pid:28058 exited with 'signal 15 (SIGTERM)'", "other"),
    # exceptions that Dify did not handle
    ("app.py", "Exception on /v1/chat-messages [POST]", "unhandled_exception"),
    ("app_generator.py", "Unknown Error when generating", "unhandled_exception"),
    # the plugin daemon is not reachable: two records, one failure
    ("base.py", "Request to Plugin Daemon Service failed", "other"),
    ("base.py", f"Failed to request plugin daemon, url: plugin/{ID}/management/models", None),
    ("base.py", f"Failed to request plugin daemon, status: 500, url: plugin/{ID}/management/models", "other"),
    # OpenTelemetry inside a generator (opentelemetry/context/__init__.py)
    ("__init__.py", "Failed to detach context", None),
    # the name of an exception at the beginning
    ("x.py", "core.errors.error.ProviderTokenNotInitError: no credentials", "not_initialized"),
    ("x.py", "ModelCurrentlyNotSupportError", "model_not_supported"),
    ("x.py", "InvokeError: [x] Rate Limit Error, Error code: 429", "rate_limited"),
    ("x.py", "InvokeAuthorizationError: no", "provider_unauthorized"),
    ("x.py", "req_id: 83e845f0fb PluginDaemonInternalServerError: killed by timeout", "provider_unavailable"),
    # an exception as the whole message: a plugin's error was logged by base.py, and other texts are anybody's
    ("retrieval_service.py", f"req_id: 83e845f0fb {NODE.partition('7a514b9e6f ')[2]}", None),
    ("tool_engine.py", "req_id:  PluginDaemonInternalServerError: killed by timeout", None),
    ("retrieval_service.py", "[openai] Rate Limit Error, Error code: 429 - {}", None),
    ("knowledge_index_node.py", "[models] Error: API request failed with status code 500: {}", None),
    ("tool_engine.py", "Request failed with status code 429 and Error code: 429", "other"),
    ("tool_engine.py", ANSWER, "other"),
    ("tool_engine.py", "Failed to detach context", "other"),
    ("tool_engine.py", "provider_quota_exceeded: pay", "other"),
    ("base_app_generate_response_converter.py", "InvokeRateLimitError: 429", "other"),
    # up to Dify 1.7.1 base.py does not log a plugin's error, and its text has no `req_id: ` (core/plugin/impl/exc.py)
    ("base_app_generate_response_converter.py", NODE.partition("7a514b9e6f ")[2], "provider_error"),
    ("base_app_generate_response_converter.py", f"req_id: 83e845f0fb {NODE.partition('7a514b9e6f ')[2]}", None),
    ("base_app_generate_response_converter.py", "PluginDaemonInternalServerError: killed by timeout", "provider_unavailable"),
    ("base_app_generate_response_converter.py", "Exception on /v1/x [POST]", "other"),
    ("knowledge_index_node.py", "Unknown Error when workflow entry running", "other"),
    # text of users
    ("x.py", "Failed to save 'InvokeRateLimitError: status code 429'", "other"),
    ("x.py", "my Error in stream response for plugin {'code': -500", "other"),
]  # fmt: skip


def text(caller: str, message: str) -> str:
    return f"2026-11-29 23:30:06.014 ERROR [Thread-127 (worker_with_context)] [{caller}:313] {TRACE} - {message}"


def source_install(caller: str, message: str) -> str:
    return f"2026-11-29 23:30:06,14 ERROR [{caller}:313] 39f1fc2322 {message}"


def json_line(caller: str, message: str, **more: str) -> str:
    """api/core/logging/structured_formatter.py."""
    line = {"ts": "2026-11-29T23:30:06.014Z", "severity": "ERROR", "service": "langgenius/dify"}
    return json.dumps({**line, "caller": f"{caller}:313", "message": message, "trace_id": TRACE, **more})


def kinds_of(*lines: str) -> list[str]:
    batch = Dify().parse("".join(f"{line}\n" for line in lines).encode())
    assert (batch.ignored, batch.unparsed, batch.observed) == (0, {}, len(lines))
    return [record.kind for record in batch.records if isinstance(record, Failure)]


@pytest.mark.parametrize("form", [text, source_install, json_line])
@pytest.mark.parametrize(("caller", "message", "kind"), RECORDS)
def test_a_record_counts_at_its_level(form, caller: str, message: str, kind: str | None) -> None:
    assert kinds_of(form(caller, message)) == ([kind] if kind else [])


def test_one_failed_call_of_a_blocking_chatflow_counts_once_per_level() -> None:
    """All ERROR records of the failed call in order (Dify 1.14.1)."""
    lines = [
        ("base.py", ANSWER),
        ("large_language_model.py", "Error while consuming non-stream plugin chunk iterator."),
        ("error_handler.py", NODE),
        ("app_generator.py", f"Failed to process generate task pipeline, conversation_id: {ID}"),
        ("workflow_entry.py", "Unknown Error when workflow entry running"),
    ]
    assert kinds_of(*(text(*line) for line in lines)) == ["rate_limited", "node_failed", "run_failed"]


@pytest.mark.parametrize("thread", ["GraphWorker-0", "EngineWorker-12"])
@pytest.mark.parametrize(
    "message",
    [
        "error while executing llm node",
        "Node 1741782232725 failed to run",
        "Node 1741782232725 failed to resume",
        "Loop node 1741782232725 failed",
        "Worker failed while executing node 1741782232725",
        "Failed to invoke parameter extractor model",
    ],
)
def test_an_exception_in_a_node_counts_once(message: str, thread: str) -> None:
    """Since Dify 1.9 the node's own record, from an engine's thread, is followed by that of error_handler.py."""
    lines = [("node.py", message), ("error_handler.py", "Node 1741782232725 failed with ABORT strategy: boom")]
    engine = [text(*line).replace("Thread-127 (worker_with_context)", thread) for line in lines]
    later = [kinds_of(*form) for form in (engine, [json_line(*line) for line in lines])]
    assert later == [["node_failed"], ["node_failed"]]
    assert kinds_of(*[line.replace(thread, "Thread-9 (_generate_worker)") for line in engine[:1]]) == ["node_failed"]
    assert kinds_of(*engine * 30) == ["node_failed"] * 30


def test_a_task_killed_at_its_time_limit_has_failed() -> None:
    """All records of one task (celery 5.6, pool prefork): trace.py does not log its end."""
    lines = [
        text("request.py", "Task handler raised error: TimeLimitExceeded(1)"),
        text("request.py", f"Hard time limit (1s) exceeded for tasks.hard[{ID}]"),
        "[2026-11-29 23:30:06,856: ERROR/MainProcess] Process 'ForkPoolWorker-2' pid:28059 exited with 'signal 9 (SIGKILL)'",
    ]
    batch = Dify().parse("".join(f"{line}\n" for line in lines).encode())
    assert [record for record in batch.records if isinstance(record, Task)] == [Task("tasks.hard", "failed")]
    assert kinds_of(*lines) == ["task_failed", "other"]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("Error 111 connecting to redis:6379. Connection refused.", "upstream_refused"),
        ("Error -2 connecting to redis:6379. Name or service not known.", "upstream_unresolved"),
        ("Error -3 connecting to redis:6379. Temporary failure in name resolution.", "upstream_unresolved"),
        ("Error -5 connecting to redis:6379. No address associated with hostname.", "upstream_unresolved"),
        ("Timeout connecting to server", "upstream_timeout"),
        ("Timeout reading from redis:6379", "upstream_timeout"),
        ("Error 110 connecting to redis:6379. Connection timed out.", "upstream_timeout"),
        ("Error 104 while writing to socket. Connection reset by peer.", "upstream_reset"),
        ("Error while reading from redis:6379 : (104, 'Connection reset by peer')", "upstream_reset"),
        ("Connection closed by server.", "upstream_reset"),
        ("[Errno 111] Connection refused", "upstream_refused"),  # amqp
        ("timed out", "upstream_timeout"),
        ("invalid username-password pair or user is disabled.", "other"),
        ("Error 113 connecting to redis:6379. No route to host.", "other"),
    ],
)
def test_the_broker_that_is_not_reached_has_the_kind_of_its_cause(reason: str, kind: str) -> None:
    """The records of celery 4.4 to 5.7, with the texts of redis-py 3 to 8."""
    connecting = f"consumer: Cannot connect to redis://:**@redis:6379/1: {reason}."
    assert kinds_of(text("consumer.py", connecting)) == [kind]
    assert kinds_of(f"[2026-11-29 23:30:06,856: ERROR/MainProcess] {connecting}") == [kind]
    trying = json_line("consumer.py", f"{connecting}\nTrying again in 2.00 seconds... (1/100)\n")
    assert kinds_of(trying) == [kind]
    assert kinds_of(text("beat.py", f"beat: Connection error: {reason}. Trying again in 2.0 seconds...")) == [kind]
    assert kinds_of(text("worker.py", f"Unrecoverable error: OperationalError({reason!r})")) == [kind]
    assert kinds_of(text("worker.py", f"Unrecoverable error: ConnectionError({reason!r})")) == [kind]


def test_only_celery_itself_tells_why_the_broker_was_not_reached() -> None:
    """The text behind an unknown task, or of a failed run, can be of a user."""
    assert kinds_of(text("worker.py", "Unrecoverable error: ValueError('Connection refused')")) == ["other"]
    assert kinds_of(text("consumer.py", "Received unregistered task of type 'Connection refused'.")) == ["other"]
    assert kinds_of(text("tool.py", "consumer: Cannot connect to Connection refused")) == ["other"]


@pytest.mark.parametrize(
    ("exception", "kind"),
    [
        ("httpx.ConnectError: [Errno 111] Connection refused", "upstream_refused"),
        ("httpx.ConnectError: [Errno -2] Name or service not known", "upstream_unresolved"),
        ("httpx.ConnectError: [Errno -3] Temporary failure in name resolution", "upstream_unresolved"),
        ("httpx.ConnectTimeout: timed out", "upstream_timeout"),
        ("httpx.ReadTimeout: The read operation timed out", "upstream_timeout"),
        ("httpx.PoolTimeout", "upstream_timeout"),
        ("httpx.ReadError: [Errno 104] Connection reset by peer", "upstream_reset"),
        ("httpx.ReadError", "upstream_reset"),
        ("httpx.WriteError: [Errno 32] Broken pipe", "upstream_reset"),
        ("httpx.RemoteProtocolError: Server disconnected without sending a response.", "upstream_reset"),
        ("httpx.RemoteProtocolError: peer closed connection without sending complete message body", "upstream_reset"),
        (
            "requests.exceptions.ConnectionError: HTTPConnectionPool(host='plugin_daemon', port=5002): Max retries exceeded "
            "with url: /x (Caused by NewConnectionError('<x>: [Errno 111] Connection refused'))",
            "upstream_refused",
        ),
        (
            "requests.exceptions.ConnectionError: HTTPConnectionPool(host='plugin_daemon', port=5002): Max retries exceeded "
            "with url: /x (Caused by NameResolutionError('Failed to resolve: [Errno -2] Name or service not known'))",
            "upstream_unresolved",
        ),
        ("httpx.ConnectError: [Errno 113] No route to host", "other"),
        ("httpx.UnsupportedProtocol: Request URL is missing a protocol", "other"),
        ("ValueError: httpx.ConnectError: [Errno 111] Connection refused", "other"),
        ("", "other"),
    ],
)
@pytest.mark.parametrize(
    "message", ["Request to Plugin Daemon Service failed", "Stream request to Plugin Daemon Service failed"]
)
def test_the_stack_trace_shows_why_the_plugin_daemon_was_not_reached(message: str, exception: str, kind: str) -> None:
    stack_trace = (
        "Traceback (most recent call last):\n"
        '  File "/app/api/.venv/lib/python3.12/site-packages/httpx/_transports/default.py", line 101\n    yield\n'
        f"{exception.replace('httpx', 'httpcore')}\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        f'Traceback (most recent call last):\n  File "/app/api/core/plugin/impl/base.py", line 91\n{exception}\n'
    )
    assert kinds_of(json_line("base.py", message, stack_trace=stack_trace)) == [kind]
    assert kinds_of(json_line("base.py", message, stack_trace=stack_trace.rstrip("\n"))) == [kind]


def test_a_text_log_shows_no_cause() -> None:
    """The stack trace follows the record in separate lines, which any text could imitate."""
    lines = (
        text("base.py", "Request to Plugin Daemon Service failed")
        + "\nhttpx.ConnectError: [Errno 111] Connection refused\n"
    )
    batch = Dify().parse(lines.encode())
    assert [record for record in batch.records if isinstance(record, Failure)] == [Failure("other")]
    assert batch.ignored == 1


def test_a_stack_trace_that_is_not_text_is_ignored() -> None:
    line = json_line("base.py", "Request to Plugin Daemon Service failed").replace("}", ',"stack_trace":["x"]}')
    assert kinds_of(line) == ["other"]


def test_every_kind_of_failure_is_declared() -> None:
    assert {kind for *_, kind in RECORDS if kind} <= Dify().error_kinds(Dify().parse(b""))


@pytest.mark.parametrize("noise", [b"\\", b"'", b'\\\\"', b"Error ", b"a.", b" httpx."])
def test_a_log_of_failures_is_read_in_linear_time(noise: bytes) -> None:
    """The log has long records, and many of them."""
    check_linear(Dify(), b"", text("base.py", ANSWER).encode() + b"\n", b"")
    for begin in (ANSWER[:60], ANSWER[:160], ""):
        check_linear(Dify(), text("base.py", begin).encode(), noise, b"")
    stack_trace = json_line("base.py", "Request to Plugin Daemon Service failed", stack_trace="\nhttpx.X: ").encode()
    check_linear(Dify(), stack_trace[:-2], noise.replace(b"\\", b"/").replace(b'"', b"'"), stack_trace[-2:])
