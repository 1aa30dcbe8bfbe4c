"""Whether this Airflow has the page: it can bring one, and the setting does not say no.

Every process of Airflow asks this at its start, so nothing is imported for it that is not there already.
"""

from __future__ import annotations

import logging

from airflow import __version__ as airflow_version
from airflow.configuration import conf

#: From 3.1 on plugins may bring pages.
CAN_BRING_PAGES = tuple(map(int, airflow_version.split(".")[:2])) >= (3, 1)

log = logging.getLogger(__name__)


def page_is_wanted() -> bool:
    """Tell whether there is to be a page, and whatever is only for it."""
    if not CAN_BRING_PAGES:
        return False
    try:
        return bool(conf.getboolean("airbyte_deferrable", "page", fallback=True))
    except Exception as error:
        # Each Airflow has its own error for a value that is none, and nothing else is to fail by it.
        log.warning("The setting page is taken for True: %s", error)
        return True
