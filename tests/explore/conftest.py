"""A real Chromium, and what the page is shown in it."""

import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from support.paths import ROOT

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-precise-memory-info",
    # No process is kept for pages that were left, that may come, or of extensions that Debian adds.
    "--disable-features=BackForwardCache,SpareRendererForSitePerProcess", "--disable-extensions",
    "--disable-component-extensions-with-background-pages",
)  # fmt: skip
AXE = ROOT / "page" / "node_modules" / "axe-core" / "axe.min.js"
SHOTS = os.environ.get("SDS_HF_SCREENSHOTS")  # a folder that keeps pictures of the page
PATIENCE = 120  # seconds; a busy machine is no failure


class Browser:
    """A window on the page."""

    def __init__(self, driver):
        self.driver = driver
        self.size(1366, 900)

    def size(self, width, height):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def open(self, address):
        """Show a page and wait until it is drawn."""
        self.driver.get("about:blank")  # an address that differs behind its # alone would not be read anew
        self.driver.get(address)
        self.wait("return document.getElementById('page')?.dataset.ready")

    def run(self, script, *args):
        return self.driver.execute_script(script, *args)

    def wait(self, script, *args):
        """What a script gives once that is something."""
        end = time.monotonic() + PATIENCE
        while not (value := self.run(script, *args)):
            assert time.monotonic() < end, f"{script}: {self.run('return document.body.innerText.slice(0, 500)')}"
            time.sleep(0.05)
        return value

    def kept(self):
        """How many rows stay, once what was done before is drawn."""
        return int(
            self.driver.execute_async_script(
                """const answer = () => arguments[0](document.querySelector('.summary').dataset.kept);
                requestAnimationFrame(() => setTimeout(answer));"""
            )
        )

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def text(self, selector):
        """What an element says, now: parts of the page are made anew at any time."""
        return self.run("return document.querySelector(arguments[0])?.innerText", selector)

    def press(self, selector, *keys):
        """Keys for an element, and for whatever has the focus after the first of them."""
        from selenium.webdriver import ActionChains

        self.run("document.querySelector(arguments[0]).focus()", selector)
        ActionChains(self.driver).send_keys(*keys).perform()

    def problems(self):
        """What the browser complained of since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def memory(self):
        """Megabytes of the page's process and of all processes of the browser; what they share counts once."""
        processes = psutil.Process(self.driver.service.process.pid).children(recursive=True)
        pages, sizes = [], []
        for process in processes:
            with suppress(psutil.NoSuchProcess):  # one of the browser's that has just ended, also as a zombie
                size, name, command = process.memory_full_info().pss / 2**20, process.name(), process.cmdline()
                sizes += [size] if "chrom" in name else []
                pages += [size] if "chrom" in name and "--type=renderer" in command else []
        return max(pages), sum(sizes)

    def shot(self, name):
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(SHOTS) / f"{name}.png"))

    def faults(self):
        """Serious findings of axe-core: rule and first element."""
        self.run(AXE.read_text(encoding="utf-8"))
        violations = self.driver.execute_async_script("axe.run().then((all) => arguments[0](all.violations))")
        serious = [one for one in violations if one["impact"] in ("serious", "critical")]
        return [(one["id"], one["nodes"][0]["html"][:200]) for one in serious]


@contextmanager
def opened():
    """A Chromium of its own."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("there is no Chromium")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options, home = webdriver.ChromeOptions(), tempfile.mkdtemp()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={home}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_script_timeout(PATIENCE)
    yield Browser(driver)
    driver.quit()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def window():
    with opened() as window:
        yield window


@pytest.fixture
def browser(window):
    """The window of all tests, in which nothing goes wrong during this one."""
    window.size(1366, 900)
    window.problems()
    yield window
    assert window.problems() == []


@pytest.fixture
def fresh_browser():
    """A Chromium that has shown nothing yet."""
    with opened() as window:
        yield window
        assert window.problems() == []
