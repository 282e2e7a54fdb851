"""Symbolic links (B28): the link gets another target, or its target is rotated."""

from pathlib import Path

from tests.exporter.tail.scenario import (
    Steps,
    back,
    copytruncate,
    folder,
    has_read,
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

PAIRS = range(8)

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
    # `rotatelogs -L` and cronolog keep such a link.
    "a link to a file with a rotated name": [
        write("a1\n", "-20261130"), link("access.log-20261130"), start(), poll(), leave,
        write("a2\n", "-20261130"), write("b1\n", "-20261201"), link("access.log-20261201"),
        back, poll(8), has_read("a1", "a2", "b1"),
    ],
    # Which of both paths is looked at first depends on a hash; of eight pairs, some have each order.
    "links and their targets match, and the links get new targets": [
        *(write(f"a{n}\n", f"one-{n}.log") for n in PAIRS), *(link(f"one-{n}.log", f"to-{n}.log") for n in PAIRS),
        start("*.log", start_at="end"), poll(2),
        *(write(f"b{n}\n", f"two-{n}.log") for n in PAIRS), *(link(f"two-{n}.log", f"to-{n}.log") for n in PAIRS),
        poll(8), has_read(*(f"b{n}" for n in PAIRS)),
    ],
    "links and their targets match, and the targets are rotated twice": [
        *(write(f"a{n}\n", f"one-{n}.log") for n in PAIRS), *(link(f"one-{n}.log", f"to-{n}.log") for n in PAIRS),
        start("*.log"), poll(2), leave,
        *(write(f"b{n}\n", f"one-{n}.log") for n in PAIRS), *(rename(f"one-{n}.log.2", f"one-{n}.log") for n in PAIRS),
        *(write(f"c{n}\n", f"one-{n}.log") for n in PAIRS), *(rename(f"one-{n}.log.1", f"one-{n}.log") for n in PAIRS),
        *(write(f"d{n}\n", f"one-{n}.log") for n in PAIRS),
        back, poll(30), has_read(*(f"{letter}{n}" for letter in "abcd" for n in PAIRS)),
    ],
    "a link gets its first target": [
        link("one.log"), start(start_at="end"), poll(2), write("a1\n", "one.log"), poll(2),
        write("a2\n", "one.log"), poll(), has_read("a1", "a2"),
    ],
    "a link that matches leads to itself": [
        link("loop.log", "loop.log"), write("a1\n"), start("*.log"), poll(), write("a2\n"), reads("a2", within=2),
    ],
}  # fmt: skip


@table(LINKS)
def test_a_link_and_its_targets(tmp_path: Path, steps: Steps, goes_down: bool) -> None:
    play(tmp_path, steps, log="access.log", goes_down=goes_down)
