"""`python -m tests.drill [--speed N]` breaks the stack on purpose; `--demo` keeps it running until Ctrl-C."""

import argparse
import signal
import tempfile
import textwrap
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from tests.drill.deployment import Deployment, deployed
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
                print(
                    "Starting nginx, Prometheus, Alertmanager, blackbox_exporter, exporter, proxy and receiver",
                    flush=True,
                )
                with deployed(Path(folder), given.speed, _tell, has_all_sources=True) as deployment:
                    print(greeting(deployment), flush=True)
                    with suppress(KeyboardInterrupt):  # an error would print what all programs have said
                        threading.Event().wait()
                print("ended", flush=True)
            else:
                print(f"The drill, at speed {given.speed:g}; times are an operator's minutes:seconds.", flush=True)
                with deployed(Path(folder), given.speed) as deployment:
                    rehearse(deployment, given.speed, lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        print("ended", flush=True)


def _tell(message: Message) -> None:
    text = textwrap.shorten(message.text, 400, placeholder=" …")
    print(f"{time.strftime('%H:%M:%S')}  {message.receiver} gets ({message.kind}): {text}", flush=True)


def _pages(prometheus: str) -> str:
    """Where the pages of a Prometheus are. Debian 12 ships the classic ones only."""
    try:
        urlopen(f"{prometheus}/alerts", timeout=10).close()
    except HTTPError:
        return f"{prometheus}/classic"
    return prometheus


def greeting(deployment: Deployment) -> str:
    folder, exporter, prometheus = deployment.folder, deployment.exporter.url, deployment.prometheus.url
    alertmanager, pages = f"http://{deployment.alertmanager}", _pages(prometheus)
    assert deployment.receiver is not None
    return f"""
Dify            http://{deployment.dify}/health (a small one, with traffic: nginx, then the proxy, then Dify)
dify-exporter   {exporter}/ (status page), {exporter}/metrics
receiver        {deployment.receiver.url}/-/healthy (Dify sends a trace of each chat to the receiver; see docs/receiver.md)
proxy           {deployment.proxy}/-/healthy (the proxy reads each answer; see docs/proxy.md)
Prometheus      {pages}/alerts and {pages}/graph
Alertmanager    {alertmanager}/ (Debian's has no pages: ask it, see below)
blackbox        http://{deployment.blackbox}/ (its newest probes of Dify)
logs            {folder}/logs/timed/access.log, and {folder}/*.log of worker, api, tasks, plugin daemon, proxy, receiver

Ask:            curl -s {exporter}/metrics | grep 'dify_tokens_used_total.*"receiver"'
                promtool query instant {prometheus} 'sum by (source, model) (dify_tokens_used_total)'
                promtool query instant {prometheus} ALERTS
                amtool --alertmanager.url={alertmanager} alert query
                curl -s {alertmanager}/api/v2/alerts

Three logs have the tokens of the same chats: those of the receiver, of the proxy, and of the worker (enterprise telemetry).
Look at one source, and do not add them. A community Dify has only the first two.

Break it:       echo overloaded > {folder}/mode
Mend it:        echo well > {folder}/mode
The first alert takes about six minutes from then on (DifyHighErrorRate): more than 5 % of the requests must fail for five
minutes, then Alertmanager waits half a minute for others. The warning about the budget comes after three or four minutes. After you mend
it, the message that it is resolved takes about 20 minutes: the alert looks back 10 minutes, and is kept for 5 more.
What Slack, PagerDuty, WeCom and the mailbox get is printed here. Their links lead to runbooks, which are also in docs/runbooks,
and to dashboards, for which you need a Grafana of your own: add {prometheus} to it as a data source, then run grafana/import.sh.
Panels that show 24 hours or more stay empty for the first 15 minutes.
Ctrl-C ends everything.
"""


if __name__ == "__main__":
    main()
