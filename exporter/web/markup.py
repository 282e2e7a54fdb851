"""The pieces of the status page: tables, chips, charts."""

from collections.abc import Iterable, Sequence
from html import escape

from exporter.web.said import rate

_SHORTEST = 16  # points over which a young chart is spread


def table(label: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns whose name ends with # hold numbers. Cells are HTML. On a phone each row becomes a card."""
    classes = [f' class="{"number" if column.endswith("#") else "wide"}"' for column in columns]
    names = [column.rstrip("#") for column in columns]
    head = "".join(f'<th scope="col"{kind}>{name}</th>' for name, kind in zip(names, classes, strict=True))
    body = ""
    for first, *rest in rows:
        cells = "".join(
            f'<td{kind} data-label="{name}">{cell}</td>'
            for cell, name, kind in zip(rest, names[1:], classes[1:], strict=True)
        )
        body += f'<tr><th scope="row"{classes[0]}>{first}</th>{cells}</tr>'
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}, table">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def chip(kind: str, words: str) -> str:
    return f'<span class="chip {kind}">{escape(words)}</span>'


def chart(label: str, values: Sequence[float], kind: str = "") -> str:
    """A line over the last hour, the newest value at the right, scaled to its own highest value."""
    if len(values) < 2:
        return '<span class="quiet">collecting</span>'
    highest = max(values)
    if not highest:
        return '<span class="quiet">none</span>'
    width, height = 240, 32
    step = width / max(len(values) - 1, _SHORTEST)
    points = [
        f"{width - step * (len(values) - 1 - index):.1f},{height - 2 - (height - 4) * value / highest:.1f}"
        for index, value in enumerate(values)
    ]
    line, first = " ".join(points), points[0].split(",")[0]
    words = escape(f"{label}: now {rate(values[-1])}, highest {rate(highest)}")
    return (
        f'<svg class="chart {kind}" role="img" viewBox="0 0 {width} {height}" aria-label="{words}">'
        f'<path d="M{first},{height} L{line} L{width},{height}Z"/><polyline points="{line}"/></svg>'
        f'<small class="scale">max {rate(highest)}</small>'
    )
