"""Find the cause of an error response of Dify: `{"code", "message", "status"}`, or an `error` event in a stream.

Sources: api/libs/external_api.py; api/controllers/*/error.py; api/core/app/apps/base_app_generate_response_converter.py
for the event. Every ValueError has the code `invalid_param`; in that case only the fixed beginning of the message shows
the cause. The message may quote a prompt, so these functions return nothing but one of CAUSES.
"""

from collections.abc import Mapping

from parsers.batch import OTHER
from parsers.provider_failures import KINDS as PROVIDER_KINDS
from parsers.provider_failures import SDK_ERRORS, kind_of_plugin_error
from parsers.values.patterns import lazy

#: An app's limit of concurrent requests (app/features/rate_limiting): Dify refused the request, no provider failed.
CONCURRENCY_LIMIT = "concurrency_limit"

#: The codes that show the cause without the message.
CAUSE_BY_CODE: Mapping[str, str] = {
    "completion_request_error": "provider_error",
    "provider_quota_exceeded": "quota_exceeded",
    "provider_not_initialize": "not_initialized",
    "model_currently_not_support": "model_not_supported",
    "rate_limit_error": "rate_limited",
    "too_many_requests": CONCURRENCY_LIMIT,
}

#: The causes that `cause_of_text` and `cause_of_body` may return.
CAUSES = PROVIDER_KINDS.union(CAUSE_BY_CODE.values())
#: The causes that count as errors.
KINDS = CAUSES - {CONCURRENCY_LIMIT}

#: All codes of Dify's own errors, and of werkzeug's exceptions as Dify names them.
CODES = frozenset(
    """access_denied account_already_inited account_banned account_in_freeze account_not_found account_not_initialized
    account_not_link_tenant agent_not_published agent_version_not_found_error already_activate already_setup
    api_tool_provider_not_found app_abnormal_status app_api_disabled app_more_like_this_disabled app_not_found
    app_suggested_questions_after_answer_disabled app_unavailable archive_log_not_found archive_storage_not_configured
    archived_document_immutable audio_too_large auth_failed authentication_failed bad_gateway bad_request
    bad_request_key_error cannot_transfer_owner_to_self child_chunk_delete_index_error child_chunk_indexing_error
    completion_request_error compliance_rate_limit conflict conversation_completed crawl_failed
    current_password_incorrect dataset_in_use dataset_name_duplicate dataset_not_initialized document_already_finished
    document_indexing draft_workflow_not_exist draft_workflow_not_sync education_activate_limit education_verify_limit
    email_already_in_use email_change_limit email_change_rate_limit_exceeded
    email_code_account_deletion_rate_limit_exceeded email_code_error email_code_login_limit
    email_code_login_rate_limit_exceeded email_or_password_mismatch email_password_reset_limit email_register_limit
    email_register_rate_limit_exceeded email_send_ip_limit end_user_not_found file_access_denied file_extension_blocked
    file_not_found file_too_large forbidden gateway_timeout gone human_input_form_expired human_input_form_not_found
    human_input_form_submitted indexing_estimate_error init_validate_failed internal_server_error
    invalid_account_deletion_code invalid_action invalid_email invalid_form_data invalid_invitation_code
    invalid_metadata invalid_or_expired_token invalid_param invalid_upload_token length_required limit_exceeded
    member_not_in_tenant method_not_allowed model_currently_not_support need_add_ids no_audio_uploaded no_file_uploaded
    not_acceptable not_allowed_create_workspace not_chat_app not_completion_app not_found not_implemented
    not_init_validated not_owner not_setup not_workflow_app owner_transfer_limit owner_transfer_rate_limit_exceeded
    password_mismatch password_reset_rate_limit_exceeded pipeline_not_found pipeline_run_error plugin_error
    precondition_failed provider_not_initialize provider_not_support_speech_to_text provider_quota_exceeded
    rate_limit_error repeat_password_not_match request_entity_too_large request_timeout service_unavailable
    too_many_files too_many_requests trace_config_check_error trace_config_is_exist trace_config_not_exist
    trial_app_limit_exceeded trial_app_not_allowed unauthorized unauthorized_and_force_logout unknown
    unprocessable_entity unsupported_audio_type unsupported_file_type unsupported_media_type web_app_access_denied
    web_form_rate_limit_exceeded web_sso_auth_required workflow_paused_in_blocking_mode
    workflow_tool_human_input_not_supported workflow_version_execution_not_allowed workspace_archived
    workspace_not_found""".split()
)

