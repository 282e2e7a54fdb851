"""A real Chromium, as wide as a desk or a phone, in light or dark."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from axe_selenium_python import Axe
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.system.programs import find


class Browser:
    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get(url)

    @property
    def text(self) -> str:
        return str(self.driver.execute_script("return document.body.innerText"))

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def console(self) -> list[str]:
        """Everything that the page complains of, a violated Content-Security-Policy too."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> set[str]:
        """The addresses that the page has asked for."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}

    def violations(self) -> list[str]:
        """axe-core's findings."""
        axe = Axe(self.driver)
        axe.inject()
        return [f"{found['id']}: {found['nodes'][0]['html'][:200]}" for found in axe.run()["violations"]]

    def screenshot(self, file: Path) -> None:
        self.driver.save_screenshot(str(file))


@contextmanager
def chromium(width: int = 1200, height: int = 900, scheme: str = "light") -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    options.binary_location = find("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", *sandbox):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(find("chromedriver")))
    try:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        preference = [{"name": "prefers-color-scheme", "value": scheme}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preference})
        yield Browser(driver)
    finally:
        driver.quit()
