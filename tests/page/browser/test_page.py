"""The page and the tab in a browser: what a user sees, does, and is kept from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from helpers import page_data
from helpers.chromium import MISSING, start_chromium
from helpers.page_data import ENDED, RUNNING, SCRIPT
from helpers.page_site import BASE, Site, serve_page

pytestmark = [
    pytest.mark.journey,
    # The CI has to look, whatever it takes.
    pytest.mark.skipif(bool(MISSING) and "CI" not in os.environ, reason=f"needs Debian's {', '.join(MISSING)}"),
]

WIDE, PHONE = (1280, 900), (390, 844)
#: Of those that axe-core knows.
SERIOUS = ("serious", "critical")
#: What a browser writes down of an answer that is no good, which is what some tests want, and of Airflow's frame.
EXPECTED = ("Failed to load resource", "can escape its sandboxing")


class Browser:
    """A tab, and what a user does with it."""

    def __init__(self) -> None:
        self.chrome = start_chromium()
        # One that is busy elsewhere is slow, not wrong.
        self.chrome.set_script_timeout(120)

    def open(self, address: str, *, size: tuple[int, int] = WIDE, dark: bool = False) -> None:
        """Open a page, anew even if only what follows its # is another."""
        width, height = size
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        self.prefer(dark=dark)
        self.chrome.get("about:blank")
        self.chrome.get(address)

    def prefer(self, *, dark: bool) -> None:
        """Set what the system prefers."""
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[theme])

    def command(self, name: str, **arguments: Any) -> Any:
        return self.chrome.execute_cdp_cmd(name, arguments)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.chrome.execute_script(script, *arguments)

    def all(self, selector: str) -> list[WebElement]:
        return self.chrome.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str, text: str = "") -> WebElement:
        """Wait for an element that is to be seen, the first that holds a text."""
        return self.await_(
            lambda: next((each for each in self.all(selector) if each.is_displayed() and text in each.text), None)
        )

    def await_(self, what: Callable[[], Any]) -> Any:
        wait = WebDriverWait(self.chrome, 60, 0.05, ignored_exceptions=[StaleElementReferenceException])
        return wait.until(lambda _: what())

    def texts(self, selector: str) -> list[str]:
        return list(
            self.run("return [...document.querySelectorAll(arguments[0])].map(each => each.innerText)", selector)
        )

    def names(self, table: str) -> list[str]:
        """Return the connections of a table's rows, in their order."""
        return self.texts(f"#{table} tbody .column-connection .name")

    def refresh(self, site: Site) -> None:
        """Press the button, and wait until its answer is shown."""
        self.await_(lambda: not self.one("#refresh").get_attribute("aria-disabled"))
        asked = len(site.asked)
        # Not with the mouse, which would take the focus there.
        self.run("document.getElementById('refresh').click()")
        site.await_question(asked)
        self.await_(lambda: not self.one("#refresh").get_attribute("aria-disabled"))

    def colour(self, of: str = "html", what: str = "backgroundColor") -> str:
        return str(self.run(f"return getComputedStyle(document.querySelector(arguments[0])).{what}", of))

    def complaints(self) -> list[str]:
        """Return what the browser has complained of since it was last asked, a policy that is not kept included."""
        told = [str(entry["message"]) for entry in self.chrome.get_log("browser")]
        return [each for each in told if not any(expected in each for expected in EXPECTED)]

    def barriers(self) -> list[str]:
        """Return what axe-core finds that keeps users out."""
        if not self.run("return Boolean(window.axe)"):
            self.run((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
        found = self.chrome.execute_async_script(
            "const done = arguments[0]; axe.run(document, {preload: false}).then(done, error => done(String(error)))"
        )
        assert isinstance(found, dict), found
        assert len(found["passes"]) > 10
        return [
            f"{each['impact']}: {each['help']}: {node['html']} {node['failureSummary']}"
            for each in found["violations"]
            if each["impact"] in SERIOUS
            for node in each["nodes"]
        ]

    def is_too_wide(self) -> bool:
        return bool(self.run("return document.documentElement.scrollWidth > innerWidth"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    opened = Browser()
    try:
        yield opened
    finally:
        opened.chrome.quit()


@pytest.fixture
def site(browser: Browser) -> Iterator[Site]:
    """The page's files and a night's data; whatever a test does, the browser has nothing to complain of."""
    with serve_page() as serving:
        serving.syncs = page_data.night()
        browser.complaints()
        yield serving
        assert browser.complaints() == []
        browser.chrome.get("about:blank")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pictures of the documentation are left."""
    return tmp_path_factory.mktemp("pictures")


def test_page_shows_what_runs_what_ended_and_how_the_wait_is(browser: Browser, site: Site) -> None:
    browser.open(site.page)
    first = browser.one("#running tbody tr").text
    for words in ("Orders", "Postgres: shop", "sync_orders", "shop_nightly", "Running", "45 min", "Late by 27 min"):
        assert words in first
    for words in ("usually 18 min", "48,213,774", "9.2 GB", "4700", "airbyte_default"):
        assert words in first
    assert browser.names("running")[:2] == ["Orders", "Tickets"]
    assert "sync_shop [2]" in browser.one("#running tbody").text
    assert "In the queue" in browser.one("#running tbody").text
    failed = browser.one("#ended tbody tr", "Invoices").text
    assert "Failed" in failed
    assert "token has expired" in failed
    health = browser.texts(".health-line")
    assert "Not reachable since" in health[0]
    assert "Airbyte answers with status 503" in health[0]
    assert "Reachable" in health[1]
    assert "last answer 3 s ago" in health[1]
    task = browser.one("#running tbody a", "sync_orders").get_attribute("href") or ""
    assert task.startswith(
        f"{site.url}{BASE}/dags/shop_nightly/runs/scheduled__2026-11-30T04%3A12%3A40Z/tasks/sync_orders"
    )
    # Made up by nobody: what is asked for beyond the page's own files and its data.
    assert {each.split("?")[0] for each in site.asked} == {"/airbyte/api/syncs"}


def test_page_reads_no_name_as_html(browser: Browser, site: Site) -> None:
    site.syncs = page_data.hostile()
    for size in (WIDE, PHONE):
        browser.open(site.page, size=size)
        assert browser.one("#running tbody .column-connection .name").text == SCRIPT
        assert SCRIPT in browser.one(".health-line.bad").text
        assert browser.run("return document.querySelectorAll('main script, main img').length") == 0
        leads = browser.run("return [...document.querySelectorAll('a[href]')].map(link => link.href)")
        assert leads
        assert all(each.startswith((site.url, "https://airbyte.example/")) for each in leads)
        assert not browser.is_too_wide()
    site.sync = page_data.sync(site.syncs["ended"][0], ended=True)
    browser.open(site.tab(), size=PHONE)
    assert browser.one("h1").text == SCRIPT
    assert browser.run("return document.querySelectorAll('main script, main img').length") == 0
    assert not browser.is_too_wide()


def test_page_is_brought_up_to_date_in_place(browser: Browser, site: Site) -> None:
    browser.open(site.page, size=(1280, 500))
    link = browser.one("#running tbody a", "sync_customers")
    browser.run(
        "arguments[0].focus(); scrollTo(0, 300); document.querySelector('#running tbody tr').marked = true", link
    )
    site.syncs["running"][0] |= {"rows": 50_000_000}
    site.syncs["running"].append(page_data.running(90, RUNNING[0], task_id="sync_new", connection_name="A new one"))
    begun = browser.run("return performance.now()")
    browser.refresh(site)
    browser.await_(lambda: "A new one" in browser.names("running"))
    assert browser.run("return performance.now()") > begun, "The page was not loaded anew."
    marked = browser.run("return [...document.querySelectorAll('#running tbody tr')].find(row => row.marked).innerText")
    assert "50,000,000" in marked
    assert browser.run("return document.activeElement.textContent") == "sync_customers"
    assert browser.run("return scrollY") >= 300
    # It ends: the row goes to the other table, and the focus to what is in its place.
    gone = site.syncs["running"].pop(1)
    site.syncs["ended"].insert(
        0, {**page_data.ended(1), **{name: gone[name] for name in ("dag_id", "run_id", "task_id")}}
    )
    browser.refresh(site)
    browser.await_(lambda: "Customers" not in browser.names("running"))
    assert "sync_customers" in browser.one("#ended tbody tr").text
    assert browser.run("return document.activeElement.closest('#running tbody') !== null")


def test_page_tells_a_screen_reader_only_what_is_new(browser: Browser, site: Site) -> None:
    site.syncs["refresh_seconds"] = 1
    browser.open(site.page)
    browser.await_(lambda: "12 running, 2 of them late." in (browser.run("return said.textContent")))
    browser.run("said.textContent = 'read out'")
    asked = len(site.asked)
    site.await_question(asked + 1)
    assert browser.run("return said.textContent") == "read out"
    site.syncs["running"][0]["late"] = False
    browser.await_(lambda: "12 running, 1 of them late." in browser.run("return said.textContent"))


def test_page_searches_filters_and_sorts_and_a_link_shows_the_same(browser: Browser, site: Site) -> None:
    browser.open(site.page)
    browser.one("input[name=q]").send_keys("hubspot DEALS")
    browser.await_(lambda: browser.names("ended") == ["Deals"])
    assert "None of 12 fits" in browser.one("#running-empty").text
    browser.one("[data-clear]").click()
    assert len(browser.names("running")) == 12
    browser.one("select[name=dag]").send_keys("shop_nightly")
    browser.await_(lambda: browser.names("running") == ["Orders", "Customers"])
    browser.one("[data-status=late]").click()
    assert browser.names("running") == ["Orders"]
    assert browser.one("[data-status=late]").get_attribute("aria-pressed") == "true"
    browser.one("[data-status=late]").click()
    for direction in ("descending", "ascending", "none", "descending"):
        head = browser.one("#running thead [data-column=rows] button")
        head.send_keys(Keys.ENTER)
        assert browser.one("#running thead [data-column=rows]").get_attribute("aria-sort") == direction
    browser.one("#ended thead [data-column=connection] button").send_keys(Keys.SPACE)
    link = browser.chrome.current_url
    assert link.partition("#")[2] == "dag=shop_nightly&sort=-rows&ended=connection"
    shown = browser.names("running"), browser.names("ended")
    assert shown == (["Orders", "Customers"], ["Returns", "Stock"])
    browser.open(link)
    browser.await_(lambda: (browser.names("running"), browser.names("ended")) == shown)
    assert browser.one("select[name=dag]").get_attribute("value") == "shop_nightly"
    assert browser.one("#running thead [data-column=rows]").get_attribute("aria-sort") == "descending"
    # What a user wants to see stays when there is something new.
    browser.refresh(site)
    assert (browser.names("running"), browser.names("ended")) == shown


def test_page_sorts_what_is_not_known_last_either_way(browser: Browser, site: Site) -> None:
    site.syncs["running"] = [page_data.running(number, rows=rows) for number, rows in enumerate((None, 20, 3))]
    for number, each in enumerate(site.syncs["running"]):
        each |= {"task_id": f"t{number}", "connection_name": f"c{number}"}
    for sort, names in (("rows", ["c2", "c1", "c0"]), ("-rows", ["c1", "c2", "c0"])):
        browser.open(f"{site.page}#sort={sort}")
        browser.await_(lambda names=names: browser.names("running") == names)


def test_page_with_two_thousand_syncs_shows_some_and_finds_all(browser: Browser, site: Site) -> None:
    site.syncs = page_data.many(2000)
    browser.open(site.page)
    assert browser.one("#running-count").text == "2,000"
    # What a browser has to lay out does not grow with what there is.
    assert browser.run("return document.querySelectorAll('*').length") < 5000
    shown = len(browser.names("running"))
    assert shown == 50
    browser.one(".more button").click()
    assert len(browser.names("running")) == 100
    assert browser.run("return document.activeElement.closest('tr').sectionRowIndex") == shown
    browser.one("input[name=q]").send_keys("sync_17")
    browser.await_(lambda: "111 of 2,000" in browser.one("#running-count").text)
    browser.one("input[name=q]").send_keys("77")
    browser.await_(lambda: browser.names("running") == ["Connection 1777"])


@pytest.mark.parametrize(
    ("status", "body", "what", "todo"),
    [
        (401, None, "not logged in", "Log in to Airflow, then refresh"),
        (403, None, "does not let you see this", "log in again"),
        (500, None, "has failed (status 500)", "asked again by itself"),
        (200, "<html>", "not what it should be", "reload the page"),
        (0, None, "does not answer", "asked again by itself"),
    ],
    ids=["not logged in", "no right", "broken", "no JSON", "no answer"],
)
def test_page_says_what_is_wrong_and_keeps_what_it_has(
    browser: Browser, site: Site, status: int, body: str | None, what: str, todo: str
) -> None:
    site.status, site.body = status, body
    browser.open(site.page)
    told = browser.one("#trouble").text
    assert what in told
    assert todo in told
    assert not browser.one("main").text.count("Orders")
    site.status, site.body = 200, None
    browser.refresh(site)
    browser.await_(lambda: "Orders" in browser.names("running"))
    assert not browser.all("#trouble")[0].is_displayed()
    site.status, site.body = status, body
    browser.refresh(site)
    assert "What you see is of 04:12:39" in browser.one("#trouble", what).text
    assert browser.one("#updated.old")
    assert "Orders" in browser.names("running")
    if status in (401, 403):
        login = browser.one("#trouble a").get_attribute("href") or ""
        assert login.startswith(f"{site.url}{BASE}/api/v2/auth/login?next=")


def test_page_asks_nothing_while_nobody_looks(browser: Browser, site: Site) -> None:
    site.syncs["refresh_seconds"] = 1
    browser.open(site.page)
    browser.one("#running tbody tr")
    here = browser.chrome.current_window_handle
    site.await_question(len(site.asked))
    browser.run(
        "Object.defineProperty(document, 'hidden', {get: () => window.away, configurable: true}); window.away = true;"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    # Whatever was asked before is answered.
    browser.await_(lambda: not browser.one("#refresh").get_attribute("aria-disabled"))
    asked = len(site.asked)
    # Longer than between two questions, by the page's own clock.
    browser.chrome.execute_async_script("setTimeout(arguments[0], 2500)")
    assert len(site.asked) == asked
    browser.run("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    site.await_question(asked)
    assert browser.chrome.current_window_handle == here


def test_page_says_so_if_there_is_nothing(browser: Browser, site: Site) -> None:
    site.syncs = page_data.syncs(health=[])
    browser.open(site.page)
    assert "No task waits for a sync at present" in browser.one("#running-empty").text
    assert "No sync has ended in the last 24 hours" in browser.one("#ended-empty").text
    assert "No triggerer asks an Airbyte" in browser.one("#health-none").text
    assert not [each for each in browser.all("[data-clear]") if each.is_displayed()]


def test_page_folds_what_is_well_when_that_is_much(browser: Browser, site: Site) -> None:
    site.syncs["health"] += [page_data.health(triggerer=f"triggerer-{number}") for number in range(2, 9)]
    browser.open(site.page)
    assert "8 others, all reachable" in browser.one(".health summary").text
    assert [each.text.split()[0] for each in browser.all(".health-line") if each.is_displayed()] == ["airbyte_eu"]
    site.syncs["health"][0] |= {"stale": True, "written_at": page_data.moment(600)}
    browser.refresh(site)
    assert "No word from the triggerer" in browser.one(".health-line.bad", "airbyte_default").text


def test_page_follows_the_system_and_in_a_frame_airflow(browser: Browser, site: Site) -> None:
    browser.open(site.page)
    browser.one("#running tbody tr")
    light = browser.colour()
    browser.prefer(dark=True)
    dark = browser.colour()
    assert light == "rgb(255, 255, 255)"
    assert dark != light
    # Airflow's is light, whatever the system prefers.
    browser.open(site.framed, dark=True)
    browser.chrome.switch_to.frame(0)
    browser.one("#running tbody tr")
    assert browser.colour() == "rgb(255, 255, 255)"
    assert browser.colour(what="colorScheme") == "light"
    browser.run("parent.document.documentElement.className = 'dark'")
    browser.await_(lambda: browser.colour() == "rgb(24, 28, 38)")
    assert browser.colour(what="color") == "rgb(250, 250, 252)"
    assert browser.colour(what="colorScheme") == "dark"


def test_page_in_airflows_frame_leads_out_and_is_remembered_in_its_address(browser: Browser, site: Site) -> None:
    browser.open(site.framed)
    browser.chrome.switch_to.frame(0)
    browser.one("[data-status=late]").click()
    browser.await_(lambda: browser.names("running") == ["Orders", "Tickets"])
    browser.chrome.switch_to.default_content()
    link = browser.chrome.current_url
    assert link == f"{site.framed}#status=late"
    browser.open(link)
    browser.chrome.switch_to.frame(0)
    browser.await_(lambda: browser.names("running") == ["Orders", "Tickets"])
    browser.one("#running tbody a", "sync_orders").click()
    browser.chrome.switch_to.default_content()
    browser.await_(lambda: f"{BASE}/dags/shop_nightly/runs/" in browser.chrome.current_url)
    assert browser.chrome.title == "Airflow's own"


def test_page_can_be_used_with_the_keyboard_alone(browser: Browser, site: Site) -> None:
    browser.open(site.page)
    browser.one("#running tbody tr")
    reached = []
    for _ in range(30):
        browser.chrome.switch_to.active_element.send_keys(Keys.TAB)
        focused = browser.run(
            "const it = document.activeElement, ring = getComputedStyle(it);"
            "return [it.name || it.textContent.trim(), ring.outlineStyle, it.getBoundingClientRect().height]"
        )
        assert focused[1] != "none", focused
        reached.append(focused[0])
    for name in ("Refresh", "q", "dag", "connection", "status", "airbyte", "Duration", "sync_orders"):
        assert name in reached
    long = browser.one("#ended button.reason")
    before = long.size["height"]
    long.send_keys(Keys.ENTER)
    assert long.get_attribute("aria-expanded") == "true"
    assert long.size["height"] > before
    browser.refresh(site)
    assert long.get_attribute("aria-expanded") == "true"


def test_page_fits_a_phone(browser: Browser, site: Site) -> None:
    browser.open(site.page, size=PHONE)
    card = browser.one("#running tbody tr")
    assert not browser.is_too_wide()
    assert not browser.one("#running").find_element(By.TAG_NAME, "thead").is_displayed()
    assert card.size["width"] > 300
    browser.one(".sort-choice select").send_keys("Connection, A to Z")
    browser.await_(lambda: browser.names("running")[0] == "Ad spend")
    site.sync = page_data.sync(page_data.running(0))
    browser.open(site.tab(), size=PHONE)
    browser.one("#streams tbody tr")
    assert not browser.is_too_wide()


def test_tab_tells_the_story_the_attempts_and_the_streams(browser: Browser, site: Site) -> None:
    site.sync = page_data.sync(page_data.running(0), streams=130)
    browser.open(site.tab("dag_id=d&run_id=manual__2026-11-30T00:00:00+00:00&task_id=t&map_index={MAP_INDEX}"))
    assert browser.one("h1").text == "Orders"
    assert "Late by 27 min" in browser.one(".standing").text
    assert "Airbyte made job 4700." in browser.one("#story").text
    assert "The source closed the connection." in browser.one("#attempts").text
    assert "16,000,000" in browser.one("#streams tbody tr").text
    assert browser.one("#streams-count").text == "130"
    # As Airflow 3.1 writes it: what a plus may be, the server has to find out.
    assert "run_id=manual__2026-11-30T00:00:00+00:00&" in site.asked[-1]
    browser.one("#streams [data-column=name] button").click()
    assert browser.texts("#streams tbody .name")[0] == "customers"
    site.sync = page_data.sync(page_data.ended(41, ENDED[1]), ended=True, streams=0, attempts=[], story=[])
    browser.refresh(site)
    browser.await_(lambda: browser.one("h1").text == "Invoices")
    assert "token has expired" in browser.one("#reason").text
    assert "None is known yet" in browser.one("#attempts-empty").text
    assert browser.one("#streams-empty")


def test_tab_says_so_if_the_task_is_none_of_these(browser: Browser, site: Site) -> None:
    browser.open(site.tab())
    assert "waits for no Airbyte sync" in browser.one("#not-ours").text
    site.status = 404
    browser.open(site.tab())
    assert "knows no such task instance" in browser.one("#trouble").text


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_page_and_tab_keep_nobody_out(browser: Browser, site: Site, pictures: Path, dark: bool) -> None:
    site.sync = page_data.sync(page_data.running(0))
    # How wide it is changes no colour.
    for size in (WIDE,) if dark else (WIDE, PHONE):
        browser.open(site.page, size=size, dark=dark)
        browser.one("#running tbody tr")
        assert browser.barriers() == []
        browser.open(site.tab(), size=size, dark=dark)
        browser.one("#streams tbody tr")
        assert browser.barriers() == []
    site.status = 401
    browser.open(site.page, dark=dark)
    browser.one("#trouble")
    assert browser.barriers() == []
    site.status = 200
    # For the documentation: both tables at once.
    del site.syncs["running"][5:-2]
    browser.open(site.page, size=(1240, 860), dark=dark)
    browser.one("#running tbody tr")
    browser.chrome.save_screenshot(str(pictures / f"page-{'dark' if dark else 'light'}.png"))
    if not dark:
        browser.open(site.tab(), size=(1000, 760))
        browser.one("#streams tbody tr")
        browser.chrome.save_screenshot(str(pictures / "sync-tab.png"))
