import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.exposition import OPEN_METRICS, PROTOBUF, TEXT, TEXT_1
from exporter.web.connection import accepts_gzip, select_content_type

#: As Prometheus 2 and 3 send it (config/config.go, scrape/scrape.go).
PROMETHEUS_2 = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
#: With scrape_native_histograms.
_DELIMITED = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
PROMETHEUS_3_NATIVE = f"{_DELIMITED};q=0.7,{PROMETHEUS_3}"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain", TEXT),
        ("text/*;q=0.5", TEXT),
        (PROMETHEUS_2, OPEN_METRICS),
        (PROMETHEUS_3, OPEN_METRICS),
        (PROMETHEUS_3_NATIVE, PROTOBUF),
        (f"{_DELIMITED};q=0.2,{PROMETHEUS_2}", OPEN_METRICS),
        (_DELIMITED.replace("delimited", "text") + ",text/plain;q=0.1", TEXT),
        (_DELIMITED.replace("MetricFamily", "Other") + ",text/plain;q=0.1", TEXT),
        ("application/vnd.google.protobuf", PROTOBUF),
        ("text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5", TEXT_1),
        ("text/plain;version=1.0.0;q=0.1,text/plain;version=0.0.4;q=0.5", TEXT),
        ("application/openmetrics-text;q=0.1, text/plain;q=0.9", TEXT),
        ("application/openmetrics-text;q=0, text/plain", TEXT),
        ("application/openmetrics-text; q=nan", TEXT),
        ("application/openmetrics-text; q=7", TEXT),
        ('Application/OpenMetrics-Text; Version="1.0.0"', OPEN_METRICS),
        ("application/openmetrics-text;version=0.0.1", TEXT),
        ("application/openmetrics-text", OPEN_METRICS),
        ("application/openmetrics-text;q=0.2, */*;q=0.9", TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", TEXT),
        ("image/png", TEXT),
        (",;,=;q", TEXT),
    ],
)
def test_the_best_quality_wins(accept: str, content_type: str) -> None:
    assert select_content_type(accept) == content_type


@given(st.text(max_size=200))
def test_any_header_selects_a_format(header: str) -> None:
    assert select_content_type(header) in (TEXT, TEXT_1, OPEN_METRICS, PROTOBUF)
    assert accepts_gzip(header) in (True, False)
