"""The table of states in the documentation is the one that the code obeys."""

import re
from pathlib import Path

import pytest

from exporter.tail import generation
from exporter.tail.generation import Event, FileState, Generation
from exporter.tail.position import Position
from exporter.tail.source_config import SourceConfig
from exporter.tail.source_context import SourceContext
from exporter.tail.table import GenerationTable
from parsers.nginx import Nginx

_ROOT = Path(__file__).parents[3]


def _documented(text: str) -> dict[Event, tuple[frozenset[FileState], FileState]]:
    found = {}
    for event, sources, target in re.findall(
        r"^\| ([A-Z_]+) +\|.*\| ([A-Za-z, ]+?) +\| ([A-Z]+) +\|$", text, re.MULTILINE
    ):
        names = (
            [state.name for state in FileState if state is not FileState.DROPPED]
            if "any" in sources
            else sources.split(", ")
        )
        found[Event[event]] = frozenset(FileState[name] for name in names), FileState[target]
    return found


@pytest.mark.parametrize("text", [generation.__doc__, (_ROOT / "docs" / "develop.md").read_text()])
def test_the_table_is_the_one_in_the_code(text: str) -> None:
    assert _documented(text) == {event: event.value for event in Event}


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", FileState)
def test_a_transition_is_in_the_table_or_an_error(state: FileState, event: Event) -> None:
    source = SourceContext(SourceConfig("s", ("log",), Nginx()), lambda: 0.0)
    table = GenerationTable("log", source)
    one = Generation("log#1", Position("log", 1, 2, 3), state)
    table.add(one)
    states, target = event.value
    if state not in states:
        with pytest.raises(ValueError, match=f"{event.name} is no event for log#1, which is {state.name}"):
            table.transition(one, event)
        target = state
    else:
        table.transition(one, event)
    assert one.state is target
    assert (one in table.opened, one in table.missing, one in table.done) == (
        target in generation.OPEN,
        target is FileState.MISSING,
        target is FileState.DONE,
    )
    assert table.followed is (one if target is FileState.FOLLOWED else None)
