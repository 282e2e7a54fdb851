"""docs/metrics.md says what the catalogue says."""

from exporter.catalogue import METRICS
from tests.metrics_reference import FILE, VALUES, reference


def test_the_reference_is_current() -> None:
    assert FILE.read_text() == reference(), "`make docs` writes it anew"


def test_each_closed_label_is_one_of_a_metric() -> None:
    labels = {label for metric in METRICS for label in metric.labels}
    own = {f"{metric.name} {label}" for metric in METRICS for label in metric.labels}
    assert set(VALUES) <= labels | own
