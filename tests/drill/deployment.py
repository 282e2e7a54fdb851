"""Dify, nginx, exporter, blackbox_exporter, Prometheus and Alertmanager, each real, tied together in one folder.

Only Dify is a small one. With all sources, the proxy is in front of it and the receiver gets its traces.
"""

import hashlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import yaml

from tests.drill.dify import KEYS
from tests.drill.logs import BUDGET, SOURCES, Chat, telemetry
from tests.drill.receivers import CORP_ID, CORP_SECRET, ROUTING_KEY, Message, Receivers, receiving
from tests.system.exporter import COMMAND, Exporter
from tests.system.programs import Process, find, free_port, running, until
from tests.system.proxy import proxying
from tests.system.receiver import Receiver
from tests.system.receiver import receiving as receiving_traces
from tests.system.stack import DEPLOY, ROOT, Prometheus, blackbox, faster, lay_out, listening, operators_prometheus

#: Dify's nginx.conf.template, its includes and locations, as far as one upstream needs them.
NGINX = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/logs/error.log notice;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    log_format main '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent';
    access_log {folder}/logs/access.log main;
    include {folder}/dify-timed.conf;
    server {{
        listen unix:{folder}/nginx.sock;
        location / {{ proxy_pass http://{upstream}; proxy_buffering off; proxy_read_timeout 3600s; }}
    }}
}}
"""

#: The proxy finds the app of a request by the digest of its API key.
PROXY = "".join(f'apps."{hashlib.sha256(key.encode()).hexdigest()}" = "{app_id}"\n' for key, app_id in KEYS.items())

#: Tokens a day: more than a Dify that is well uses before the drill breaks it, less than an overloaded one in a minute.
LIMIT, RAISED = 20_000_000, 10**14

#: A chat of days ago: a budget whose first day is today projects nothing in its first hour.
PAST = Chat(KEYS["app-support"], input_tokens=900, output_tokens=120, seconds=0.2)

EXPORTER = f"""
[exporter]
listen = "127.0.0.1:0"
start_at = "beginning"
poll_interval = 0.05

[[source]]
name = "nginx"
paths = ["logs/timed/access.log"]
parser = "nginx"
format = "dify-timed"

[[source]]
name = "worker"
paths = ["worker.log"]
parser = "dify"

[[budget]]
name = "daily"
window = "day"
unit = "tokens"
limit = "{{limit}}"
match = {{{{ source = "worker" }}}}

