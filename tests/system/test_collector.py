"""The file of a real OpenTelemetry Collector, which `make test-collector` builds, through the parser `otlp`.

What a real Dify sent goes through the collector; the exporter tails its file, while the collector rotates it.
"""

import http.client
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.real_dify.trace_requests import BOOKS, TraceRequest, requests
from tests.system.exporter import Exporter, serving
from tests.system.programs import free_port, running, until

_CONFIG = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "{address}"}}}}}}}}
processors: {{batch: {{timeout: 100ms, send_batch_size: 64, send_batch_max_size: 64}}}}
exporters: {{file: {{path: spans.json, flush_interval: 50ms, rotation: {{max_megabytes: 1, max_backups: 99}}}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], processors: [{processors}], exporters: [file]}}}}
"""
_SOURCE = '[[source]]\nname = "collector"\npaths = ["spans.json"]\nparser = "otlp"\nnative = true\n'


@contextmanager
def collecting(folder: Path, processors: str) -> Iterator[str]:
    """A collector that writes spans.json in the folder. Yields its address; at the end it has written everything."""
    address = f"127.0.0.1:{free_port()}"
    (folder / "collector.yaml").write_text(_CONFIG.format(address=address, processors=processors))
    with running([os.environ["COLLECTOR"], "--config", "collector.yaml"], folder) as collector:
        collector.said("Everything is ready")
        yield address


def send(address: str, found: tuple[TraceRequest, ...]) -> None:
    connection = http.client.HTTPConnection(address, timeout=60)
    for request in found:
        connection.request("POST", "/v1/traces", request.body, {"Content-Type": "application/x-protobuf"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
    connection.close()


def tokens(exporter: Exporter) -> dict[tuple[str, ...], int]:
    found: dict[tuple[str, ...], int] = {}
    for labels, value in exporter.samples("dify_tokens_used_total"):
        key = labels["app_id"], labels["model"], labels["token_type"]
        found[key] = found.get(key, 0) + round(value)
    return found


@pytest.mark.parametrize("channel", ["phoenix", "native"])
@pytest.mark.parametrize("processors", ["", "batch"])
def test_what_a_real_dify_sent_is_counted_as_in_its_books(tmp_path: Path, channel: str, processors: str) -> None:
    wanted = {
        (row["app_id"], row["model"], token_type): row[token_type]
        for row in BOOKS[channel]["tokens_that_this_channel_shows"]
        for token_type in ("input", "output")
    }
    with serving(tmp_path, _SOURCE, exporter_keys='start_at = "beginning"') as exporter:
        with collecting(tmp_path, processors) as address:
            send(address, requests(channel))
        until("all tokens", lambda: tokens(exporter) == wanted)
        written = sum(path.stat().st_size for path in tmp_path.glob("spans*.json"))
        until("all bytes", lambda: exporter.value("dify_exporter_read_bytes_total") == written)
        assert tokens(exporter) == wanted
        assert exporter.value("dify_exporter_lines_total", outcome="unparsed") == 0
        assert exporter.value("dify_exporter_lost_bytes_total") == 0
    assert channel == "phoenix" or [*tmp_path.glob("spans-*-size.json")]  # enough for a rotation
