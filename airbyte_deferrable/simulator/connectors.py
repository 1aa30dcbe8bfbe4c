"""The kinds of source and destination: what Airbyte calls them, how they are configured, what of that it masks."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["source", "destination"]

MASK = "**********"
#: Stands for each secret in the settings below. Nobody is ever told it.
SECRET = "the simulator's secret"

_TUNNEL = {"ssh_key", "tunnel_user_password"}
_TLS = {"ca_certificate", "client_certificate", "client_key", "client_key_password"}
#: What the connectors' specifications mark as ``airbyte_secret``, wherever it stands in the configuration.
#: ``jdbc_url_params`` is not among it, and can hold credentials.
_SECRETS: dict[str, set[str]] = {
    "postgres": {"password"} | _TUNNEL | _TLS,
    "mysql": {"password"} | _TUNNEL | _TLS,
    "mssql": {"password"} | _TUNNEL,
    "redshift": {"password", "access_key_id", "secret_access_key"} | _TUNNEL,
    "snowflake": {"password", "private_key", "private_key_password"},
    "bigquery": {"credentials_json", "hmac_key_access_id", "hmac_key_secret"},
    "databricks": {"secret", "personal_access_token"},
    "s3": {"access_key_id", "secret_access_key", "aws_access_key_id", "aws_secret_access_key"},
    "faker": set(),
}
_ANY_SECRET = frozenset().union(*_SECRETS.values())

#: ``NameToDefinitionMapper`` of airbyte-platform.
_DEFINITIONS: dict[Kind, dict[str, str]] = {
    "source": {
        "postgres": "decd338e-5647-4c0b-adf4-da0e75f5a750",
        "mysql": "435bb9a5-7887-4809-aa58-28c27df0d7ad",
        "mssql": "b5ea17b1-f170-46dc-bc31-cc744ca984c1",
        "redshift": "e87ffa8e-a3b5-f69c-9076-6011339de1f6",
        "snowflake": "e2d65910-8c8b-40a1-ae7d-ee2416b2bfa2",
        "bigquery": "bfd1ddf8-ae8a-4620-b1d7-55597d2ba08c",
        "s3": "69589781-7828-43c5-9f63-8925b1c1ccc2",
        "faker": "dfd88b22-b603-4c3d-aad7-3701784586b1",
    },
    "destination": {
        "postgres": "25c5221d-dce2-4163-ade9-739ef790f503",
        "mysql": "ca81ee7c-3163-4246-af40-094cc31e5e42",
        "mssql": "d4353156-9217-4cad-8dd7-c108fd4f74cf",
        "redshift": "f7a7d195-377f-cf5b-70a5-be6b819019dc",
        "snowflake": "424892c4-daac-4491-b35d-c6688ba547ba",
        "bigquery": "22f6c74f-5699-40ff-833c-4a879ea40133",
        "databricks": "072d5540-f236-4294-ba7c-ade8fd918496",
        "s3": "4816b78f-1489-44c1-9060-4b19d5fa9362",
    },
}


def _database(host: str, port: int, name: str, user: str = "username", **more: Any) -> dict[str, Any]:
    return {"host": host, "port": port, "database": name, user: "airbyte", "password": SECRET, **more}


#: How one of them may be configured; secrets are masked before they are told.
_CONFIGURATIONS: dict[Kind, dict[str, dict[str, Any]]] = {
    "source": {
        "postgres": _database(
            "shop-db.example.com", 5432, "shop", schemas=["public"], ssl_mode={"mode": "require"}, jdbc_url_params=""
        ),
        "mysql": _database("shop-db.example.com", 3306, "shop", ssl_mode={"mode": "required"}),
        "mssql": _database("shop-db.example.com", 1433, "shop", schemas=["dbo"]),
        "redshift": _database("shop.example.redshift.amazonaws.com", 5439, "shop", schemas=["public"]),
        "snowflake": {
            "host": "example.snowflakecomputing.com",
            "database": "SHOP",
            "warehouse": "AIRBYTE",
            "role": "AIRBYTE",
            "schema": "PUBLIC",
            "credentials": {"auth_type": "username/password", "username": "AIRBYTE", "password": SECRET},
        },
        "bigquery": {"project_id": "example-shop", "dataset_id": "shop", "credentials_json": SECRET},
        "s3": {"bucket": "example-shop", "endpoint": "", "aws_access_key_id": SECRET, "aws_secret_access_key": SECRET},
        "faker": {"count": 1000},
    },
    "destination": {
        "postgres": _database("warehouse-db.example.com", 5432, "warehouse", schema="public"),
        "mysql": _database("warehouse-db.example.com", 3306, "warehouse"),
        "mssql": _database("warehouse-db.example.com", 1433, "warehouse", user="user", schema="dbo"),
        "redshift": _database(
            "warehouse.example.redshift.amazonaws.com",
            5439,
            "warehouse",
            schema="public",
            uploading_method={"method": "S3 Staging", "access_key_id": SECRET, "secret_access_key": SECRET},
        ),
        "snowflake": {
            "host": "example.snowflakecomputing.com",
            "database": "WAREHOUSE",
            "warehouse": "AIRBYTE",
            "role": "AIRBYTE",
            "schema": "PUBLIC",
            "username": "AIRBYTE",
            "credentials": {"auth_type": "Key Pair Authentication", "private_key": SECRET},
        },
        "bigquery": {
            "project_id": "example-warehouse",
            "dataset_id": "warehouse",
            "dataset_location": "EU",
            "credentials_json": SECRET,
            "loading_method": {"method": "Standard"},
        },
        "databricks": {
            "hostname": "example.cloud.databricks.com",
            "http_path": "sql/1.0/warehouses/1",
            "port": "443",
            "database": "warehouse",
            "schema": "default",
            "accept_terms": True,
            "authentication": {"auth_type": "OAUTH", "client_id": "airbyte", "secret": SECRET},
        },
        "s3": {
            "s3_bucket_name": "example-warehouse",
            "s3_bucket_path": "airbyte",
            "s3_bucket_region": "eu-central-1",
            "access_key_id": SECRET,
            "secret_access_key": SECRET,
            "format": {"format_type": "Parquet"},
        },
    },
}


@dataclass(frozen=True)
class Connector:
    """What a source or a destination is made of.

    :param kind: Which of the two.
    :param type: ``postgres``, ``bigquery`` and so on; empty for a connector of one's own, which Airbyte has no name
        for (``SourceReadMapper`` looks it up by the definition's id).
    :param configuration: As it is stored, secrets and all.
    """

    kind: Kind
    type: str
    configuration: Mapping[str, Any]

    @classmethod
    def of(cls, kind: Kind, name: str, type_: str | None, configuration: Mapping[str, Any] | None) -> Connector:
        """Return one; what is left open is made up.

        :param kind: ``source`` or ``destination``.
        :param name: What it is called: a first word that is a type, as in ``Postgres shop``, makes it one of these.
        :param type_: Its type; None to go by the name.
        :param configuration: Its configuration; None for one that fits its type.
        """
        if type_ is None:
            word = name.split()[0].lower() if name.split() else ""
            type_ = word if word in _DEFINITIONS[kind] else {"source": "postgres", "destination": "bigquery"}[kind]
        return cls(kind, type_, _CONFIGURATIONS[kind].get(type_, {}) if configuration is None else configuration)

    @property
    def definition_id(self) -> str:
        """The UUID of its definition: the same for all of a type, in every Airbyte."""
        known = _DEFINITIONS[self.kind].get(self.type)
        return known or str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{self.kind} {self.type}"))

    @property
    def masked(self) -> dict[str, Any]:
        """Its configuration as Airbyte tells it."""
        secrets = _SECRETS.get(self.type, _ANY_SECRET)

        def tell(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {name: MASK if name in secrets and part else tell(part) for name, part in value.items()}
            return [tell(each) for each in value] if isinstance(value, list) else value

        told: dict[str, Any] = tell(self.configuration)
        return told
