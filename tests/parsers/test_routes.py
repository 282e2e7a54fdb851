"""A path becomes a template of Dify's table or one of four words, never the path itself."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.access.routes import RouteInformation, table

UUID = "8b2c0f0e-1f2d-4c3b-9a4e-0123456789ab"
ROUTES = table()


def targets(template: str) -> list[bytes]:
    """Targets of a template. The parameters are UUIDs, a time in milliseconds (as in node ids), and a name."""
    samples = [UUID, "1741782232725", "langgenius"] if "{status}" not in template else ["enable", "disable"]
    if template.endswith("/api-keys/{api_key_id}"):
        samples = [UUID]
    return [re.sub(r"\{\w+\}", sample, template).encode() for sample in samples]


def test_every_template_is_found() -> None:
    wrong = {
        target: found
        for template in ROUTES.templates
        for target in targets(template)
        if (found := ROUTES.of_target(target)) != template
    }
    assert wrong == {}


def test_the_table_is_complete() -> None:
    areas = [ROUTES.information(template).area for template in ROUTES.templates]
    assert len(areas) == 919
    assert set(areas) == {"service_api", "web_app", "console", "files", "inner", "mcp", "trigger", "other"}


@pytest.mark.parametrize(
    ("target", "route"),
    [
        (b"/v1/chat-messages?user=u&q=/v1/info", "/v1/chat-messages"),
        (b"/v1/chat-messages#x", "/v1/chat-messages"),
        (b"http://dify.example:80/v1/info?x", "/v1/info"),
        (b"HTTPS://dify.example", "other"),
        (b"/v1/chat%2Dmessages", "/v1/chat-messages"),
        (b"/v1/chat%252Dmessages", "other"),
        (b"/v1%2Fchat-messages", "/v1/chat-messages"),
        (b"/v1/chat-messages/", "other"),
        (b"/v1/", "/v1/"),
        (b"/v1", "other"),
        (b"//v1/chat-messages", "other"),
        (b"/v1/chat-messages//stop", "other"),
        (b"/V1/chat-messages", "other"),
        (b"/v1/x%0A127.0.0.1 - -", "other"),
        (b"/v1/files/a%00b/preview", "other"),
        (b"/v1/files/a%C2%85b/preview", "other"),
        (b"/v1/files/\xff\xfe/preview", "/v1/files/{file_id}/preview"),
        (b"/v1/files/a%20b/preview", "/v1/files/{file_id}/preview"),
        (b"/v1/datasets/tags", "/v1/datasets/tags"),
        (b"/v1/datasets/tagz", "/v1/datasets/{dataset_id}"),
        (b"/files/tools/0f0e.png", "/files/tools/{file_id}.{extension}"),
        (b"/files/tools/0f0e", "other"),
        (b"/openapi/v1/apps/0f0e:run", "/openapi/v1/apps/{app_id}:run"),
        (
            b"/console/api/workspaces/current/model-providers/langgenius/openai/openai/models/credentials",
            "/console/api/workspaces/current/model-providers/{provider}/models/credentials",
        ),
        (b"/console/api/remote-files/https://a/b?c", "/console/api/remote-files/{url}"),
        (b"/e/hook/any/thing", "/e/{hook_id}/{path}"),
        (b"/e/hook/", "/e/{hook_id}/{path}"),
        (b"/e/hook//", "other"),
        (b"/e/hook", "other"),
        (b"/mcp/server/AbCdEf0123456789/mcp", "/mcp/server/{server_code}/mcp"),
        (b"/socket.io/?EIO=4&transport=websocket", "/socket.io/"),
        (
            b"/console/api/workspaces/current/plugin/tasks/7/delete/langgenius/openai:0.2.6@5e1c",
            "/console/api/workspaces/current/plugin/tasks/{task_id}/delete/{identifier}",
        ),
        (b"/openapi/v1/apps/0f0e/tasks/7/events", "/openapi/v1/apps/{app_id}/tasks/{task_id}/events"),
        (b"/openapi/v1/apps/0f0e/run", "/openapi/v1/apps/{app_id}/run"),
        (b"/openapi/v1/what/comes/next", "/openapi/v1/{path}"),
        (b"/v1/knowledge-fs/spaces/7/documents/8/revisions/9/chunks/1", "/v1/knowledge-fs/{path}"),
        (b"/api/form/human_input/files/upload", "/api/form/human_input/files/upload"),
        (b"/inner/api/knowledge-fs/storage/object?key=a", "/inner/api/knowledge-fs/{path}"),
        (b"/v1/datasets/metadata/built-in", "/v1/datasets/metadata/built-in"),
        (b"/", "static"),
        (b"/favicon.ico", "static"),
        (b"/_next/static/chunks/x.js", "static"),
        (b"/chat/AbCdEf0123456789", "static"),
        (b"/chat/short", "other"),
        (b"/app/" + UUID.encode() + b"/workflow", "static"),
        (b"/wp-admin/setup.php", "other"),
        (b"*", "other"),
        (b"dify.example:443", "other"),
        (b"", "other"),
    ],
)
def test_unusual_targets(target: bytes, route: str) -> None:
    assert ROUTES.of_target(target) == route


def test_a_decoded_path_is_not_decoded_again() -> None:
    """Dify's access line contains the decoded path, so it must not be decoded again, and a `?` is part of it."""
    assert ROUTES.of_path(b"/v1/chat%2Dmessages") == "other"
    assert ROUTES.of_path(b"/v1/info?x") == "other"
    assert ROUTES.of_path(b"/v1/info\n") == "other"


