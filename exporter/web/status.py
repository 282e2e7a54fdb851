"""The status page."""

import html
from collections.abc import Mapping
from typing import Any

_STYLE = (
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;"
    "padding:0 1rem}table{border-collapse:collapse}td,th{padding:.2rem .8rem;text-align:left}"
)


def page(health: Mapping[str, Any]) -> bytes:
    rows = "".join(
        f"<tr><th scope=row>{html.escape(name)}<td>{'up' if s['up'] else 'down'}<td>{s['files']}"
        f"<td>{s['lag_bytes']}<td>{html.escape(', '.join(s['errors']))}"
        for name, s in health["sources"].items()
    )
    text = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>dify-exporter</title><style>{_STYLE}</style>"
        f"<h1>dify-exporter {html.escape(health['version'])}</h1>"
        "<p><a href=/metrics>Metrics</a> · <a href=/health>Health</a> · <a href=/-/ready>Ready</a>"
        "<table><tr><th>source<th>state<th>files<th>lag in bytes<th>troubles" + rows + "</table>"
    )
    return text.encode()
