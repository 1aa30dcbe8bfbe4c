"""How tests are shared out among pytest's workers."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

#: Folders whose tests share what takes long to make: a whole Airflow, Airflow's database.
TOGETHER = ("tests/e2e", "tests/docs")


class OneAirflow(LoadFileScheduling):
    """Lets the tests of a file share a worker, and those of some folders.

    xdist's own ``loadgroup``, which is for that, does nothing with pytest 9.2: it writes to a name that pytest does not
    read any more.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return next((folder for folder in TOGETHER if file.startswith(f"{folder}/")), file)
