"""Everything that happened, one JSON object a line, so that a killed simulator comes back as it was."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


class Journal:
    """An append-only file; without a path it keeps nothing.

    Each line is handed to the operating system before :meth:`write` returns, so it survives ``kill -9`` of this
    process (not a power cut).

    :param path: The file; made if missing.
    """

    def __init__(self, path: str | Path | None) -> None:
        self._path = Path(path) if path else None
        self._file: IO[str] | None = None

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield what was written, oldest first. A last line that was cut off by a kill is removed."""
        if self._path is None or not self._path.exists():
            return
        good = 0
        with self._path.open("rb") as file:
            for line in file:
                try:
                    record = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    record = None
                if record is None:
                    break
                good += len(line)
                yield record
        with self._path.open("rb+") as file:
            file.truncate(good)

    def write(self, record: dict[str, Any]) -> None:
        """Append one record; dataclasses in it are written as objects.

        :param record: What happened.
        """
        if self._path is None:
            return
        if self._file is None:
            self._file = self._path.open("a", encoding="utf-8")
        self._file.write(json.dumps(record, default=dataclasses.asdict, separators=(",", ":")) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
