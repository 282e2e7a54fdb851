"""Kills the receiver and the exporter again and again while the real OpenTelemetry client sends, and compares what the
client believes to have sent with the log and with what the exporter counts.

    make soak-receive            # KILLS=50 SECONDS=1.5 CLIENT=otel SEED=…
"""

import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from msgspec import Struct

from tests.system.clients import Client
from tests.system.exporter import COMMAND, Exporter
from tests.system.programs import Process, running, until
from tests.system.receiver import Receiver, facts, receiving

_SOURCES = '[[source]]\nname = "receive"\npaths = ["receive.log"]\nparser = "dify"\n'


class Terms(Struct, frozen=True):
    """Kills, most seconds between two, and the client's environment."""

    kills: int = 50
    seconds: float = 1.5
    client: str = "otel"
    seed: int = 0


class Found(Struct):
    """Nodes and tokens as the client, the log and the exporter know them."""

    kills: int = 0
    rotations: int = 0
    nodes: int = 0
    tokens: int = 0
    nodes_in_log: int = 0
    tokens_in_log: int = 0
    tokens_counted: int = 0
    runs_counted: int = 0
    lost_bytes: int = 0
    unparsed: int = 0
    truncations: int = 0

    @property
    def exact(self) -> bool:
        nodes = {self.nodes, self.nodes_in_log, self.runs_counted}
        tokens = {self.tokens, self.tokens_in_log, self.tokens_counted}
        return len(nodes) == len(tokens) == 1 and self.nodes > 0 and not self.lost_bytes and not self.unparsed


def kill_again_and_again(folder: Path, terms: Terms) -> Found:
    """The whole run. Raises AssertionError where the receiver does not come up."""
    found, dice = Found(), random.Random(terms.seed)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    (folder / "exporter.toml").write_text(
        f'[exporter]\nlisten = "127.0.0.1:0"\nstart_at = "beginning"\npoll_interval = 0.05\n{_SOURCES}'
    )
    settings = "log_max_bytes = 60000\nlog_backups = 900\n"
    stopped = threading.Event()
    clients: list[Client] = []
    books: list[dict[str, list[int]]] = []

    def send() -> None:
        while not stopped.is_set() or not books:
            clients.append(Client(terms.client, "otel.py", f"http://{listen}/v1/traces", "20", "20", "20"))
            books.append(clients[-1].books(120)["nodes"])

    with receiving(folder, settings, listen), running([COMMAND, "serve"], folder) as process:
        exporter = Exporter(process)  # from now on it knows the source, and reads every rotated file
        process.said("first pass done")
        until("the first heartbeat", lambda: exporter.value("dify_exporter_lines_total") > 0)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        for found.kills in range(1, terms.kills + 1):
            with receiving(folder, settings, listen) as receiver:
                _life(receiver, folder, dice, terms.seconds)
        stopped.set()
        with receiving(folder, settings, listen) as receiver:
            sender.join()
            receiver.process.stop()
    finally:
        stopped.set()
        sender.join()
    sent = {key: tokens for each in books for key, tokens in each.items()}
    logged = facts(folder / "receive.log")
    found.rotations = len([*folder.glob("receive.log.*")])
    found.nodes, found.tokens = len(sent), sum(map(sum, sent.values()))
    found.nodes_in_log, found.tokens_in_log = len(logged), sum(map(sum, logged.values()))
    assert logged == sent or not found.nodes
    _count(found, folder)
    return found


def _life(receiver: Receiver, folder: Path, dice: random.Random, seconds: float) -> None:
    """Kill an exporter, then the worker or the whole receiver, at some moment. A half of the workers is replaced."""
    exporter = Process([COMMAND, "serve"], folder)
    try:
        threading.Event().wait(dice.uniform(0.1, seconds))
        if dice.random() < 0.5:
            os.kill(receiver.worker, signal.SIGKILL)
            threading.Event().wait(dice.uniform(0.1, seconds))
    finally:
        exporter.kill()
    receiver.kill_all()


def _count(found: Found, folder: Path) -> None:
    with running([COMMAND, "serve"], folder) as process:
        exporter = Exporter(process)
        process.said("first pass done")
        until("all to be counted", lambda: exporter.value("dify_node_runs_total") >= found.nodes)
        found.runs_counted = round(exporter.value("dify_node_runs_total"))
        found.tokens_counted = round(exporter.value("dify_tokens_used_total"))
        found.lost_bytes = round(exporter.value("dify_exporter_lost_bytes_total"))
        found.truncations = round(exporter.value("dify_exporter_truncations_total"))
        found.unparsed = round(exporter.value("dify_exporter_lines_total", outcome="unparsed"))


def main() -> int:
    asked = {name: os.environ[name.upper()] for name in Terms.__struct_fields__ if name.upper() in os.environ}
    terms = Terms(
        kills=int(asked.get("kills", 50)),
        seconds=float(asked.get("seconds", 1.5)),
        client=asked.get("client", "otel"),
        seed=int(asked.get("seed", time.time_ns() % 1_000_000)),
    )
    print(terms)
    folder = Path(tempfile.mkdtemp(prefix="receive-soak-"))
    begun = time.monotonic()
    found = kill_again_and_again(folder, terms)
    for name in Found.__struct_fields__:
        print(f"{name.replace('_', ' '):<20} {getattr(found, name):>12,}")
    print(f"{'EXACT' if found.exact else 'NOT EXACT'} in {time.monotonic() - begun:.0f} s")
    if not found.exact:
        print(f"log and state are kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
