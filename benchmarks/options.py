"""How each corpus is parsed: by our parser, and by one regular expression."""

from typing import Any

from parsers.gunicorn import TIMED

#: The parser of each corpus, and its options.
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "nginx-timed": ("nginx", {"format": "dify-timed"}),
    "nginx": ("nginx", {"format": "dify"}),
    "dify-access": ("dify", {}),
    "plugin-daemon": ("plugin-daemon", {}),
    "dify-json": ("dify", {}),
    "telemetry": ("dify", {}),
    "telemetry-mixed": ("dify", {}),
    "receiver": ("dify", {}),
    "proxy": ("dify", {}),
    "celery": ("dify", {}),
    "worker": ("dify", {}),
    "worker-json": ("dify", {}),
    "plugin-daemon-text": ("plugin-daemon", {}),
    "plugin-daemon-json": ("plugin-daemon", {}),
    "gunicorn": ("gunicorn", {"format": TIMED}),
}

_NGINX = (
    rb'^\S+ - \S+ \[[^\]]+\] "(?P<method>[A-Z]+) (?P<path>[^ ?"]+)[^"]*" (?P<status>\d{3}) \d+ '
    rb'"[^"]*" "[^"]*" "[^"]*"'
)
PATTERNS = {
    "nginx-timed": _NGINX + rb' rt=(?P<duration>[0-9.]+) uct="[^"]*" uht="[^"]*" urt="[^"]*" us="[^"]*"$',
    "nginx": _NGINX + rb"$",
    "dify-access": rb"^\S+ \S+ [A-Z]+ \[[^\]]*\] \[ext_request_logging\.py:\d+\] [0-9a-f]* - "
    rb"(?P<method>[A-Z]+) (?P<path>\S+) (?P<status>\d{3}) (?P<duration>[0-9.]+) ?[0-9A-Za-z-]*$",
    "plugin-daemon": rb"^\[GIN\] \S+ - \S+ \| +(?P<status>\d{3}) \| *(?P<duration>[0-9.]+)m?s \| +[0-9a-f.:]+ \| "
    rb'[A-Z]+ +"/plugin/[^/]+/dispatch/(?P<operation>[^?"]+)[^"]*"$',
}
