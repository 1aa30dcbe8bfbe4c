"""Chromium without a window, as Debian brings it."""

from __future__ import annotations

import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service as Driver

#: What the tests start, and Debian's package of each.
PROGRAMS = {"chromium": "chromium", "chromedriver": "chromium-driver"}
MISSING = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
#: Without the last ones, Chromium calls home at each start.
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--window-size=1200,1000",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def start_chromium(*arguments: str) -> webdriver.Chrome:
    """Start a browser, which writes down what pages tell its console.

    :param arguments: More for its command line.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or pytest.fail("needs Debian's chromium")
    for argument in (*ARGUMENTS, *arguments):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = shutil.which("chromedriver") or pytest.fail("needs Debian's chromium-driver")
    return webdriver.Chrome(options=options, service=Driver(driver))
