"""The page that a task's button leads to, in place of Airbyte's web app: a connection, and its latest jobs."""

from __future__ import annotations

from datetime import datetime, timezone
from html import escape

from aiohttp import web

from airbyte_deferrable.simulator.records import PUBLIC_TYPES, SECOND, Connection, Job
from airbyte_deferrable.simulator.world import World

#: How many jobs are shown, newest first.
SHOWN = 50
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{name} - simulated Airbyte</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 50rem; color: #1a194d; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .4rem .8rem; border-bottom: 1px solid #dcdce6; }}
.asked {{ background: #edebff; font-weight: 600; }}
</style>
<h1>{name}</h1>
<p>{source} to {destination}. Connection {id} of a simulated Airbyte.</p>
<table><tr><th>Job<th>Type<th>Status<th>Created<th>Rows<th>Bytes</tr>
{rows}
</table>
"""


class WebApp:
    """Answers a browser.

    :param world: What it shows.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    async def timeline(self, request: web.Request) -> web.Response:
        """GET /workspaces/{workspace}/connections/{id}/timeline.

        :param request: Its ``jobId`` names the job that is asked for.
        """
        connection = self._world.connections.get(request.match_info["id"])
        if connection is None or connection.workspace_id != request.match_info["workspace"]:
            return web.Response(status=404, text="This simulated Airbyte has no such connection.")
        now = self._world.settle()
        jobs = [self._world.jobs[job_id] for job_id in reversed(connection.jobs[-SHOWN:])]
        rows = (_row(job, now, asked=str(job.id) == request.query.get("jobId")) for job in jobs)
        return web.Response(text=_page(connection, "\n".join(rows)), content_type="text/html")


def _page(connection: Connection, rows: str) -> str:
    return _PAGE.format(
        name=escape(connection.name),
        source=escape(connection.source_name),
        destination=escape(connection.destination_name),
        id=connection.id,
        rows=rows,
    )


def _row(job: Job, now: int, *, asked: bool) -> str:
    moved = job.progress(now)
    created = datetime.fromtimestamp(job.created / SECOND, timezone.utc)
    counts = [f"{moved.rows:,}", f"{moved.bytes:,}"]
    cells = [job.id, PUBLIC_TYPES[job.kind], job.status, f"{created:%Y-%m-%d %H:%M:%S} UTC", *counts]
    return f"<tr{' class=asked' if asked else ''}>{''.join(f'<td>{cell}' for cell in cells)}</tr>"
