"""The drill itself: break, watch who gets a message, mend, watch who gets the next one; then the same without PagerDuty."""

import time
from collections.abc import Callable

from tests.drill.deployment import Deployment
from tests.drill.receivers import Message
from tests.drill.runbooks import run_commands
from tests.system.programs import until

#: Seconds that no speed shortens: Prometheus collects changes of its targets for 5 s before it looks.
SLACK = 12.0

Expected = tuple[str, str, str]  # receiver, kind, text


class Transcript:
    """Says what happens and when, in minutes and seconds of an operator; waits for what must arrive."""

    def __init__(self, deployment: Deployment, speed: float, say: Callable[[str], None]) -> None:
        self._deployment = deployment
        self._speed = speed
        self._say = say
        self._begun = self._since = time.monotonic()

    def step(self, what: str, counts: bool = True) -> None:
        """From here on messages count, or go on counting."""
        now = time.monotonic()
        if counts:
            self._since = now
        self._line(now, what)

    def quiet(self, minutes: float) -> None:
        """Waits until nothing that pages fires, and PagerDuty knows it."""
        deployment = self._deployment

        def is_quiet() -> bool:
            last = {each.key: each.kind for each in list(deployment.receivers.messages) if each.receiver == "PagerDuty"}
            pages = deployment.prometheus.query('ALERTS{alertstate="firing", severity="critical"}')
            return not pages and "firing" not in last.values()

        self.holds(minutes, "quiet", is_quiet)

    def paged_once(self, alert: str) -> None:
        """One page and its end since the last step, and PagerDuty closes the incident that it opened."""
        messages = [each for each in self._deployment.receivers.messages if each.at >= self._since]
        pages = [each for each in messages if each.receiver == "PagerDuty"]
        assert [each.kind for each in pages] == ["firing", "resolved"], pages
        assert pages[0].key == pages[1].key
        assert alert in pages[0].text
        self._line(time.monotonic(), f"  one page and one resolve: {alert}")

    def arrive(self, minutes: float, *expected: Expected) -> list[Message]:
        """Wait for all expected messages, at most `minutes` of the deployment's time, and return them."""
        pending, arrived = list(expected), []

        def none_is_missing() -> bool:
            for each in tuple(pending):
                if message := self._deployment.receivers.find(*each, self._since):
                    receiver, kind, text = each
                    self._line(message.at, f"  {receiver:<10} {kind:<8} {text}")
                    pending.remove(each)
                    arrived.append(message)
            return not pending

        try:
            until(f"all of {expected}", none_is_missing, minutes * 60 / self._speed + SLACK)
        except BaseException:
            self._say(f"missing: {pending}; firing: {self._deployment.prometheus.alerts()}")
            self._say(f"refused: {self._deployment.receivers.refused}")
            raise
        return arrived

    def holds(self, minutes: float, what: str, condition: Callable[[], object]) -> None:
        until(what, condition, minutes * 60 / self._speed + SLACK)

    def _line(self, at: float, what: str) -> None:
        seconds = round((at - self._begun) * self._speed)
        self._say(f"{seconds // 60:3d}:{seconds % 60:02d}  {what}")


def rehearse(deployment: Deployment, speed: float, say: Callable[[str], None]) -> None:
    """Play all incidents. Fails if a message does not arrive in time. `say` prints a line of the transcript."""
    transcript = Transcript(deployment, speed, say)
    transcript.step("All is well: Prometheus has scraped, the dead man's switch receives the Watchdog.")
    transcript.arrive(3, ("dead man's switch", "firing", "Watchdog"))
    transcript.holds(3, "traffic", lambda: deployment.prometheus.query("source:dify_requests:rate5m > 0"))
    transcript.quiet(30)  # at a high speed the first probe is late, which is an alert
    _overload(deployment, transcript)
    _outage(deployment, transcript)
    _second_channel(deployment, transcript)
    assert not deployment.receivers.refused, deployment.receivers.refused
    transcript.step("Each message was one that its receiver accepts.")


def _overload(deployment: Deployment, transcript: Transcript) -> None:
    transcript.step(
        "Dify is overloaded: it fails half of the requests, turns 40 % away, the rest use 1000 times the tokens."
    )
    deployment.behave("overloaded")
    expected: list[Expected] = [
        ("PagerDuty", "firing", "DifyHighErrorRate"),  # first failures, for 5 min, evaluation 15 s, group_wait 30 s
        ("Slack", "firing", "DifyHighErrorRate"),
        ("WeCom", "firing", "DifyTokenBudgetWarning"),  # the budget's 80 %, for 2 min
    ]
    transcript.arrive(15, *expected)
    transcript.step("Dify is well again, and finance has raised the budget.", counts=False)
    deployment.behave("well")
    deployment.raise_budget()
    # Windows of 10 min run empty, the alert is kept for 5 min, and a group sends again after a group_interval of 5 min.
    transcript.arrive(45, *((receiver, "resolved", text) for receiver, _, text in expected))
    transcript.quiet(45)
    transcript.paged_once("DifyHighErrorRate")


def _outage(deployment: Deployment, transcript: Transcript) -> None:
    """One outage is one page and one resolve, though its consequences fire too."""
    consequences = {"DifyHighErrorRate", "DifyErrorBudgetBurn"}
    transcript.step("Dify is gone.")
    deployment.stop_dify()
    # Probe 2 min, for 2 min, group_wait 30 s.
    transcript.arrive(8, ("PagerDuty", "firing", "DifyServiceDown"), ("Slack", "firing", "DifyServiceDown"))
    # The consequences fire after 5 and 7 min; Alertmanager suppresses them.
    transcript.holds(15, "consequences", lambda: consequences <= deployment.prometheus.alerts())
    transcript.step("The runbook's commands, as on a bare machine:", counts=False)
    for line in run_commands(deployment, "DifyServiceDown", "DifyHighErrorRate"):
        transcript.step(f"  {line}", counts=False)
    transcript.step("Dify is back.", counts=False)
    deployment.start_dify()
    # The alert is kept for 20 min, then group_interval; the windows of its consequences are empty by then.
    transcript.arrive(40, ("PagerDuty", "resolved", "DifyServiceDown"), ("Slack", "resolved", "DifyServiceDown"))
    transcript.quiet(45)
    transcript.paged_once("DifyServiceDown")


def _second_channel(deployment: Deployment, transcript: Transcript) -> None:
    transcript.step("PagerDuty refuses messages, and Dify is gone.")
    deployment.receivers.broken.add("PagerDuty")
    deployment.stop_dify()
    # Probe 2 min, for 2 min, group_wait 30 s; then one refusal, scrape, evaluation and again group_wait 30 s.
    transcript.arrive(15, ("Slack", "firing", "DifyServiceDown"), ("e-mail", "firing", "DifyServiceDown"))
    transcript.step("PagerDuty is back, and so is Dify.")
    deployment.receivers.broken.clear()
    deployment.start_dify()
    transcript.arrive(45, ("Slack", "resolved", "DifyServiceDown"), ("e-mail", "resolved", "DifyServiceDown"))