@pytest.mark.parametrize(
    ("route", "information"),
    [
        ("/v1/chat-messages", RouteInformation("service_api", "maybe", "yes")),
        ("/v1/workflow/{task_id}/events", RouteInformation("service_api", "yes", "no")),
        ("/v1/info", RouteInformation("service_api", "no", "no")),
        ("/console/api/workflow/{workflow_run_id}/events", RouteInformation("console", "yes", "no")),
        ("/console/api/trial-apps/{app_id}/chat-messages", RouteInformation("console", "yes", "yes")),
        ("/console/api/agent/{agent_id}/chat-messages", RouteInformation("console", "maybe", "yes")),
        ("/openapi/v1/apps/{app_id}:run", RouteInformation("other", "yes", "yes")),
        ("/openapi/v1/apps/{app_id}/run", RouteInformation("other", "yes", "yes")),
        ("/inner/api/agent/llm/invoke", RouteInformation("inner", "yes", "yes")),
        ("/v1/knowledge-fs/query-stream", RouteInformation("service_api", "yes", "yes")),
        ("/v1/knowledge-fs/{path}", RouteInformation("service_api", "no", "no")),
        ("/triggers/webhook/{webhook_id}", RouteInformation("trigger", "no", "no")),
        ("static", RouteInformation("other", "no", "no")),
        ("invalid", RouteInformation("other", "no", "no")),
    ],
)
def test_the_information_of_a_route(route: str, information: RouteInformation) -> None:
    assert ROUTES.information(route) == information


def test_additional_routes_of_a_deployment() -> None:
    routes = table(("/gateway/{tenant}/chat", "/v1/{anything}"))
    assert routes.of_target(b"/gateway/acme/chat?x=1") == "/gateway/{tenant}/chat"
    assert routes.of_target(b"/v1/mine") == "/v1/{anything}"
    assert routes.of_target(b"/v1/info") == "/v1/info"
    assert ROUTES.of_target(b"/gateway/acme/chat") == "other"


@pytest.mark.parametrize("template", ["gateway", "", "/a b", "/a/{", "/a/{b c}", "/a/{}", "/a\n"])
def test_an_invalid_route_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="expected a route such as"):
        table((template,))


@given(st.binary(max_size=80) | st.binary(max_size=40).map(lambda tail: b"/v1/" + tail))
def test_any_bytes_give_a_member_of_the_closed_set(target: bytes) -> None:
    assert ROUTES.of_target(target) in {*ROUTES.templates, "static", "other"}


def test_hostile_paths_take_linear_time() -> None:
    """A quadratic walk over 200,000 segments would exceed the time limit of the test."""
    for begin in (b"", b"/console/api/workspaces/current/model-providers", b"/console/api/remote-files"):
        for piece in (b"/", b"/a", b"/%41", b"/models"):
            assert ROUTES.of_target(begin + piece * 200_000) in {"other", "/console/api/remote-files/{url}"}
