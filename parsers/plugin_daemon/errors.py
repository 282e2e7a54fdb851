"""Find the kind of an ERROR record of the plugin daemon, in its message and attributes.

In text lines the attributes have any order (dify-plugin-daemon, pkg/utils/log/handler.go). A string with blanks is
quoted, but the map `args` is not, and it contains the provider's text. Attributes behind it cannot be trusted.
"""

import re
from typing import Any

import msgspec
from msgspec import Struct

from parsers.batch import OTHER
from parsers.provider_failures import KINDS as PROVIDER_KINDS
from parsers.provider_failures import kind_of_plugin_failure
from parsers.values import json as lenient_json
from parsers.values.patterns import lazy

#: From internal/core/io_tunnel/generic.go: one record per failed call of a plugin.
PLUGIN_ERROR = b"plugin returned error response"

_VALUE = rb'("[^"\\]*+(?:\\.[^"\\]*+)*"|[^ "]*+)(?= |\Z)'
#: The attributes of a plugin's error, and an empty `args`.
_OF_PLUGIN_ERROR = lazy(
    rb" (?:(session_id|action|plugin|runtime_type|error_type|message)=" + _VALUE + rb"|args=map\[\](?= |\Z))", re.DOTALL
)
#: Go prints the keys of a map sorted. The plugin SDK puts the text of a model's error into `description`.
_DESCRIPTION = lazy(rb" args=map\[description:(.{0,1024})", re.DOTALL)

#: Any other record: words of the daemon, then attributes up to the end of the line.
_WORDS_AND_ATTRIBUTES = lazy(rb"[A-Za-z][A-Za-z0-9 ,]{1,127}?((?: \w{1,64}=" + _VALUE + rb")*)\Z", re.DOTALL)
_ATTRIBUTE = lazy(rb" (\w{1,64})=" + _VALUE, re.DOTALL)

#: Up to 0.5.2: `failed to update the master: i/o timeout`.
_OLD_WORDS = lazy(rb"(?:failed to [a-z ]{1,64}|PluginDaemonInternalServerError): (.{1,512})\Z", re.DOTALL)

#: The ends of the errors of Go's net package and of the daemon.
_CAUSES = tuple(
    (lazy(rb"(?:^|.*[ :])(?:" + pattern + rb")\Z", re.DOTALL), kind)
    for pattern, kind in (
        (rb"i/o timeout|context deadline exceeded|connection pool timeout|killed by timeout", "upstream_timeout"),
        (rb"connection refused", "upstream_refused"),
        (rb"connection reset by peer|broken pipe", "upstream_reset"),
        (rb"no such host|server misbehaving", "upstream_unresolved"),
    )
)

#: Up to 0.5.2 in brackets; then pkg/utils/log/middleware.go and routine/pool.go, debugging_runtime/hooks.go, event.go.
_PANICS = (b"[Recovery]", b"[PANIC]", b"panic recovered", b"panic in ", b"plugin event handler panic")

#: The kinds that `kind_of_text` and `kind_of_json` may return.
KINDS = PROVIDER_KINDS | {kind for _, kind in _CAUSES} | {"unhandled_exception", OTHER}


class _ErrorAttributes(Struct, frozen=True, gc=False):
    error_type: Any = None
    message: Any = None
    error: Any = None


_read = lenient_json.reader(_ErrorAttributes)


def kind_of_text(message: bytes) -> str:
    """Return the kind of a text record. `message` has no level, caller and identity, but the attributes."""
    if message.startswith(PLUGIN_ERROR):
        return _kind_of_plugin_text(message[len(PLUGIN_ERROR) :])
    if message.startswith(_PANICS):
        return "unhandled_exception"
    if old := _OLD_WORDS.match(message):
        return _cause_of(old[1])
    match = _WORDS_AND_ATTRIBUTES.match(message)
    if match is None:
        return OTHER
    values = {pair[1]: _unquoted(pair[2]) for pair in _ATTRIBUTE.finditer(match[1])}
    return _cause_of(values.get(b"error", b""))


def kind_of_json(message: str, attributes: bytes | msgspec.Raw) -> str:
    """Return the kind of a JSON record. `attributes` are raw JSON."""
    if message.encode().startswith(_PANICS):
        return "unhandled_exception"
    known = _read(attributes) or _ErrorAttributes()
    if message == PLUGIN_ERROR.decode():
        return kind_of_plugin_failure(_text(known.error_type), _text(known.message))
    return _cause_of(_text(known.error).encode())


def _kind_of_plugin_text(attributes: bytes) -> str:
    found: dict[bytes, bytes] = {}
    end = 0
    while match := _OF_PLUGIN_ERROR.match(attributes, end):
        end = match.end()
        if match[1]:
            found.setdefault(match[1], match[2])
    message = _unquoted(found.get(b"message", b""))
    if not message and (description := _DESCRIPTION.match(attributes, end)):
        message = description[1]
    return kind_of_plugin_failure(
        _unquoted(found.get(b"error_type", b"")).decode("utf-8", "replace"), message.decode("utf-8", "replace")
    )


def _cause_of(error: bytes) -> str:
    return next((kind for pattern, kind in _CAUSES if pattern.match(error[-128:])), OTHER)


def _unquoted(value: bytes) -> bytes:
    """Return the beginning of a value without Go's quotes. Only escaped quotes are decoded."""
    return value[1:-1][:1024].replace(b'\\"', b'"') if value.startswith(b'"') else value


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