#: The number of characters of a message that are read.
_MAX_LENGTH = 1 << 14

#: What Dify puts before the error of a node: in chatflows (advanced_chat/generate_task_pipeline.py), before Dify 1.0.
_PREFIX = lazy(r"(?:Run failed: )?(?:Node [^:\n]{1,128} run failed: )?")

#: A plugin's error as text, as JSON (in a stream), or as the text of a model's error with the words of the SDK.
_PLUGIN_ERROR = lazy(
    r"(?:req_id: [^\s:]{0,64} )?Plugin\w{1,48}Error: "
    r'|\{"(?:args|error_type)":'
    rf"|\[[\w./-]{{1,128}}\] (?:Error: |(?:{SDK_ERRORS}) Error(?:, |$)"
    r"|Incorrect model credentials provided, please check and try again)"
)

#: Fixed words of Dify's own errors, at the beginning of a message.
_CAUSE_BY_WORDS = tuple(
    (lazy(pattern), cause)
    for pattern, cause in (
        (
            r"Too many requests\. Please try again later\. The current maximum concurrent requests allowed for ",
            CONCURRENCY_LIMIT,
        ),
        (r"Model provider [^\s:]{1,128} quota exceeded\.$|Your quota for Dify Hosted ", "quota_exceeded"),
        (r"(?:No|Insufficient) credits remaining$", "quota_exceeded"),
        (r"(?:Model [^\n]{1,128} |Model )credentials is not initialized\.$", "not_initialized"),
        (r"Default model not found for |Provider Token Not Init$", "not_initialized"),
        (r"Provider [^\s:]{1,128} does not exist\.$", "not_initialized"),
        (r"Model [^\n]{1,128} (?:does )?not exist\.$", "model_not_supported"),
        (r"Dify Hosted OpenAI [^\n]{1,128} currently not support\.$", "model_not_supported"),
        (r"Incorrect API key provided$", "provider_unauthorized"),
        (r"Failed to request plugin daemon, url: |(?:Stream r|R)equest to Plugin Daemon Service failed",
         "provider_unavailable"),
        (r"Failed to parse response from plugin daemon |got empty data from plugin daemon: |plugin daemon: ",
         "provider_unavailable"),
    )
)  # fmt: skip


def code_of(value: object) -> str | None:
    """Return the label of an error code: one of CODES, `other` outside them, None for a value that is not a code."""
    if not isinstance(value, str) or not value:
        return None
    return value if value in CODES else OTHER


def cause_of_text(text: object) -> str | None:
    """Return the cause (one of CAUSES) that the error text of a node, run or response names in fixed words, or None."""
    if not isinstance(text, str):
        return None
    text = text[:_MAX_LENGTH]
    prefix = _PREFIX.match(text)
    text = text[prefix.end() if prefix else 0 :]
    for pattern, cause in _CAUSE_BY_WORDS:
        if pattern.match(text):
            return cause
    return kind_of_plugin_error(text.encode("utf-8", "replace")) if _PLUGIN_ERROR.match(text) else None


def cause_of_body(code: object, message: object) -> str | None:
    """Return the cause (one of CAUSES) of a response with this code and message, None if it is not known."""
    if code == "invalid_param":
        return cause_of_text(message)
    if code != "completion_request_error":
        return CAUSE_BY_CODE.get(code) if isinstance(code, str) else None
    if cause := cause_of_text(message):
        return cause
    text = message[:_MAX_LENGTH] if isinstance(message, str) else ""
    return kind_of_plugin_error(text.encode("utf-8", "replace"))
