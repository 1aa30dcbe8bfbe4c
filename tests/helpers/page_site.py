"""A server of the page's files, with answers that a test chooses, below a path as Airflow may have one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Condition, Thread
from urllib.parse import urlsplit

import airbyte_deferrable
from harness.loopback import LOOPBACK

from . import page_data

STATIC = Path(airbyte_deferrable.__file__).parent / "page" / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
#: What the browser finds around the page in Airflow: its theme, and a frame that may not lead out.
AROUND = """<!doctype html>
<html lang="en" class="light" style="color-scheme: light">
<title>Airflow</title>
<style>
  body {{ margin: 0 }} iframe {{ border: 0; width: 100%; height: 100vh }}
  .light {{ --chakra-colors-bg: rgb(255, 255, 255); --chakra-colors-fg: rgb(20, 26, 38) }}
  .dark {{ --chakra-colors-bg: rgb(24, 28, 38); --chakra-colors-fg: rgb(250, 250, 252); background: rgb(24, 28, 38) }}
</style>
<iframe title="Airbyte" src="{page}" sandbox="allow-scripts allow-same-origin allow-forms"></iframe>
"""
BASE = "/some/base"


@dataclass
class Site:
    """What the server answers, and what it was asked.

    :param url: Its address, without what is below it.
    """

    url: str = ""
    syncs: page_data.Json = field(default_factory=page_data.syncs)
    sync: page_data.Json = field(default_factory=lambda: {"ours": False})
    #: Of the answers to the page's questions; 0 for none at all.
    status: int = 200
    #: Instead of JSON.
    body: str | None = None
    asked: list[str] = field(default_factory=list)
    _changed: Condition = field(default_factory=Condition)

    @property
    def page(self) -> str:
        """The page's address, in a tab of its own."""
        return f"{self.url}{BASE}/airbyte/page"

    @property
    def framed(self) -> str:
        """The address of the page inside of something like Airflow's."""
        return f"{self.url}{BASE}/plugin/airbyte"

    def tab(self, query: str = "dag_id=d&run_id=r&task_id=t&map_index={MAP_INDEX}") -> str:
        """Return the address of a task instance's tab."""
        return f"{self.url}{BASE}/airbyte/sync?{query}"

    def answer(self, path: str) -> tuple[int, str, bytes] | None:
        """Return status, type and body for a path below the base; None for no answer."""
        address = urlsplit(path)
        if match := re.fullmatch(r"/airbyte/api/(syncs?)", address.path):
            with self._changed:
                self.asked.append(path)
                self._changed.notify_all()
            if self.status == 0:
                return None
            told = self.syncs if match[1] == "syncs" else self.sync
            text = json.dumps(told if self.status == 200 else {"detail": "no"}) if self.body is None else self.body
            return self.status, "application/json", text.encode()
        if match := re.fullmatch(r"/airbyte/(?:(page|sync)|static/([\w.]+))", address.path):
            file = STATIC / (f"{match[1]}.html" if match[1] else match[2])
            return 200, TYPES[file.suffix], file.read_bytes()
        if address.path == "/plugin/airbyte":
            return 200, "text/html", AROUND.format(page=f"{BASE}/airbyte/page").encode()
        return 200, "text/html", b"<!doctype html><title>Airflow's own</title>"

    def await_question(self, after: int) -> None:
        """Wait until the page has asked more often than that."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.asked) > after, timeout=30), "The page asks no more."


@contextmanager
def serve_page() -> Iterator[Site]:
    """Serve the page, until the block is left."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            below = self.path.removeprefix(BASE)
            answer = site.answer(below)
            if answer is None:
                self.close_connection = True
                return
            status, kind, body = answer
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            if below.startswith("/airbyte/"):
                self.send_header("Content-Security-Policy", POLICY)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        site.url = f"http://{LOOPBACK}:{server.server_port}"
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
