"""Symbolic links (B28): the link gets another target, or its target is rotated."""

from pathlib import Path

from tests.exporter.tail.scenario import (
    Steps,
    back,
    copytruncate,
    folder,
    leave,
    link,
    play,
    poll,
    reads,
    rename,
    start,
    table,
    write,
)

LINKS: dict[str, Steps] = {
    "B28 a link gets another target": [
        write("a1\n", "one"), link("one"), start(), poll(), leave,
        write("a2\n", "one"), write("b1\n", "two"), link("two"), back,
        reads("a2", "b1", within=2),
    ],
    # Kubernetes: /var/log/containers holds links, the rotated files lie beside their targets.
    "B28 the target of a link is rotated": [
        folder("pods"), write("a1\n", "pods/0.log"), link("pods/0.log"), start(), poll(), leave,
        write("a2\n", "pods/0.log"), rename("pods/0.log.20261123-101500", "pods/0.log"), write("b1\n", "pods/0.log"),
        back, reads("a2", "b1", within=2),
    ],
    "a link beside the log leads to itself": [
        link("loop", "loop"), write("a1\n"), start("*.log"), poll(), leave,
        write("a2\n"), rename(".1"), write("b1\n"), back, reads("a2", "b1", within=2),
    ],
    "a link beside the log leads to itself, and the rotated file has left the path": [
        link("loop", "loop"), write("a1\n"), start(), poll(), leave,
        write("a2\n"), copytruncate(".1"), write("b1\n"), back, reads("a2", "b1", within=2),
    ],
    "a link that matches leads to itself": [
        link("loop.log", "loop.log"), write("a1\n"), start("*.log"), poll(), write("a2\n"), reads("a2", within=2),
    ],
}  # fmt: skip


@table(LINKS)
def test_a_link_and_its_targets(tmp_path: Path, steps: Steps, goes_down: bool) -> None:
    play(tmp_path, steps, log="current.log", goes_down=goes_down)