[apps]
"{KEYS["app-support"]}" = {{{{ name = "Support bot", team = "care" }}}}
"{KEYS["app-translator"]}" = {{{{ name = "Translator", team = "sales" }}}}
"""


class Deployment:
    """All of it, running; the methods break and mend it."""

    def __init__(self, folder: Path, stack: ExitStack, receivers: Receivers, has_all_sources: bool) -> None:
        self.folder = folder
        self.receivers = receivers
        self.receiver: Receiver | None = None
        self.proxy = ""
        #: While it is set, no client sends anything.
        self.pause = threading.Event()
        self.prometheus: Prometheus
        self.alertmanager = ""
        self.blackbox = ""
        self.exporter: Exporter
        self.dify = "127.0.0.1:0"
        self._more = BUDGET + SOURCES if has_all_sources else ""
        self._dify, self._exporter = ExitStack(), ExitStack()
        stack.push(self._dify)
        stack.push(self._exporter)

    def behave(self, mode: str) -> None:
        """`well` or `overloaded`; the file is replaced, for Dify reads it at each request."""
        (self.folder / "mode.new").write_text(mode)
        (self.folder / "mode.new").replace(self.folder / "mode")

    def start_dify(self) -> None:
        """The second time on the port of the first."""
        command = [
            sys.executable, "-m", "gunicorn", "--worker-class", "gevent", "--bind", self.dify, "--no-control-socket",
            "--graceful-timeout", "1", "--pythonpath", str(ROOT), "tests.drill.dify:application",
        ]  # fmt: skip
        receiver = {"RECEIVER": self.receiver.url.removeprefix("http://")} if self.receiver else {}
        process = self._dify.enter_context(running(command, self.folder, os.environ | receiver))
        found = re.search(r"http://([\d.:]+)", process.said("Listening at"))
        assert found is not None
        process.said("Booting worker")
        self.dify = found[1]

    def stop_dify(self) -> None:
        self._dify.close()

    def start_exporter(self) -> None:
        self._configure(LIMIT)
        process = self._exporter.enter_context(running([COMMAND, "serve"], self.folder))
        self.exporter = Exporter(process)
        process.said("first pass done")

    def raise_budget(self) -> None:
        """As an operator would: edit, reload."""
        self._configure(RAISED)
        self.exporter.process.send(signal.SIGHUP)
        self.exporter.process.said("the configuration is reloaded")

    def _configure(self, limit: int) -> None:
        (self.folder / "exporter.toml").write_text(EXPORTER.format(limit=limit) + self._more)

    def request(self, key: str, streaming: bool) -> None:
        """One chat through nginx with the API key of an app; what comes back does not matter here."""
        connection = HTTPConnection("localhost", timeout=20)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(20)
        try:
            connection.sock.connect(str(self.folder / "nginx.sock"))
            body = json.dumps({"response_mode": "streaming" if streaming else "blocking"})
            connection.request("POST", "/v1/chat-messages", body, {"Authorization": f"Bearer {key}"})
            connection.getresponse().read()
        except (OSError, HTTPException):
            pass  # a drill's own breakage; nginx has logged it
        finally:
            connection.close()


@contextmanager
def deployed(
    folder: Path, speed: float, notify: Callable[[Message], None] = lambda _: None, has_all_sources: bool = False
) -> Iterator[Deployment]:
    """Everything is started, and a client sends a few requests a second until the end.

    Without all sources the exporter reads nginx's log and the telemetry only, and neither proxy nor receiver is started.
    """
    with ExitStack() as stack:
        receivers = stack.enter_context(receiving(notify))
        deployment = Deployment(folder, stack, receivers, has_all_sources)
        deployment.behave("well")
        past = telemetry(PAST, datetime.now(UTC) - timedelta(days=2)) + "\n"
        (folder / "worker.log").write_text(past if has_all_sources else "")
        if has_all_sources:
            deployment.receiver = stack.enter_context(receiving_traces(folder))
        deployment.start_dify()
        if has_all_sources:
            deployment.proxy = stack.enter_context(proxying(folder, f"http://{deployment.dify}", PROXY)).url
        stack.enter_context(_nginx(folder, deployment.proxy.removeprefix("http://") or deployment.dify))
        deployment.start_exporter()
        deployment.alertmanager = stack.enter_context(_alertmanager(folder / "alertmanager", receivers, speed))
        deployment.blackbox = stack.enter_context(blackbox(folder))
        lay_out(folder / "prometheus", _targets(deployment), speed)
        deployment.prometheus = stack.enter_context(
            operators_prometheus(folder / "prometheus", speed, f"127.0.0.1:{free_port()}")
        )
        stack.enter_context(_traffic(deployment, pause=0.1 if speed > 1 else 0.5))
        yield deployment


def _targets(deployment: Deployment) -> dict[str, list[str] | list[dict[str, object]]]:
    probes = [
        ("health", "dify_health", "dify"),
        ("console/api/ping", "console_ping", "console"),
        ("signin", "http_page", "web"),
        ("health/check", "http_2xx", "plugin-daemon"),
    ]
    return {
        "dify-exporter": [deployment.exporter.url.removeprefix("http://")],
        "alertmanager": [deployment.alertmanager],
        "blackbox": [deployment.blackbox],
        "probes": [
            {"targets": [f"http://{deployment.dify}/{path}"], "labels": {"module": module, "dependency": dependency}}
            for path, module, dependency in probes
        ],
    }


@contextmanager
def _nginx(folder: Path, upstream: str) -> Iterator[Process]:
    (folder / "logs/timed").mkdir(parents=True)
    snippet = (DEPLOY / "nginx/dify-timed.conf").read_text()
    (folder / "dify-timed.conf").write_text(snippet.replace("/var/log/nginx", f"{folder}/logs"))
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, upstream=upstream, user=user))
    command = [find("nginx"), "-p", str(folder), "-c", "nginx.conf", "-e", str(folder / "logs/error.log")]
    with running(command, folder) as process:
        until("nginx to listen", (folder / "nginx.sock").exists)
        yield process


@contextmanager
def _alertmanager(folder: Path, receivers: Receivers, speed: float) -> Iterator[str]:
    """deploy/alertmanager.yml with its secrets and addresses as an operator has them; only where things are is replaced."""
    secrets = {
        "pagerduty_routing_key": ROUTING_KEY,
        "slack_api_url": f"{receivers.address}/slack",
        "smtp_password": "unused",
        "wecom_secret": CORP_SECRET,
        "watchdog_url": f"{receivers.address}/watchdog",
    }
    (folder / "secrets").mkdir(parents=True)
    for name, value in secrets.items():
        (folder / "secrets" / name).write_text(value)
    template = (DEPLOY / "alertmanager.yml").read_text().replace("example.com", "example.org")
    (folder / "template.yml").write_text(template.replace("ww0000000000000000", CORP_ID))
    script = [DEPLOY / "alertmanager-secrets.sh", folder / "template.yml", folder / "secrets"]
    text = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    config = faster(yaml.safe_load(text.replace("/etc/alertmanager/secrets", f"{folder}/secrets")), speed)
    config["global"] |= {
        "pagerduty_url": f"{receivers.address}/v2/enqueue",
        "wechat_api_url": f"{receivers.address}/",
        "smtp_smarthost": receivers.mailbox,
        "smtp_require_tls": False,
    }
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [
        find("prometheus-alertmanager"), "--config.file=alertmanager.yml", "--storage.path=data",
        f"--web.listen-address={address}", f"--web.external-url=http://{address}", "--cluster.listen-address=",
    ]  # fmt: skip
    with running(command, folder) as process:
        yield listening(process)


@contextmanager
def _traffic(deployment: Deployment, pause: float) -> Iterator[None]:
    stopping = threading.Event()
    chance = random.Random(7)

    def send() -> None:
        while not stopping.wait(pause):
            if not deployment.pause.is_set():
                deployment.request(chance.choice(list(KEYS)), streaming=chance.random() < 0.3)

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
