"""Dify's own wire and its official client: client and exporter agree on requests, tokens, cost and durations."""

import hashlib
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
from dify_client import ChatClient, CompletionClient
from dify_client.client import DifyClient
from prometheus_client.parser import text_string_to_metric_families

from tests.system import dify
from tests.system.exporter import COMMAND, Exporter, serving
from tests.system.programs import running, until
from tests.system.proxy import Proxy, proxying

ROOT = Path(__file__).parents[2]
ONE, TWO = "770e8400-1f2d-4c3b-9a4e-0123456789ab", "880e8400-1f2d-4c3b-9a4e-0123456789ab"
APPS = f'apps = {{ {hashlib.sha256(b"app-one").hexdigest()} = "{ONE}" }}\nworkers = 2\n'


@contextmanager
def dify_running(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "gunicorn", "--worker-class", "gevent", "--bind", "127.0.0.1:0",
               "--no-control-socket", "tests.system.dify:app"]  # fmt: skip
    with running(command, ROOT) as process:
        yield process.said("Listening at").split(" ")[-2]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("proxy")
    with dify_running(folder) as url, proxying(folder, url, APPS) as found:
        yield found


class Client:
    """The official client, and what it sent and got."""

    def __init__(self, proxy: Proxy, key: str, app_id: str) -> None:
        self._url = proxy.url
        self._key = key
        self.app_id = app_id
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.tokens: Counter[tuple[str, str, str]] = Counter()
        self.cost: Counter[tuple[str, str]] = Counter()
        self.seconds = 0.0

    def _of(self, kind: type[DifyClient]) -> Any:
        client = kind(self._key)
        client.base_url = f"{self._url}/v1"
        return client

    def chat(self, query: str, mode: str) -> None:
        begun = time.monotonic()
        response = self._of(ChatClient).create_chat_message({}, query, "CANARY-user", mode)
        self._book("/v1/chat-messages", response, begun)

    def complete(self, query: str) -> None:
        begun = time.monotonic()
        response = self._of(CompletionClient).create_completion_message({"query": query}, "blocking", "CANARY-user")
        self._book("/v1/completion-messages", response, begun)

    def workflow(self, query: str, mode: str) -> None:
        begun = time.monotonic()
        body = {"inputs": {"query": query}, "response_mode": mode, "user": "CANARY-user"}
        response = self._of(DifyClient)._send_request("POST", "/workflows/run", json=body, stream=True)
        self._book("/v1/workflows/run", response, begun)

    def _book(self, route: str, response: requests.Response, begun: float) -> None:
        documents = self._documents(response)
        self.seconds += time.monotonic() - begun
        self.requests["POST", route, str(response.status_code)] += 1
        nodes = [d["data"]["process_data"] for d in documents if d.get("event") == "node_finished"]
        of_nodes = sum(process["usage"]["total_tokens"] for process in nodes)
        for process in nodes:
            self._usage(process["model_name"], process["usage"])
        for document in documents:
            usage = document.get("metadata", {}).get("usage")
            if usage and not nodes:
                self._usage("unknown", usage)
            if (
                document.get("event") == "workflow_finished" or "workflow_run_id" in document
            ) and "total_tokens" in document["data"]:
                self.tokens[self.app_id, "unknown", "unsplit"] += document["data"]["total_tokens"] - of_nodes

    def _documents(self, response: requests.Response) -> list[dict[str, Any]]:
        if not response.headers["Content-Type"].startswith("text/event-stream"):
            return [response.json()]
        return [json.loads(line[6:]) for line in response.iter_lines() if line.startswith(b"data: ")]

    def _usage(self, model: str, usage: dict[str, Any]) -> None:
        self.tokens[self.app_id, model, "input"] += usage["prompt_tokens"]
        self.tokens[self.app_id, model, "output"] += usage["completion_tokens"]
        self.cost[self.app_id, model] += Decimal(usage["total_price"])


