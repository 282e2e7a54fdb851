"""The script of the status page in a real Chromium, and the page without it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By

from tests.system.browser import Browser, chromium
from tests.system.exporter import Exporter, serving
from tests.system.programs import until
from tests.system.test_status_page import SAMPLES

LOG = "nginx-dify-timed.log"
SOURCE = """
[[source]]
name = "%s"
paths = ["%s"]
parser = "nginx"
format = "dify-timed"
"""
BUDGET = """
[[budget]]
name = "daily <b>"
window = "day"
unit = "tokens"
limit = "1"
"""
ROUTES = '[aria-label="Routes, table"]'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("script")


@pytest.fixture(scope="module")
def exporter(folder: Path) -> Iterator[Exporter]:
    """Forty sources: one has requests, and they fail; the logs of the others are empty."""
    shutil.copy(SAMPLES / LOG, folder)
    names = [f"<i>source {number}</i>" for number in range(1, 40)]
    for number in range(1, 40):
        (folder / f"{number}.log").touch()
    sources = "".join(SOURCE % (name, f"{number}.log") for number, name in enumerate(names, 1))
    with serving(folder, 'start_at = "beginning"\n' + SOURCE % ("nginx", LOG) + sources + BUDGET) as exporter:

        def has_chart() -> bool:
            with (folder / LOG).open("a") as log:
                log.write((SAMPLES / LOG).read_text())
            return "Requests per second of nginx: now" in exporter.get("/")

        until("two points of the history", has_chart, deadline=60)
        yield exporter


@pytest.fixture
def browser(exporter: Exporter) -> Iterator[Browser]:
    with chromium() as browser:
        browser.open(exporter.url + "/")
        yield browser
        assert browser.console() == []


def search(browser: Browser, words: str) -> None:
    """Type words into the filter. A busy Chromium may lose keys, so they are typed again until the field has them."""
    field = browser.driver.find_element(By.ID, "filter")

    def is_typed() -> bool:
        if field.get_attribute("value") != words:
            field.clear()
            field.send_keys(words)
        return field.get_attribute("value") == words

    until(f"{words} in the filter", is_typed)


def refresh(browser: Browser) -> None:
    """Let the page refresh now, as when it becomes visible, and wait until its content is another one."""
    browser.run("document.getElementById('content').dataset.old = ''; document.activeElement.dataset.was = ''")
    browser.run("document.dispatchEvent(new Event('visibilitychange'))")
    until("a fresh content", lambda: browser.run("return document.querySelector('main[data-old]') === null"))


def column(browser: Browser, table: str, number: int) -> list[str]:
    """The cells of the visible rows."""
    rows = f"document.querySelectorAll('{table} tbody tr:not([hidden])')"
    return list(browser.run(f"return [...{rows}].map(row => row.children[{number}].innerText)"))


def header(browser: Browser, words: str) -> None:
    browser.driver.find_element(By.XPATH, f"//*[@aria-label='Routes, table']//button[.='{words}']").click()


def test_a_refresh_keeps_the_place(browser: Browser) -> None:
    header(browser, "Route")
    search(browser, "/v1/")
    browser.run("document.querySelector('details[data-key=sources]').open = false")
    browser.run("document.querySelector('.tiles').style.marginBottom = '400px'")  # the fresh content is shorter
    browser.run("document.querySelector('details[data-key=tokens-and-cost]').scrollIntoView()")
    browser.run(f"document.querySelector('{ROUTES} button').focus({{preventScroll: true}})")
    top = "return document.querySelector('details[data-key=tokens-and-cost]').getBoundingClientRect().top"
    place, routes = browser.run(top), column(browser, ROUTES, 0)
    assert len(routes) > 5
    assert routes == sorted(routes)
    assert abs(place) < 1
    for _ in range(2):
        refresh(browser)
        assert abs(browser.run(top) - place) <= 1
        assert column(browser, ROUTES, 0) == routes
        assert browser.run("return document.querySelector('details[data-key=sources]').open") is False
        assert browser.run("return document.querySelector('details[data-key=requests]').open") is True
        assert browser.run("return document.activeElement.innerText") == "Route"
        assert browser.run("return document.activeElement.dataset.was") is None
    assert browser.violations() == []


def test_the_page_refreshes_itself(browser: Browser) -> None:
    before = browser.run("return document.getElementById('as-of').textContent")
    now = "return document.getElementById('as-of').textContent"
    until("a newer time", lambda: browser.run(now) != before, deadline=30)


def test_a_lost_exporter_is_announced(browser: Browser) -> None:
    stale = browser.driver.find_element(By.ID, "stale")
    assert not stale.is_displayed()
    network = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.driver.execute_cdp_cmd("Network.enable", {})
    browser.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, **network})
    browser.run("document.dispatchEvent(new Event('visibilitychange'))")
    until("the notice", stale.is_displayed)
    assert "/v1/chat-messages" in browser.text
    browser.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, **network})
    refresh(browser)
    assert not stale.is_displayed()
    assert any("ERR_INTERNET_DISCONNECTED" in message for message in browser.console())


def test_a_switched_off_refresh_stays_off(browser: Browser) -> None:
    browser.driver.find_element(By.ID, "refresh").click()
    browser.requests()
    browser.run("document.dispatchEvent(new Event('visibilitychange'))")
    assert browser.requests() == set()
    browser.driver.find_element(By.ID, "refresh").click()
    refresh(browser)
    assert browser.requests() == {browser.driver.current_url}


def test_tables_are_sorted_and_filtered(browser: Browser) -> None:
    browser.driver.find_element(By.ID, "refresh").click()
    original = column(browser, ROUTES, 2)
    header(browser, "Requests")
    requests = [int(text.replace(",", "")) for text in column(browser, ROUTES, 2)]
    assert requests == sorted(requests, reverse=True)
    header(browser, "p95")
    orders = browser.run(f"return [...document.querySelectorAll('{ROUTES} td:last-child')].map(e => +e.dataset.order)")
    assert orders == sorted(orders, reverse=True)
    header(browser, "p95")
    assert browser.run(f"return document.querySelector('{ROUTES} [aria-sort]').ariaSort") == "ascending"
    header(browser, "p95")
    assert column(browser, ROUTES, 2) == original
    search(browser, "SOURCE 17")
    sources = '[aria-label="Sources, table"]'
    assert [text.splitlines()[0] for text in column(browser, sources, 0)] == ["<i>source 17</i>"]
    assert column(browser, ROUTES, 0) == []
    assert browser.driver.find_element(By.CSS_SELECTOR, ROUTES + " .nothing").is_displayed()


def test_a_chart_shows_the_value_and_the_time(browser: Browser) -> None:
    browser.driver.find_element(By.ID, "refresh").click()
    chart = browser.driver.find_element(By.CSS_SELECTOR, '[data-key="Requests per second of nginx"]')
    scale = chart.find_element(By.XPATH, "following-sibling::small")
    before, values = scale.text, str(chart.get_attribute("data-values")).split()
    box = "return JSON.stringify(document.querySelector('[data-key=\"Requests per second of nginx\"]').getBoundingClientRect())"
    ActionChains(browser.driver).scroll_to_element(chart).perform()
    place = browser.run(box)
    ActionChains(browser.driver).move_to_element_with_offset(chart, 86, 0).perform()
    until("the newest value", lambda: scale.text.startswith(f"{values[-1]}/s at "))
    assert scale.text.endswith(" UTC")
    assert browser.run(box) == place
    ActionChains(browser.driver).move_to_element(browser.driver.find_element(By.TAG_NAME, "h1")).perform()
    until("the scale again", lambda: scale.text == before)
    browser.run("document.querySelector('[data-key=\"Requests per second of nginx\"]').focus()")
    ActionChains(browser.driver).send_keys(Keys.HOME).perform()
    until("the oldest value", lambda: scale.text.startswith(f"{values[0]}/s at "))
    assert browser.run("return document.getElementById('announcer').textContent") == scale.text


@pytest.mark.parametrize("width", [1200, 390], ids=["desktop", "phone"])
def test_from_a_route_to_its_failures(exporter: Exporter, width: int) -> None:
    with chromium(width) as browser:
        browser.open(exporter.url + "/#requests")
        link = browser.driver.find_element(By.CSS_SELECTOR, f'{ROUTES} a[href^="#failure"]')
        route = link.find_element(By.XPATH, "ancestor::tr/th").text
        link.click()
        row = browser.driver.find_element(By.CSS_SELECTOR, "tr.marked")
        assert route in row.text
        assert browser.run("return document.querySelector('tr.marked').getBoundingClientRect().top") < 900


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")], ids=["desktop-light", "phone-dark"])
def test_without_javascript_the_page_is_complete(exporter: Exporter, width: int, scheme: str) -> None:
    with chromium(width, scheme=scheme) as browser:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        browser.open(exporter.url + "/?range=24h")
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        assert browser.run("return document.documentElement.className") == ""
        for words in ("of the requests in source nginx failed", "<i>source 39</i>", "tail -c +", "DifyServiceDown"):
            assert words in browser.text, words
        assert browser.run("return document.querySelector('[aria-current]').innerText") == "24 hours"
        assert not browser.driver.find_element(By.ID, "tools").is_displayed()
        assert browser.run("return document.documentElement.scrollWidth") <= width
        assert browser.violations() == []


def test_a_script_can_make_no_html_and_ask_no_other_site(exporter: Exporter) -> None:
    with chromium() as browser:
        browser.open(exporter.url + "/")
        made = "try { document.body.innerHTML = '<b>x</b>'; return 'made' } catch (error) { return error.name }"
        assert browser.run(made) == "TypeError"
        browser.run("fetch('http://127.0.0.1:9/').catch(() => { document.title = 'refused' })")
        until("the refusal", lambda: browser.driver.title == "refused")
        assert any("Content Security Policy" in message for message in browser.console())


def test_an_empty_start(tmp_path: Path) -> None:
    with serving(tmp_path, SOURCE % ("nginx", "missing.log")) as exporter, chromium() as browser:
        browser.open(exporter.url + "/")
        assert "Source nginx is down" in browser.text
        (tmp_path / "missing.log").touch()
        until("the source is up", lambda: 'class="chip good">up' in exporter.get("/"))
        refresh(browser)
        assert "No source has reported a request yet, so nothing can be said about Dify." in browser.text
        assert browser.driver.title == "no requests yet – dify-exporter"
        assert browser.run("return document.getElementById('announcer').textContent").startswith("No source has")
        assert browser.violations() == []
        assert browser.console() == []
