"""What a panel says instead of staying empty: which log or setting its metrics need."""

import re

_PROXY = "dify-exporter's proxy"
_TOKENS = f"{_PROXY}, the receiver, or the enterprise telemetry"

#: By a pattern of the query, the first that matches: what must be there.
_NEEDS = (
    (r"dify_receiver_", "the log of dify-exporter receive, to which Dify's tracing sends"),
    (r"dify_active_requests", f"the log of {_PROXY}"),
    (r"dify_proxy_", f"the log of {_PROXY}"),
    (r"time_to_first_token", f"the log of {_TOKENS}"),
    (r"time_to_first_byte", f"nginx's dify-timed log, or the log of {_PROXY}"),
    (r"dify_handler_", "Dify's own access line: ENABLE_REQUEST_LOGGING=true for the api"),
    (r"request_duration|judged_latency", f"times in an access log: nginx's dify-timed log, or the log of {_PROXY}"),
    (r"dify_budget", "a [[budget]] in exporter.toml, in tokens or a currency that a source reports"),
    (r"dify_cost|unpriced", f"tokens with a price: {_TOKENS}, and [[price]] tables"),
    (
        r"tokens_used|usage_missing|usage_expected",
        f"the log of {_TOKENS}; the community edition's own logs have no tokens",
    ),
    (r"node_run", "the enterprise telemetry, or the receiver"),
    (r"dify_runs|run_duration", f"the log of Dify's worker, or of {_TOKENS}"),
    (r"dify_tasks?_", "the log of Dify's worker"),
    (r"model_invocation", "the log of the plugin daemon, or of Dify's api and worker"),
    (r"dify_errors", "the logs of Dify's api and worker"),
    (r"dify_app_(info|names)", "[apps] in exporter.toml, or apps that a log names"),
    (r"dify_requests|dify_failed|dify_served", "an access log: nginx's, or Dify's own"),
    (r"probe_", "blackbox_exporter and a scrape job named dify-probe"),
)


def needed(expression: str) -> str:
    """What a panel without data says. The exporter's own metrics need no log; without data, nothing was wrong."""
    for pattern, what in _NEEDS:
        if re.search(pattern, expression):
            return f"Nothing in this time range. Needs {what}."
    return "Nothing in this time range."
