"""Budgets of a real exporter: what was spent outlives kill -9, and lines count once, in their own window."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from parsers.dify.proxy import ProxyAttributes, ProxyLine, UsageEntry, encode
from tests.system.exporter import COMMAND, Exporter, serving
from tests.system.programs import running, until

CONFIG = """
start_at = "beginning"
[[source]]
name = "proxy"
paths = ["proxy.log"]
parser = "dify"
[[price]]
provider = "openai"
model = "gpt-4.1"
input = "2.00"
output = "8.00"
currency = "USD"
[exchange]
RMB = "0.14"
[[budget]]
name = "money"
window = "month"
unit = "USD"
limit = "500"
[[budget]]
name = "tokens"
window = "month"
unit = "tokens"
limit = "1000000"
match = { model = "gpt-4.1" }
"""


def line(at: datetime, model: str = "gpt-4.1", price: str | None = None, currency: str | None = None) -> bytes:
    usage = UsageEntry(
        provider="langgenius/openai/openai", model=model, input_tokens=1000, output_tokens=500,
        price=price, currency=currency,
    )  # fmt: skip
    attributes = ProxyAttributes(
        method="POST", route="/v1/chat-messages", status_code=200, worker="w", active_requests=1,
        usage=(usage,),
    )  # fmt: skip
    return encode(
        ProxyLine(ts=f"{at:%Y-%m-%dT%H:%M:%S}.000Z", message="POST /v1/chat-messages 200 1.0", attributes=attributes)
    )


def spent(exporter: Exporter, budget: str) -> float:
    return exporter.value("dify_budget_spent", budget=budget)


def test_what_was_spent_outlives_the_exporter(tmp_path: Path) -> None:
    now, log = datetime.now(UTC), tmp_path / "proxy.log"
    log.write_bytes(line(now) + line(now, price="100", currency="RMB") + line(now - timedelta(days=40), price="7"))
    with serving(tmp_path, CONFIG) as exporter:
        until("two lines of this month", lambda: spent(exporter, "tokens") == 3000)
        assert spent(exporter, "money") == 14.006
        assert exporter.value("dify_budget_limit", budget="money") == 500
        assert exporter.value("dify_cost_total", basis="price_list") == 0.006
        exporter.process.kill()
    with log.open("ab") as file:
        file.write(line(now, model="another"))
        file.write(line(now))
    with running([COMMAND, "serve"], tmp_path) as process:
        exporter = Exporter(process)
        process.said("first pass done")
        assert spent(exporter, "tokens") == 4500
        assert spent(exporter, "money") == 14.012
        assert exporter.value("dify_unpriced_tokens_total", model="another") == 1500
        end = exporter.value("dify_budget_window_end_timestamp_seconds", budget="money")
        assert datetime.fromtimestamp(end, UTC).strftime("%d %H:%M:%S") == "01 00:00:00"
