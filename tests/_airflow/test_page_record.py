"""Texts for the page: each small enough to be kept, and each readable by itself."""

from __future__ import annotations

import random
import string

import pytest

from airbyte_deferrable._airflow.page_record import (
    LARGEST,
    LONGEST_TROUBLE,
    Health,
    JobFacts,
    Told,
    read,
    texts_of_names,
    texts_of_waits,
    trouble,
)

HEAD = Told("host", "process", ("airbyte_default",), 1000.0, Health(waiting=3, trouble="GET /jobs: HTTP 503."))
#: A seed, so that it is the same each time.
CHANCE = random.Random(16)


def noise(length: int) -> str:
    """Return a text that cannot be compressed."""
    return "".join(CHANCE.choices(string.ascii_letters + "äöü→", k=length))


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 3000])
def test_all_jobs_are_told_in_texts_that_can_be_kept(count: int) -> None:
    jobs = [JobFacts(each, noise(36), "running", 1e9, each, each, 1.5, 2.5, 1e9, 1) for each in range(count)]
    texts = texts_of_waits(HEAD, jobs)
    assert all(len(text) <= LARGEST for text in texts)
    told = [read(text) for text in texts]
    assert [each for text in told if text is not None for each in text.jobs] == jobs
    # The first says how the wait does, also where nothing is told of a job.
    assert [text.health if text else None for text in told] == [HEAD.health, *[None] * (len(texts) - 1)]


def test_names_are_cut_and_told() -> None:
    names = {noise(36): (noise(300), noise(300), noise(300)) for _ in range(1000)}
    texts = texts_of_names(HEAD, names)
    assert len(texts) > 2
    assert all(len(text) <= LARGEST for text in texts)
    told = {key: value for text in texts if (one := read(text)) is not None for key, value in one.names.items()}
    assert told.keys() == names.keys()
    assert all(len(part) == 120 for parts in told.values() for part in parts)


def test_two_thousand_jobs_are_a_few_texts() -> None:
    jobs = [
        JobFacts(each, f"a1b7e000-0000-4000-8000-{each:012}", "running", 1e9 + each, 7 * each, 9 * each, 1.5, 2.5, 1e9)
        for each in range(2000)
    ]
    assert len(texts_of_waits(HEAD, jobs)) == 4


def test_trouble_is_cut() -> None:
    assert len(trouble("x" * 5000)) == LONGEST_TROUBLE
    assert trouble("short") == "short"


@pytest.mark.parametrize("text", ["", "1:", "2:x", "1:%%%", '{"host": 1}'])
def test_text_that_is_none_is_nothing(text: str) -> None:
    assert read(text) is None
