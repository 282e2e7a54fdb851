"""The JSON lines of the api, the worker and the plugin daemon have the same members: their `service` parts them."""

import json

import pytest

from exporter.replay.detect import detect, guesses
from parsers.batch import Failure
from parsers.dify import Dify
from parsers.envelope import Compose
from parsers.plugin_daemon import PluginDaemon

TRACE = "d61483754d5c5cf08aff65ded59e290f"


def line_of(severity: str, message: str, caller: str = "x.py:1", service: str = "langgenius/dify") -> str:
    """api/core/logging/structured_formatter.py."""
    line = {"ts": "2026-11-29T23:29:02.123Z", "severity": severity, "service": service, "caller": caller}
    return json.dumps({**line, "message": message, "trace_id": TRACE, "span_id": TRACE[:16]})


DAEMON = json.dumps(
    {
        "attributes": {"plugin": "antv/x:1"}, "caller": "pool.go:20", "message": "plugin crashed",
        "service": "dify-plugin-daemon", "severity": "ERROR", "ts": "2026-11-29T23:29:02.123Z",
    }
)  # fmt: skip

#: Logs of the api or the worker of which nothing, or little, is counted.
QUIET = {
    "only records without a failure": [line_of("ERROR", "Failed to detach context", "__init__.py:157")],
    "records at INFO": [line_of("INFO", "all is well"), line_of("ERROR", "Failed to detach context")],
    "a repeated failure": [line_of("ERROR", "Error while consuming non-stream plugin chunk iterator.")],
    "another name of the application": [line_of("ERROR", "Failed to detach context", service="my dify")],
}


@pytest.mark.parametrize("name", QUIET)
def test_a_quiet_json_log_of_the_api_is_not_of_the_plugin_daemon(name: str) -> None:
    log = "".join(f"{line}\n" for line in QUIET[name]).encode()
    found = detect(log, guesses())
    assert found is not None
    assert (found[0].name, found[0].envelope) == ("dify", "none")
    assert PluginDaemon().parse(log).unparsed == {"format": len(QUIET[name])}


def test_an_error_of_the_plugin_daemon_is_none_of_the_api() -> None:
    assert Dify().parse(f"{DAEMON}\n".encode()).unparsed == {"format": 1}
    assert PluginDaemon().parse(f"{DAEMON}\n".encode()).records == (Failure("other"),)


def test_in_compose_each_error_counts_at_its_own_service() -> None:
    lines = [f"api-1            | {line_of('ERROR', 'Exception on /x [POST]')}", f"plugin_daemon-1  | {DAEMON}"]
    log = "".join(f"{line}\n" for line in lines).encode()
    of_dify, of_daemon = (Compose(parser=parser).parse(log) for parser in (Dify(), PluginDaemon()))
    assert (of_dify.records, of_dify.unparsed) == ((Failure("unhandled_exception"),), {})
    assert (of_daemon.records, of_daemon.unparsed) == ((Failure("other"),), {})
