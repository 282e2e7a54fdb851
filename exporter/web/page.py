"""The status page: one HTML document that needs nothing else, for a person without Grafana.

Everything that comes from outside is escaped where it is put in. There is no script; the one style sheet is named
in the Content-Security-Policy by its digest.
"""

from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from html import escape
from importlib.resources import files
from urllib.parse import quote

from exporter.advice import alerts
from exporter.status import BudgetRow, ModelRow, RouteRow, SourceRow, Status
from exporter.web.markup import chart, chip, table
from exporter.web.said import age, amount, rate, seconds, share, size

_STYLE = files("exporter.web").joinpath("page.css").read_text("utf-8")
POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_RUNBOOKS = "https://github.com/dify-exporter/dify-exporter/blob/main/docs/runbooks/"


def page(status: Status) -> bytes:
    moment = datetime.fromtimestamp(status.now, UTC)
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>dify-exporter</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{_STYLE}</style></head><body>"
        "<header><div><h1>dify-exporter</h1>"
        f"<p>{chip(*_condition(status))} version {escape(status.version)} · as of "
        f'<time datetime="{moment:%Y-%m-%dT%H:%M:%SZ}">{moment:%Y-%m-%d %H:%M:%S} UTC</time></p></div>'
        '<nav aria-label="Pages"><a href="/metrics">Metrics</a> <a href="/health">Health</a> '
        '<a href="/-/ready">Ready</a></nav></header><main>',
        _notices(status),
        _tiles(status),
        _contents(),
        *(_section(title, inner(status)) for title, inner in _SECTIONS.items()),
        "</main></body></html>",
    ]
    return "\n".join(parts).encode()


def _condition(status: Status) -> tuple[str, str]:
    if not status.ready:
        return "waiting", "reading what was there"
    down = sum(not row.state.up for row in status.sources)
    return ("bad", f"{down} of {len(status.sources)} sources down") if down else ("good", "all sources up")


def _notices(status: Status) -> str:
    done, known = status.progress
    notices = []
    if not status.ready:
        notices.append(f"The first pass has read {size(done)} of {size(known)}; metrics are shown when it is done.")
    if status.reload_problems:
        when = age(status.now - status.loaded_at)
        notices.append(f"The last new configuration was refused; the one of {when} ago stays in force.")
        notices += status.reload_problems
    return "".join(f'<p class="notice" role="status">{escape(notice)}</p>' for notice in notices)


def _tiles(status: Status) -> str:
    lines = sum(row.totals.lines for row in status.sources)
    unparsed = sum(row.totals.unparsed for row in status.sources)
    money = {unit: amount for unit, amount in status.today.items() if unit != "tokens"}
    tiles = [
        ("Sources up", f"{sum(row.state.up for row in status.sources)} of {len(status.sources)}"),
        ("Not yet read", size(sum(row.state.lag_bytes for row in status.sources))),
        ("Lines per second", rate(sum(row.lines_rate for row in status.sources))),
        ("Unparsed", share(unparsed, lines)),
        ("Tokens today", f"{status.today.get('tokens', 0):,}"),
        ("Cost today", ", ".join(f"{amount(spent, unit)} {unit}" for unit, spent in money.items()) or "none known"),
    ]
    inner = "".join(f"<li>{name} <strong>{escape(value)}</strong></li>" for name, value in tiles)
    return f'<ul class="tiles">{inner}</ul>'


def _sources(status: Status) -> str:
    return table(
        "Sources",
        ("Source", "State", "Files#", "Lag#", "Lines/s#", "Lines#", "Unparsed#", "Last line#", "Trend of lines/s+"),
        (_source(row, status.now) for row in status.sources),
    )


def _source(row: SourceRow, now: float) -> tuple[str, ...]:
    state, paths = row.state, "<br>".join(escape(path) for path in row.state.paths)
    troubles = ", ".join(f"{reason} ({count:,})" for reason, count in state.errors.items())
    return (
        f"{escape(state.name)}<small>{paths}</small>",
        chip("good" if state.up else "bad", "up" if state.up else "down")
        + (f"<small>{escape(troubles)}</small>" if troubles else ""),
        f"{state.files}",
        size(state.lag_bytes),
        rate(row.lines_rate),
        f"{row.totals.lines:,}",
        share(row.totals.unparsed, row.totals.lines),
        age(now - row.last_line_at) + " ago" if row.last_line_at is not None else "unknown",
        chart(f"Lines per second of {state.name}", row.charts["lines"]),
    )


def _requests(status: Status) -> str:
    talking = [row for row in status.sources if row.totals.requests]
    if not talking:
        return "<p>No source has told of a request yet.</p>"
    charts = table(
        "Requests of each source",
        ("Source", "Requests#", "Failed#", "Requests per second+", "Failures per second+"),
        (
            (
                escape(row.state.name),
                f"{row.totals.requests:,}",
                share(row.totals.failed, row.totals.requests),
                chart(f"Requests per second of {row.state.name}", row.charts["requests"]),
                chart(f"Failures per second of {row.state.name}", row.charts["failed"], "failed"),
            )
            for row in talking
        ),
    )
    span = f"the last {age(status.span)}" if status.span else "everything read so far; the last minutes were quiet"
    routes = table(
        "Routes",
        ("Route", "Source", "Requests#", "Per second#", "Failed#", "p95#"),
        (_route(row) for row in status.routes),
    )
    return f"{charts}<h3>Routes</h3><p>Of {span}.</p>{routes}"


