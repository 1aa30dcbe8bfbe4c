"""What Airflow asks a provider package about itself.

Airflow calls :func:`get_provider_info` while it is still reading its own configuration, so this module
imports nothing but the standard library.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from airbyte_deferrable import __version__
from airbyte_deferrable._preload import preload_before_forks

OFFICIAL_PROVIDER = "apache-airflow-providers-airbyte"
INTEGRATION = "Airbyte (deferrable)"

#: How the connection form shows Airflow's own fields.
FIELD_BEHAVIOUR: dict[str, Any] = {
    # The port is shown because Airflow 3.3.2's Test button fails without one (apache/airflow#73298).
    "hidden-fields": [],
    "relabeling": {
        "host": "Server URL",
        "port": "Port",
        "schema": "Token URL",
        "login": "Client ID",
        "password": "Client Secret",
    },
    "placeholders": {
        "host": "https://airbyte.example.com/api/public/v1",
        "port": "only used if the Server URL has no path",
        "schema": "v1/applications/token",
        "login": "empty if Airbyte runs without authentication",
        "extra": '{"timeout": 30}',
    },
}


def _field(label: str, kind: str, help_text: str, **more: Any) -> dict[str, Any]:
    return {"label": label, "schema": {"type": [kind, "null"], **more}, "description": help_text}


#: What the form asks beside them; each is stored in the connection's Extra.
FORM_FIELDS: dict[str, Any] = {
    "auth": _field(
        "Authentication",
        "string",
        "Automatic: client credentials if Client ID and Client Secret are filled in, none otherwise. With a bearer "
        "token, the Client Secret is the token.",
        enum=["client_credentials", "bearer", "basic", "none", None],
        # Airflow's drop-down looks a label up by the value as text, and shows "null" where there is none.
        values_display={
            "null": "automatic",
            "client_credentials": "client credentials",
            "bearer": "bearer token",
            "basic": "basic",
            "none": "none",
        },
    ),
    "timeout": _field("Request timeout", "number", "Seconds for one request. Default: 30."),
    "create_timeout": _field("Create timeout", "number", "Seconds for the request that starts a job. Default: 300."),
    "max_requests": _field("Requests at once", "integer", "To this Airbyte, from one process. Default: 4."),
    "verify": _field("Verify TLS certificate", "boolean", "Default: yes.", default=True),
    "ca_file": _field("CA file", "string", "A file with the certificates to trust instead of the system's."),
    "proxies": _field(
        "Proxy", "string", "A proxy's URL, for example http://proxy:3128. Default: the environment's (HTTPS_PROXY)."
    ),
    "headers": _field("Headers", "object", 'Sent with every request, as JSON: {"X-Team": "data"}.'),
    "config_url": _field(
        "Config API URL",
        "string",
        "Tells why a job failed. Default: derived from the Server URL. 'false' to do without.",
    ),
    "web_url": _field("Web app URL", "string", "For links. Default: derived from the Server URL."),
}


def _setting(description: str, default: str | None, kind: str = "boolean") -> dict[str, Any]:
    return {
        "description": f"{description}\n",
        "type": kind,
        "default": default,
        "example": None,
        "version_added": __version__,
    }


#: What `airflow.cfg` may say of us: `airflow config list --include-descriptions` shows it.
SETTINGS: dict[str, dict[str, Any]] = {
    "page": _setting("The page of all syncs, and what is written for it. Airflow 3.1 and later.", "True"),
    "push_streams": _setting("Leave the XCom streams, for tasks that do not say: what was moved of each.", "False"),
    "dataset_names": _setting(
        "Other names for tables: a JSON object of beginnings of URIs, or the path of a function.", None, "string"
    ),
    "token_cache": _setting("Leave the token of one leg to the next one on the same machine.", "True"),
    "preload": _setting("Load what tasks import before they are forked.", "True"),
    "gc_freeze": _setting("Keep the pauses of the garbage collector in a triggerer short.", "True"),
}

#: How OpenLineage knows the tables that tasks tell of as assets. Airflow reads providers in the order of their names,
#: so that the official one of a system has the last word on its URIs.
ASSET_URIS: list[dict[str, Any]] = [
    {
        "schemes": [
            "airbyte",
            "bigquery",
            "databricks",
            "gs",
            "mssql",
            "mysql",
            "postgres",
            "redshift",
            "s3",
            "snowflake",
            "wasbs",
        ],
        "handler": None,
        "to_openlineage_converter": "airbyte_deferrable.lineage.openlineage.to_openlineage",
    }
]


def get_provider_info() -> dict[str, Any]:
    """Describe the package as Airflow's provider schema wants it.

    The connection type ``airbyte`` is declared only where the official provider is absent: Airflow gives a
    type to the first package in alphabetical order, which would be ours, and the official form and
    ``get_hook()`` would silently change for DAGs that still use it.

    Every component of Airflow calls this at its start, so this is also where the processes that fork tasks are known.
    """
    preload_before_forks()
    info: dict[str, Any] = {
        "package-name": "airbyte-deferrable",
        "name": "Airbyte (deferrable)",
        "description": "Airbyte syncs that hold no worker slot.",
        "versions": [__version__],
        "integrations": [
            {"integration-name": INTEGRATION, "external-doc-url": "https://airbyte.com/", "tags": ["service"]}
        ],
        **{
            kind: [{"integration-name": INTEGRATION, "python-modules": [f"airbyte_deferrable.{kind}"]}]
            for kind in ("operators", "sensors", "hooks", "triggers")
        },
        "config": {"airbyte_deferrable": {"description": "Airbyte (deferrable).\n", "options": SETTINGS}},
        "extra-links": ["airbyte_deferrable.links.AirbyteJobLink"],
        # Airflow 2 has datasets.
        "asset-uris": ASSET_URIS,
        "dataset-uris": ASSET_URIS,
    }
    if not _official_provider_installed():
        info["connection-types"] = [
            {
                "connection-type": "airbyte",
                "hook-name": "Airbyte",
                "hook-class-name": "airbyte_deferrable.hooks.AirbyteHook",
                "ui-field-behaviour": FIELD_BEHAVIOUR,
                "conn-fields": FORM_FIELDS,
            }
        ]
    return info


def _official_provider_installed() -> bool:
    try:
        version(OFFICIAL_PROVIDER)
    except PackageNotFoundError:
        return False
    return True
