"""A job's streams by the dataset that they have in common: users may let two streams fill one table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from airbyte_deferrable.lineage.model import Dataset, JobStream, Side


@dataclass(frozen=True)
class DatasetStreams:
    """A dataset, and the streams that are read from it or written to it.

    :param dataset: Its name.
    :param streams: One or more, in Airbyte's order.
    """

    dataset: Dataset
    streams: tuple[JobStream, ...]

    @property
    def moved(self) -> bool:
        """Whether any row was written."""
        return any(stream.moved for stream in self.streams)

    @property
    def rows(self) -> int | None:
        """Rows that it took of all streams; None if one of them does not tell."""
        return _sum((stream.moved, stream.rows_committed) for stream in self.streams)

    @property
    def bytes(self) -> int | None:
        """Likewise bytes."""
        return _sum((stream.moved, stream.bytes_committed) for stream in self.streams)


def by_dataset(streams: Iterable[JobStream], side: Side) -> list[DatasetStreams]:
    """Return the datasets at one end of streams, each once, in the order of the streams.

    :param streams: Those whose dataset is not known are left out.
    """
    found: dict[tuple[str, str], tuple[Dataset, list[JobStream]]] = {}
    for stream in streams:
        dataset = stream.source if side == "source" else stream.destination
        if dataset is not None:
            found.setdefault((dataset.namespace, dataset.name), (dataset, []))[1].append(stream)
    return [DatasetStreams(dataset, tuple(those)) for dataset, those in found.values()]


def _sum(figures: Iterable[tuple[bool, int | None]]) -> int | None:
    # Of a stream that had nothing Airbyte tells nothing.
    known = [figure for moved, figure in figures if moved or figure is not None]
    return sum(each for each in known if each is not None) if known and None not in known else None
