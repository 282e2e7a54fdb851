"""Which of the shipped alerts the logs of a real Dify (tests/real_dify) fire, each line at its own time."""

import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from exporter import catalogue as c
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from parsers.batch import Batch
from parsers.dify import Dify
from parsers.nginx import Nginx
from parsers.parser import Parser
from parsers.plugin_daemon import PluginDaemon
from tests.real_dify import forms
from tests.rules import FILES
from tests.system.programs import find

SOURCES: dict[str, Parser] = {
    "nginx-timed": Nginx(format="dify-timed"),
    "nginx-error": Nginx(format="error"),
    "api": Dify(),
    "worker": Dify(),
    "plugin-daemon": PluginDaemon(),
}

#: Seconds between two scrapes, and for how long they go on.
STEP, MINUTES = 30, 30
#: The series begin this many steps before the first line.
BEFORE = 4

#: What nobody reports here: probes, and Prometheus about itself.
UNWATCHED = "DifyServiceDown|DifyExporterDown|DifyAlertNotDelivered|Watchdog"


def series_of(phase: str) -> dict[tuple[str, ...], list[int]]:
    """By metric and labels the counters after each step, as `serve` would show them while the logs grow."""
    steps: dict[int, list[tuple[str, Batch]]] = defaultdict(list)
    for name, parser in SOURCES.items():
        path = f"{phase}/{name}.log"
        log = forms.read(path if (forms.HERE / path).exists() else f"{path}.gz")
        batches = [parser.parse(line) for line in log.splitlines(keepends=True)]
        now = next(batch.last_at for batch in batches if batch.last_at is not None)
        for batch in batches:
            now = max(now, batch.last_at or 0)
            steps[now // (STEP * 10**9)].append((name, batch))
    ledger = Ledger(Limits(), lambda: 1_790_000_000.0)
    for name in SOURCES:
        ledger.open(name)
    found: dict[tuple[str, ...], list[int]] = {}
    for step in range(MINUTES * 60 // STEP):
        for name, batch in steps.get(min(steps) + step - BEFORE, ()):
            ledger.enter(name, batch)
        for metric, values in ledger.snapshot(None).counters.items():
            if metric in (c.REQUESTS, c.FAILED_REQUESTS, c.ERRORS, c.MODEL_INVOCATIONS):
                for labels, value in values.items():
                    pairs = (f'{label}="{text}"' for label, text in zip(metric.labels, labels, strict=True))
                    found.setdefault((metric.name, *pairs), [0] * step).append(int(value))
    return found


LOGS = ("api", "worker", "plugin-daemon")


@pytest.mark.system
@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        (
            "text",
            [
                *({"alertname": "DifyProviderFailures", "source": source} for source in LOGS),
                *({"alertname": "DifyRateLimiting", "limited_by": "provider", "source": source} for source in LOGS),
                # 42 of 483 requests ended in a failed run or in an error inside a stream: a warning, and no page.
                {"alertname": "DifyHighErrorRate", "source": "api"},
            ],
        ),
        (
            "incidents",
            [
                # Dify failed 7 of 51 requests within two minutes: too few for a page.
                {"alertname": "DifyHighErrorRate", "source": "api"},
                {"alertname": "DifyHighErrorRate", "source": "nginx-timed"},
                {"alertname": "DifyProviderFailures", "source": "api"},
                {"alertname": "DifyProviderFailures", "source": "plugin-daemon"},
            ],
        ),
    ],
)
def test_the_alerts_that_fire_are_true_and_no_other_fires(
    phase: str, expected: list[dict[str, str]], tmp_path: Path
) -> None:
    series = [
        {"series": f'{name}{{{", ".join(labels)}, job="dify-exporter"}}', "values": " ".join(map(str, values))}
        for (name, *labels), values in series_of(phase).items()
    ]
    question = {
        "expr": "group by (alertname, source, limited_by, severity) "
        f'(last_over_time(ALERTS{{alertstate="firing", alertname!~"{UNWATCHED}"}}[{MINUTES}m]))',
        "eval_time": f"{MINUTES - 1}m",
        "exp_samples": [
            {
                "labels": "{%s}"
                % ", ".join(f'{label}="{text}"' for label, text in ({"severity": "warning"} | labels).items()),
                "value": 1,
            }
            for labels in expected
        ],
    }
    test = {"interval": f"{STEP}s", "input_series": series, "promql_expr_test": [question]}
    rules = {"rule_files": [str(path) for path in FILES], "evaluation_interval": f"{STEP}s", "tests": [test]}
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump(rules))
    result = subprocess.run([find("promtool"), "test", "rules", str(file)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
