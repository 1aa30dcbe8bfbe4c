"""A tab of a browser, in which the end-to-end tests look at Airflow's pages."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from helpers.chromium import MISSING, start_chromium

#: The CI has to look, whatever it takes.
needs_chromium = pytest.mark.skipif(
    bool(MISSING) and "CI" not in os.environ, reason=f"needs Debian's {', '.join(MISSING)}"
)

#: Seconds for what is shown in vain: on a busy machine, Airflow's pages need a minute.
SHOWN_WITHIN = 120


class Tab:
    """A tab of Chromium, as wide as the pictures in the documentation."""

    def __init__(self, url: str, pictures: Path) -> None:
        self.chrome = start_chromium()
        self._url = url
        self._pictures = pictures

    def __enter__(self) -> Tab:
        return self

    def __exit__(self, *error: object) -> None:
        self.chrome.quit()

    def open(self, path: str) -> None:
        self.chrome.get(self._url + path)

    def all(self, selector: str) -> list[WebElement]:
        return self.chrome.find_elements(By.CSS_SELECTOR, selector)

    def await_(self, what: Callable[[], Any]) -> Any:
        try:
            return WebDriverWait(self.chrome, SHOWN_WITHIN, ignored_exceptions=[StaleElementReferenceException]).until(
                lambda _: what()
            )
        except TimeoutException:
            self.picture("waited-in-vain")
            raise

    def one(self, selector: str, text: str = "") -> WebElement:
        """Wait for an element, the first that holds a text."""
        return self.await_(
            lambda: next((each for each in self.all(selector) if text in each.text and each.is_displayed()), None)
        )

    @contextmanager
    def frame(self) -> Iterator[None]:
        """Look into the frame in which Airflow shows what a plugin brings."""
        self.chrome.switch_to.frame(self.one("iframe"))
        try:
            yield
        finally:
            self.chrome.switch_to.default_content()

    def press(self, selector: str, text: str = "") -> None:
        self.one(selector, text).click()

    def press_in(self, row: str, selector: str) -> None:
        """Press a button of a table's row. Not with the mouse, whose tooltips would be in the way of the next one."""
        button = self.one("tbody tr", row).find_element(By.CSS_SELECTOR, selector)
        self.chrome.execute_script("arguments[0].click()", button)

    def unfold(self, text: str) -> None:
        """Press one arrow of the JSON on the page after the other, until a text is to be seen that was folded away."""
        folded = ".codicon-folding-collapsed"
        self.one(folded)

        def is_shown() -> bool:
            for arrow in self.all(folded)[:1]:
                webdriver.ActionChains(self.chrome).move_to_element(arrow).click().perform()
            return text in self.one("body").text

        self.await_(is_shown)

    def picture(self, name: str, of: str = "") -> None:
        """Keep what is to be seen, for the documentation."""
        path = str(self._pictures / f"{name}.png")
        if of:
            self.one(of).screenshot(path)
        else:
            self.chrome.save_screenshot(path)
