"""`python -m tests.drill [--speed N]` breaks the stack on purpose; `--demo` keeps it running until Ctrl-C."""

import argparse
import signal
import tempfile
import threading
import time
from pathlib import Path

from tests.drill.deployment import Deployment, deployed
from tests.drill.logs import SOURCES
from tests.drill.receivers import Message
from tests.drill.rehearsal import rehearse


def main() -> None:
    options = argparse.ArgumentParser(prog="tests.drill", description=__doc__)
    options.add_argument("--demo", action="store_true", help="keep the stack running, print addresses and messages")
    options.add_argument("--speed", type=float, default=1, help="divide every duration of rules and routes (default 1)")
    given = options.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell in the background has it ignored
        signal.signal(number, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="dify-") as folder:
            if given.demo:
                print("Starting nginx, Prometheus, Alertmanager, blackbox_exporter and the exporter", flush=True)
                with deployed(Path(folder), given.speed, _tell, SOURCES) as deployment:
                    _show(deployment)
            else:
                print(f"The drill, at speed {given.speed:g}; times are an operator's minutes:seconds.", flush=True)
                with deployed(Path(folder), given.speed) as deployment:
                    rehearse(deployment, given.speed, lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        print("ended", flush=True)


def _tell(message: Message) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {message.receiver} gets ({message.kind}): {message.text[:200]}", flush=True)


def _show(deployment: Deployment) -> None:
    folder = deployment.folder
    print(f"""
Dify            http://{deployment.dify}/health (a small one, behind nginx, with traffic)
dify-exporter   {deployment.exporter.url}/
Prometheus      {deployment.prometheus.url}/classic/alerts (Debian), or /alerts
Alertmanager    http://{deployment.alertmanager}/
blackbox        http://{deployment.blackbox}/
logs            {folder}/logs/timed/access.log {folder}/worker.log

              {folder}/*.log of api, worker, plugin daemon, proxy and receiver

The first alert takes about six minutes from the moment when you break it: a share of failures over ten minutes, for five.
Debian's Alertmanager has no web interface, and its Prometheus has the pages under /classic/. Ask them:
                amtool --alertmanager.url=http://{deployment.alertmanager} alert query
                promtool query instant {deployment.prometheus.url} ALERTS

Break it:       echo overloaded > {folder}/mode
Mend it:        echo well > {folder}/mode
What Slack, PagerDuty, WeCom and the mailbox get is printed here. Ctrl-C ends everything.
""", flush=True)  # fmt: skip
    threading.Event().wait()


if __name__ == "__main__":
    main()
