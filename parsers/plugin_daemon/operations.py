"""The names of the operations that the plugin daemon's dispatch paths call."""

import re

from parsers.batch import OTHER

#: For the end of each path `/plugin/{tenant}/dispatch/…` or `/v2/invoke/dispatch/…`: its name in the daemon's metrics.
_OPERATIONS = {
    b"llm/invoke": "invoke_llm",
    b"llm/num_tokens": "get_llm_num_tokens",
    b"text_embedding/invoke": "invoke_text_embedding",
    b"text_embedding/num_tokens": "get_text_embedding_num_tokens",
    b"multimodal_embedding/invoke": "invoke_multimodal_embedding",
    b"rerank/invoke": "invoke_rerank",
    b"multimodal_rerank/invoke": "invoke_multimodal_rerank",
    b"tts/invoke": "invoke_tts",
    b"tts/model/voices": "get_tts_model_voices",
    b"speech2text/invoke": "invoke_speech2text",
    b"moderation/invoke": "invoke_moderation",
    b"model/schema": "get_ai_model_schemas",
    b"model/polling/start": "start_polling",
    b"model/polling/check": "check_polling",
    b"model/validate_provider_credentials": "validate_provider_credentials",
    b"model/validate_model_credentials": "validate_model_credentials",
    b"tool/invoke": "invoke_tool",
    b"tool/validate_credentials": "validate_tool_credentials",
    b"tool/get_runtime_parameters": "get_tool_runtime_parameters",
    b"agent_strategy/invoke": "invoke_agent_strategy",
    b"oauth/get_authorization_url": "get_authorization_url",
    b"oauth/get_credentials": "get_credentials",
    b"oauth/refresh_credentials": "refresh_credentials",
    b"dynamic_select/fetch_parameter_options": "fetch_parameter_options",
    b"trigger/invoke_event": "invoke_trigger_event",
    b"trigger/dispatch_event": "dispatch_trigger_event",
    b"trigger/subscribe": "subscribe_trigger",
    b"trigger/unsubscribe": "unsubscribe_trigger",
    b"trigger/refresh": "refresh_trigger",
    b"trigger/validate_credentials": "validate_trigger_credentials",
    b"datasource/validate_credentials": "validate_datasource_credentials",
    b"datasource/get_website_crawl": "invoke_website_datasource_get_crawl",
    b"datasource/get_online_document_pages": "invoke_online_document_datasource_get_pages",
    b"datasource/get_online_document_page_content": "invoke_online_document_datasource_get_page_content",
    b"datasource/online_drive_browse_files": "invoke_online_drive_browse_files",
    b"datasource/online_drive_download_file": "invoke_online_drive_download_file",
}

_DISPATCH = re.compile(rb"/(?:plugin/[^/?]+|v2/invoke)/dispatch/([^?]*)", re.DOTALL)


def operation_of(path: bytes) -> str | None:
    """Return the operation of a dispatch path, `other` for an unknown operation, None for any other path."""
    match = _DISPATCH.match(path)
    return _OPERATIONS.get(match[1], OTHER) if match else None


def operation_of_end(end: bytes) -> str | None:
    """Return the operation for the end of a dispatch path, behind `dispatch`; None for an empty text."""
    return _OPERATIONS.get(end[1:], OTHER) if end else None
