"""Kills the receiver and the exporter again and again while the real OpenTelemetry client sends. Compares what the client
believes to have sent with the log, with what the exporter counts, and with what a real Prometheus has scraped.

    make soak-receive            # KILLS=50 SECONDS=1.5 CLIENT=otel SEED=…
"""

import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from msgspec import Struct

from tests.system.clients import Client
from tests.system.exporter import COMMAND, Exporter
from tests.system.programs import Process, free_port, running, until
from tests.system.receiver import Receiver, facts, receiving
from tests.system.soak import number
from tests.system.stack import Prometheus, prometheus

_TOKENS = "sum(dify_tokens_used_total)"
_SOURCES = '[[source]]\nname = "receive"\npaths = ["receive.log"]\nparser = "dify"\n'


class Terms(Struct, frozen=True):
    """Kills, most seconds between two, and the client's environment."""

    kills: int = 50
    seconds: float = 1.5
    client: str = "otel"
    seed: int = 0


class Found(Struct):
    """Nodes and tokens as the client, the log, the exporter and a real Prometheus know them."""

    kills: int = 0
    rotations: int = 0
    nodes: int = 0
    tokens: int = 0
    nodes_in_log: int = 0
    tokens_in_log: int = 0
    tokens_counted: int = 0
    runs_counted: int = 0
    tokens_in_prometheus: int = 0
    prometheus_resets: int = 0
    lost_bytes: int = 0
    unparsed: int = 0
    truncations: int = 0

    @property
    def exact(self) -> bool:
        nodes = {self.nodes, self.nodes_in_log, self.runs_counted}
        tokens = {self.tokens, self.tokens_in_log, self.tokens_counted, self.tokens_in_prometheus}
        wrong = self.lost_bytes + self.unparsed + self.prometheus_resets
        return len(nodes) == len(tokens) == 1 and self.nodes > 0 and not wrong


def kill_again_and_again(folder: Path, terms: Terms) -> Found:
    """The whole run, while Prometheus scrapes. Raises AssertionError where a program does not come up."""
    target = f"127.0.0.1:{free_port()}"
    (folder / "exporter.toml").write_text(
        f'[exporter]\nlisten = "{target}"\nstart_at = "beginning"\npoll_interval = 0.05\n{_SOURCES}'
    )
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\nscrape_configs:\n- job_name: dify-exporter\n"
        f"  static_configs: [{{targets: ['{target}']}}]\n"
    )
    found = Found()
    with prometheus(folder) as server:
        sent = _send_and_kill(folder, terms, found)
        logged = facts(folder / "receive.log")
        assert logged == sent
        found.rotations = len([*folder.glob("receive.log.*")])
        found.nodes, found.tokens = len(sent), sum(map(sum, sent.values()))
        found.nodes_in_log, found.tokens_in_log = len(logged), sum(map(sum, logged.values()))
        _count(found, folder, server)
    return found


def _send_and_kill(folder: Path, terms: Terms, found: Found) -> dict[str, list[int]]:
    """Returns the books of the clients."""
    dice, listen, stopped = random.Random(terms.seed), f"127.0.0.1:{free_port()}", threading.Event()
    settings = "log_max_bytes = 60000\nlog_backups = 900\n"
    books: list[dict[str, list[int]]] = []

    def send() -> None:
        while not stopped.is_set() or not books:
            client = Client(terms.client, "otel.py", f"http://{listen}/v1/traces", "20", "20", "20")
            books.append(client.books(30 + terms.kills * 30)["nodes"])

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
        with receiving(folder, settings, listen):
            sender.join()
    finally:
        stopped.set()
        sender.join()
    return {key: tokens for each in books for key, tokens in each.items()}


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


def _count(found: Found, folder: Path, server: Prometheus) -> None:
    with running([COMMAND, "serve"], folder) as process:
        exporter = Exporter(process)
        process.said("first pass done")
        until("all to be counted", lambda: exporter.value("dify_node_runs_total") >= found.nodes)
        found.runs_counted = round(exporter.value("dify_node_runs_total"))
        found.tokens_counted = round(exporter.value("dify_tokens_used_total"))
        found.lost_bytes = round(exporter.value("dify_exporter_lost_bytes_total"))
        found.truncations = round(exporter.value("dify_exporter_truncations_total"))
        found.unparsed = round(exporter.value("dify_exporter_lines_total", outcome="unparsed"))
        until("all to be scraped", lambda: number(server, _TOKENS) >= found.tokens)
        found.tokens_in_prometheus = number(server, _TOKENS)
        found.prometheus_resets = number(server, "max(resets(dify_tokens_used_total[1d]))")


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
