"""What Airflow asks a provider package about itself.

Airflow calls :func:`get_provider_info` while it is still reading its own configuration, so this module
imports nothing but the standard library.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from airbyte_deferrable import __version__

OFFICIAL_PROVIDER = "apache-airflow-providers-airbyte"


def get_provider_info() -> dict[str, Any]:
    """Describe the package as Airflow's provider schema wants it.

    The connection type ``airbyte`` is declared only where the official provider is absent: Airflow gives a
    type to the first package in alphabetical order, which would be ours, and the official form and
    ``get_hook()`` would silently change for DAGs that still use it.
    """
    info: dict[str, Any] = {
        "package-name": "airbyte-deferrable",
        "name": "Airbyte (deferrable)",
        "description": "Airbyte syncs that hold no worker slot.",
        "versions": [__version__],
    }
    return info


def _official_provider_installed() -> bool:
    try:
        version(OFFICIAL_PROVIDER)
    except PackageNotFoundError:
        return False
    return True