def counted(exporter: Exporter, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    return {tuple(found[label] for label in labels): value for found, value in exporter.samples(name) if value}


def test_client_and_exporter_agree(proxy: Proxy, tmp_path: Path) -> None:
    config = f'[[source]]\nname = "proxy"\npaths = ["{proxy.log}"]\nparser = "dify"\n'
    one, two = Client(proxy, "app-one", ONE), Client(proxy, "app-two", "unknown")
    with serving(tmp_path, config) as exporter:
        jobs = [
            *[lambda c=c, mode=mode: c.chat("hello", mode) for c in (one, two) for mode in ("blocking", "streaming")]
            * 8,
            *[lambda: one.chat("chatflow", "streaming")] * 5,
            *[lambda: one.workflow("run", "streaming")] * 5,
            *[lambda: two.workflow("run", "blocking")] * 5,
            *[lambda mode=mode: one.workflow("failed", mode) for mode in ("blocking", "streaming")],
            *[lambda case=case: two.complete(case) for case in ("hello", "provider", "quota")] * 3,
            *[lambda: one.chat("provider", "streaming")] * 3,
            lambda: one.chat("zero", "blocking"),
            lambda: one.chat("absent", "blocking"),
        ]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda job: job(), jobs))
        requests_sent = one.requests + two.requests
        until(
            "every request", lambda: sum(v for _, v in exporter.samples("dify_requests_total")) >= requests_sent.total()
        )
        assert counted(exporter, "dify_requests_total", "method", "route", "status_code") == dict(requests_sent)
        assert counted(exporter, "dify_tokens_used_total", "app_id", "model", "token_type") == +(
            one.tokens + two.tokens
        )
        cost = {key: float(value) for key, value in (one.cost + two.cost).items() if value}
        assert counted(exporter, "dify_cost_total", "app_id", "model") == pytest.approx(cost)
        assert counted(exporter, "dify_usage_missing_total", "app_id", "reason") == {
            (ONE, "zero"): 1,
            (ONE, "absent"): 1,
        }
        failed = counted(exporter, "dify_failed_requests_total", "route", "reason")
        assert failed == {
            ("/v1/workflows/run", "run_failed"): 2, ("/v1/chat-messages", "stream_error"): 3,
            ("/v1/completion-messages", "provider_error"): 3, ("/v1/completion-messages", "quota_exceeded"): 3,
        }  # fmt: skip
        inside = exporter.value("dify_request_duration_seconds_sum")
        assert inside == pytest.approx(sum(line["http.server.request.duration"] for line in proxy.lines()), abs=1e-6)
        assert 0 < one.seconds + two.seconds - inside < 0.2 * requests_sent.total()
        first = exporter.value("dify_time_to_first_token_seconds_sum") / exporter.value(
            "dify_time_to_first_token_seconds_count"
        )
        assert dify.FIRST_TOKEN_SECONDS <= first < dify.FIRST_TOKEN_SECONDS + 1
        assert exporter.value("dify_active_requests") == 0
        assert "CANARY" not in exporter.metrics()
        assert "CANARY" not in proxy.log.read_text()
    result = subprocess.run([COMMAND, "replay", "--output", "metrics", str(proxy.log)], capture_output=True, check=True)
    samples = [s for family in text_string_to_metric_families(result.stdout.decode()) for s in family.samples]
    assert sum(s.value for s in samples if s.name == "dify_requests_total") == requests_sent.total()
    assert sum(s.value for s in samples if s.name == "dify_tokens_used_total") == (one.tokens + two.tokens).total()


def test_a_trusted_header_names_the_app(proxy: Proxy) -> None:
    before = len(proxy.lines())
    body = {"query": "hello", "inputs": {}, "user": "CANARY"}
    for app_id in (TWO, "CANARY-no-uuid"):
        fields = {"X-Dify-Api-Key": "app-two", "X-Dify-App-Id": app_id, "Cookie": "session=CANARY"}
        assert requests.post(f"{proxy.url}/v1/chat-messages?key=CANARY", json=body, headers=fields, timeout=10).ok
    requests.post(
        f"{proxy.url}/v1/chat-messages",
        json=body,
        headers={"Authorization": "Bearer app-one", "X-Dify-App-Id": TWO},
        timeout=10,
    )
    found = until("three lines", lambda: lines[before:] if len(lines := proxy.lines()) == before + 3 else None)
    # The proxy writes a line after its answer, so the lines of two requests may change places.
    assert Counter(line.get("dify.app_id") for line in found) == {TWO: 1, None: 1, ONE: 1}
    assert "CANARY" not in proxy.log.read_text()
    assert "CANARY" not in "\n".join(proxy.process.lines)


def test_a_replayed_run_is_not_counted_again(proxy: Proxy) -> None:
    before = len(proxy.lines())
    assert requests.get(f"{proxy.url}/v1/workflow/t/events", timeout=10).text.count("node_finished") == 2
    (line,) = until("its line", lambda: proxy.lines()[before:])
    assert (line["http.route"], line["dify.streaming"], line.get("dify.proxy.usage")) == (
        "/v1/workflow/{task_id}/events",
        True,
        None,
    )


def test_an_upload_passes(proxy: Proxy, tmp_path: Path) -> None:
    client = DifyClient("app-one")
    client.base_url = f"{proxy.url}/v1"
    content = bytes(range(256)) * 4000
    response = client.file_upload("CANARY", {"file": ("a.bin", content, "application/octet-stream")})
    assert (response.status_code, response.json()["size"]) == (201, len(content))


def test_curl_gets_each_event_when_it_is_sent(proxy: Proxy) -> None:
    body = json.dumps({"query": "hello", "inputs": {}, "user": "u", "response_mode": "streaming"})
    curl = ["curl", "-sN", "-H", "Authorization: Bearer app-one", "-H", "Content-Type: application/json", "-d", body]
    with subprocess.Popen([*curl, f"{proxy.url}/v1/chat-messages"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        arrivals = [time.monotonic() for line in process.stdout if line.strip()]
    assert len(arrivals) == 5
    assert arrivals[-1] - arrivals[0] > dify.FIRST_TOKEN_SECONDS + 2 * dify.GAP_SECONDS