def _route(row: RouteRow) -> tuple[str, ...]:
    handler = ' <abbr title="told by Dify\'s access line: of a stream only its acceptance">handler</abbr>'
    return (
        f"<code>{escape(row.route)}</code>",
        escape(row.source),
        f"{row.requests:,}",
        rate(row.rate) if row.rate else "–",
        share(row.failed, row.requests),
        (seconds(row.p95) + handler * row.of_handler) if row.p95 is not None else "no durations",
    )


def _money(status: Status) -> str:
    if not status.models and not status.budgets:
        return "<p>No source tells of tokens: see below what is missing.</p>"
    parts = []
    if status.budgets:
        columns = ("Budget", "Spent#", "Limit#", "Used+", "Projected#", "Ends in#")
        parts.append(table("Budgets", columns, (_budget(row, status.now) for row in status.budgets)))
    models = table("Models", ("Model", "App+", "Source", "Tokens#", "Cost#"), map(_model, status.models))
    parts.append(f"<h3>Models</h3><p>Of everything read so far.</p>{models}")
    return "".join(parts)


def _budget(row: BudgetRow, now: float) -> tuple[str, ...]:
    used = row.spent / row.limit
    label = f"{used:.0%} of the budget {row.name} used"
    return (
        f"{escape(row.name)}<small>{escape(row.window)}, {escape(row.unit)}</small>",
        amount(row.spent, row.unit),
        amount(row.limit, row.unit),
        f'<meter min="0" max="1" high="0.8" optimum="0" value="{min(used, 1):.4f}" aria-label="{escape(label)}">'
        f"</meter> {used:.0%}",
        amount(row.projected, row.unit) if row.projected is not None else "too early",
        age(row.ends_at - now),
    )


def _model(row: ModelRow) -> tuple[str, ...]:
    cost = ", ".join(f"{amount(spent, currency)} {currency}" for currency, spent in row.cost) or "no price"
    return escape(row.model), escape(row.app), escape(row.source), f"{row.tokens:,}", escape(cost)


def _failures(status: Status) -> str:
    if not status.failures:
        return "<p>None since the exporter started.</p>"
    rows = (
        (
            age(status.now - each.at) + " ago",
            escape(each.kind.replace("_", " ")),
            f"<code>{escape(each.route)}</code> {escape(each.status_code)}" if each.route else "–",
            f"<code>{escape(each.trace_id)}</code>" if each.trace_id else "–",
            f"<code>{escape(each.file)}:{each.offset}</code><small>{escape(each.source)}</small>",
        )
        for each in status.failures
    )
    hint = (
        "<p>A place is a file and the byte at which a line begins: "
        "<code>tail -c +$((OFFSET+1)) FILE | head -n 1</code></p>"
    )
    return table("Recent failures", ("When#", "Kind+", "Route+", "Trace+", "Place+"), rows) + hint


def _unparsed(status: Status) -> str:
    rows = [
        (
            escape(each.source),
            escape(each.reason),
            age(status.now - each.at) + " ago",
            f"<code>{escape(each.shape)}</code>",
        )
        for source in status.sources
        for each in source.unparsed
    ]
    if not rows:
        return "<p>None since the exporter started.</p>"
    hint = "<p>Shapes only: a letter is x, a digit 0. <code>dify-exporter explain</code> shows where a line breaks.</p>"
    return table("Unparsed lines", ("Source", "Reason", "When#", "Shape of the last one+"), rows) + hint


def _missing(status: Status) -> str:
    lacking: dict[str, list[str]] = {}
    for row in status.sources:
        for sentence in row.state.missing:
            lacking.setdefault(sentence, []).append(row.state.name)
    items = [f"<li><strong>{escape(', '.join(names))}</strong>: {escape(what)}</li>" for what, names in lacking.items()]
    if not items:
        return "<p>Nothing that the sources could still tell.</p>"
    return f"<p>Of each log by itself; another may tell it.</p><ul>{''.join(items)}</ul>"


def _alerts(status: Status) -> str:
    items = [
        f"<li><strong>{escape(', '.join(sources) or 'overall')}</strong>: {_runbooks(names)}</li>"
        for sources, names in alerts.by_source(status.verdicts).items()
    ]
    silent = [
        f"<li>{_runbooks(names)} cannot: {escape(why)}</li>" for why, names in alerts.silent(status.verdicts).items()
    ]
    return f"<p>{alerts.sentence(status.verdicts)}.</p><ul>{''.join(items + silent)}</ul>"


def _runbooks(names: Iterable[str]) -> str:
    return ", ".join(f'<a href="{_RUNBOOKS}{quote(name)}.md">{escape(name)}</a>' for name in names)


_SECTIONS = {
    "Sources": _sources,
    "Requests": _requests,
    "Tokens and cost": _money,
    "Recent failures": _failures,
    "Unparsed lines": _unparsed,
    "What is missing, and how to get it": _missing,
    "Alerts": _alerts,
}


def _contents() -> str:
    links = "".join(f'<a href="#{_anchor(title)}">{title}</a>' for title in _SECTIONS)
    return f'<nav class="contents" aria-label="On this page">{links}</nav>'


def _anchor(title: str) -> str:
    return title.lower().replace(",", "").replace(" ", "-")


def _section(title: str, inner: str) -> str:
    anchor = _anchor(title)
    return f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{title}</h2>{inner}</section>'
