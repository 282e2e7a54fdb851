"""The pieces of the status page: tables, chips, charts."""

from collections.abc import Iterable, Sequence
from html import escape

from exporter.web.said import age, rate

_SHORTEST = 15.0  # seconds over which a young chart is spread


def table(label: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns whose name ends with # hold numbers, with + what needs space. Cells are HTML. On a phone each row becomes
    a card.
    """
    kinds = {"#": ' class="number"', "+": ' class="wide"'}
    classes = [kinds.get(column[-1], "") for column in columns]
    names = [column.rstrip("#+") for column in columns]
    head = "".join(f'<th scope="col"{kind}>{name}</th>' for name, kind in zip(names, classes, strict=True))
    body = ""
    for first, *rest in rows:
        cells = "".join(
            f'<td{kind} data-label="{name}"><div>{cell}</div></td>'
            for cell, name, kind in zip(rest, names[1:], classes[1:], strict=True)
        )
        body += f'<tr><th scope="row"{classes[0]}>{first}</th>{cells}</tr>'
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}, table">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def chip(kind: str, words: str) -> str:
    return f'<span class="chip {kind}">{escape(words)}</span>'


def chart(label: str, values: Sequence[tuple[float, float]], kind: str = "") -> str:
    """A line over the last hour, or as long as there is one: seconds ago and value, the newest last and at the right,
    scaled to its own highest value.
    """
    if len(values) < 2:
        return '<span class="quiet">collecting</span>'
    highest, span = max(value for _, value in values), max(values[0][0], _SHORTEST)
    width, height = 240, 32
    points = [
        f"{width * (1 - ago / span):.1f},{height - 2 - (height - 4) * (value / highest if highest else 0):.1f}"
        for ago, value in values
    ]
    line, first = " ".join(points), points[0].split(",")[0]
    words = escape(f"{label}: now {rate(values[-1][1])}, highest {rate(highest)}, over {age(values[0][0])}")
    return (
        f'<svg class="chart {kind}" role="img" aria-label="{words}" viewBox="0 0 {width} {height}" '
        f'preserveAspectRatio="none"><path d="M{first},{height} L{line} L{width},{height}Z"/>'
        f'<polyline points="{line}"/></svg>'
        f'<small class="scale">{f"max {rate(highest)}" if highest else "none"} in {age(values[0][0])}</small>'
    )
