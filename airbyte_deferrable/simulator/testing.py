"""A pytest fixture for tests of your own DAGs.

Import it into a ``conftest.py``, or name this module there in ``pytest_plugins``::

    pytest_plugins = ["airbyte_deferrable.simulator.testing"]
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airbyte_deferrable.simulator.simulator import Simulator


@pytest.fixture
def airbyte_simulator() -> Iterator[Simulator]:
    """Yield an Airbyte of its own for each test, on a free port of the loopback, gone after the test."""
    with Simulator() as simulator:
        yield simulator
