"""What tables are called, by connector, against OpenLineage's own helpers where it has them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openlineage.client.naming import dataset as openlineage

from airbyte_deferrable.lineage.actor import Actor, Table
from airbyte_deferrable.lineage.asset_events import Asset
from airbyte_deferrable.lineage.model import Side
from airbyte_deferrable.lineage.naming import dataset, landing_namespace
from airbyte_deferrable.lineage.uris import dataset_of_uri

MASK = "**********"
DATABASE: dict[str, Any] = {"host": "db.example.com", "port": 5000, "database": "Shop", "password": MASK}


def files(*globs: str, name: str = "orders") -> list[dict[str, Any]]:
    return [{"name": name, "globs": list(globs)}]


#: Side, type, settings, namespace, table, and what OpenLineage calls it.
TABLES: list[tuple[Side, str, dict[str, Any], str, str, Any]] = [
    ("source", "postgres", DATABASE, "public", "orders",
     openlineage.Postgres("db.example.com", "5000", "Shop", "public", "orders")),
    ("source", "postgres", {**DATABASE, "schemas": ["sales"]}, "", "orders",
     openlineage.Postgres("db.example.com", "5000", "Shop", "sales", "orders")),
    ("source", "postgres", {"host": "DB.example.com", "database": "shop"}, "", "orders",
     openlineage.Postgres("db.example.com", "5432", "shop", "public", "orders")),
    ("destination", "postgres", {**DATABASE, "schema": "raw"}, "", "Ordérs 2",
     openlineage.Postgres("db.example.com", "5000", "Shop", "raw", "orders_2")),
    ("source", "mysql", {**DATABASE, "port": 3306}, "shop", "orders",
     openlineage.MySQL("db.example.com", "3306", "shop", "orders")),
    ("destination", "mysql", {**DATABASE, "port": 3306}, "", "orders",
     openlineage.MySQL("db.example.com", "3306", "Shop", "orders")),
    ("source", "redshift", {**DATABASE, "host": "shop.abc123.eu-west-1.redshift.amazonaws.com"}, "", "orders",
     openlineage.Redshift("shop", "eu-west-1", "5000", "Shop", "public", "orders")),
    ("destination", "redshift", {**DATABASE, "host": "wg.123456789012.us-east-1.redshift-serverless.amazonaws.com"},
     "Sales", "Orders", openlineage.Redshift("wg", "us-east-1", "5000", "Shop", "sales", "orders")),
    ("destination", "snowflake", {"host": "acme-prod.snowflakecomputing.com", "database": "wh", "schema": "raw"}, "",
     "Orders-2", openlineage.Snowflake("acme", "prod", "WH", "RAW", "ORDERS-2")),
    ("source", "snowflake", {"host": "acme-prod.snowflakecomputing.com", "database": "wh"}, "raw", "Orders",
     openlineage.Snowflake("acme", "prod", "wh", "raw", "Orders")),
    ("source", "bigquery", {"project_id": "p", "dataset_id": "d"}, "", "orders",
     openlineage.BigQuery("p", "d", "orders")),
    ("destination", "bigquery", {"project_id": "p", "dataset_id": "p:d"}, "", "Orders",
     openlineage.BigQuery("p", "d", "Orders")),
    ("destination", "bigquery", {"project_id": "p", "dataset_id": "d"}, "1st", "2nd",
     openlineage.BigQuery("p", "1st", "2nd")),
    ("destination", "bigquery", {"project_id": "p", "dataset_id": "d", "stream_configurations": [
        {"stream_name": "orders", "destination_dataset": "own", "destination_table": "mine", "table_suffix": "_v2"}]},
     "", "orders", openlineage.BigQuery("p", "own", "mine_v2")),
    ("source", "s3", {"bucket": "b"}, "", "orders", openlineage.S3("b", "orders")),
    ("destination", "s3", {"s3_bucket_name": "b", "s3_bucket_path": "raw/x"}, "shop", "orders",
     openlineage.S3("b", "raw/x/shop/orders")),
    ("destination", "s3", {"s3_bucket_name": "b", "s3_bucket_path": "raw",
                           "s3_path_format": "${STREAM_NAME}/${YEAR}/${MONTH}"}, "shop", "orders",
     openlineage.S3("b", "raw/orders")),
    ("destination", "s3-data-lake", {"warehouse_location": "s3://lake/wh/", "main_branch_namespace": "x"}, "shop",
     "orders", openlineage.S3("lake", "wh/shop/orders")),
    ("destination", "gcs", {"gcs_bucket_name": "b", "gcs_bucket_path": "raw"}, "shop", "orders",
     openlineage.GCS("b", "raw/shop/orders")),
    ("destination", "azure-blob-storage", {"azure_blob_storage_account_name": "acc",
                                           "azure_blob_storage_container_name": "cont"}, "shop", "orders",
     openlineage.WASBS("cont", "acc", "shop/orders")),
    # What is the same for all files of a stream.
    ("source", "s3", {"bucket": "b", "streams": files("raw/x/**/*.csv")}, "", "orders", openlineage.S3("b", "raw/x")),
    ("source", "s3", {"bucket": "b", "streams": files("raw/x/a*", "raw/y/*")}, "", "orders",
     openlineage.S3("b", "raw")),
    ("source", "s3", {"bucket": "b", "streams": files("raw/orders.csv")}, "", "orders",
     openlineage.S3("b", "raw/orders.csv")),
    ("source", "s3", {"bucket": "b", "streams": files("**")}, "", "orders", openlineage.S3("b", "/")),
    ("source", "s3", {"bucket": "b", "streams": files("x/*", name="other")}, "", "orders",
     openlineage.S3("b", "orders")),
    ("source", "gcs", {"bucket": "b", "streams": files("raw/2026-??/*")}, "", "orders", openlineage.GCS("b", "raw")),
    ("source", "azure-blob-storage", {"azure_blob_storage_account_name": "acc",
                                      "azure_blob_storage_container_name": "cont", "streams": files("in/{a,b}/*")},
     "", "orders", openlineage.WASBS("cont", "acc", "in")),
    # A lake's namespace is in its catalog.
    ("destination", "s3-data-lake", {"warehouse_location": "s3://lake/wh", "catalog_type": {
        "catalog_type": "NESSIE", "namespace": "Raw"}}, "", "Orders", openlineage.S3("lake", "wh/Raw/Orders")),
    ("destination", "s3-data-lake", {"warehouse_location": "s3://lake/wh", "catalog_type": {
        "catalog_type": "GLUE", "database_name": "Raw"}}, "", "Big Orders",
     openlineage.S3("lake", "wh/raw.db/big_orders")),
    ("destination", "gcs-data-lake", {"warehouse_location": "gs://lake/wh", "catalog_type": {
        "catalog_type": "BIGLAKE", "database_name": "raw"}}, "", "orders", openlineage.GCS("lake", "wh/raw/orders")),
    ("destination", "s3-glue", {"s3_bucket_name": "b", "s3_bucket_path": "raw"}, "shop", "orders",
     openlineage.S3("b", "raw/shop/orders")),
    # Only raw tables.
    ("destination", "postgres", {**DATABASE, "schema": "Sales", "disable_type_dedupe": True}, "", "Orders",
     openlineage.Postgres("db.example.com", "5000", "Shop", "airbyte_internal", "sales_raw__stream_orders")),
    ("destination", "snowflake", {"host": "acme-prod.snowflakecomputing.com", "database": "wh", "schema": "Sales",
                                  "raw_data_schema": "Raw", "disable_type_dedupe": True}, "", "my__orders",
     openlineage.Snowflake("acme", "prod", "WH", "Raw", "Sales_raw___stream_my__orders")),
    ("destination", "bigquery", {"project_id": "p", "dataset_id": "p:d", "disable_type_dedupe": True}, "", "orders",
     openlineage.BigQuery("p", "airbyte_internal", "d_raw__stream_orders")),
    # The newest releases keep the case of names.
    ("destination", "postgres", {**DATABASE, "schema": "Sales", "cdc_deletion_mode": "Hard delete"}, "", "Orders 2",
     openlineage.Postgres("db.example.com", "5000", "Shop", "Sales", "Orders_2")),
    ("destination", "postgres", {**DATABASE, "schema": "Sales"}, "", "Orders",
     openlineage.Postgres("db.example.com", "5000", "Shop", "sales", "orders")),
]  # fmt: skip

#: Those for which OpenLineage has a rule and no helper, and those for which it has none.
OTHERS: list[tuple[Side, str, dict[str, Any], str, str, tuple[str, str]]] = [
    ("source", "mssql", {**DATABASE, "port": "1433"}, "", "orders",
     ("mssql://db.example.com:1433", "Shop.dbo.orders")),
    ("destination", "databricks", {"hostname": "x.cloud.databricks.com", "database": "main", "schema": "Raw"}, "", "Or",
     ("databricks://x.cloud.databricks.com", "main.raw.or")),
    ("destination", "databricks", {"databricks_server_hostname": "x.net", "database_schema": "raw"}, "", "orders",
     ("databricks://x.net", "hive_metastore.raw.orders")),
    ("source", "snowflake", {"host": "xy12345.snowflakecomputing.com", "database": "W"}, "S", "T",
     ("snowflake://xy12345.us-west-1.aws", "W.S.T")),
    ("source", "snowflake", {"host": "xy12345.east-us-2.azure.snowflakecomputing.com", "database": "W"}, "S", "T",
     ("snowflake://xy12345.east-us-2.azure", "W.S.T")),
    ("source", "redshift", {**DATABASE, "host": "10.0.0.1"}, "", "orders",
     ("redshift://10.0.0.1:5000", "Shop.public.orders")),
    ("source", "", DATABASE, "public", "orders", ("airbyte://airbyte.example.com", "the-id/public/orders")),
    ("source", "google-sheets", {}, "", "A sheet", ("airbyte://airbyte.example.com", "the-id/A sheet")),
    # What a rule needs is not told.
    ("source", "postgres", {"host": MASK, "database": "shop"}, "public", "orders",
     ("airbyte://airbyte.example.com", "the-id/public/orders")),
    ("destination", "s3", {"s3_bucket_path": "raw"}, "", "orders", ("airbyte://airbyte.example.com", "the-id/orders")),
    ("destination", "s3-data-lake", {"warehouse_location": "s3://key:secret@lake/wh"}, "", "orders",
     ("airbyte://airbyte.example.com", "the-id/orders")),
]  # fmt: skip


def name_of(side: Side, type_: str, settings: dict[str, Any], namespace: str, table: str) -> Any:
    return dataset(Actor(side, "the-id", type_, settings), Table(namespace, table, table), "airbyte.example.com")


@pytest.mark.parametrize(("side", "type_", "settings", "namespace", "table", "expected"), TABLES)
def test_table_has_openlineages_name(
    side: Side, type_: str, settings: dict[str, Any], namespace: str, table: str, expected: Any
) -> None:
    found = name_of(side, type_, settings, namespace, table)
    assert (found.namespace, found.name) == (expected.get_namespace(), expected.get_name())


@pytest.mark.parametrize(("side", "type_", "settings", "namespace", "table", "expected"), OTHERS)
def test_table_without_a_helper_has_the_documented_name(
    side: Side, type_: str, settings: dict[str, Any], namespace: str, table: str, expected: tuple[str, str]
) -> None:
    found = name_of(side, type_, settings, namespace, table)
    assert (found.namespace, found.name) == expected


@pytest.mark.parametrize(("side", "type_", "settings", "namespace", "table", "expected"), [*TABLES, *OTHERS])
def test_uri_leads_back_to_the_table(
    side: Side, type_: str, settings: dict[str, Any], namespace: str, table: str, expected: Any
) -> None:
    found = name_of(side, type_, settings, namespace, table)
    assert dataset_of_uri(found.uri) == found
    assert found.uri.isascii()
    assert " " not in found.uri


@pytest.mark.parametrize(("side", "type_", "settings", "namespace", "table", "expected"), [*TABLES, *OTHERS])
def test_uri_stays_as_it_is_as_an_assets(
    side: Side, type_: str, settings: dict[str, Any], namespace: str, table: str, expected: Any
) -> None:
    found = name_of(side, type_, settings, namespace, table)
    assert dataset_of_uri(Asset(found.uri).uri.rstrip("/")) == found


def test_azures_own_uri_is_that_of_the_same_table() -> None:
    own = dataset_of_uri("abfss://cont@acc.dfs.core.windows.net/shop/orders")
    assert (own.namespace, own.name) == ("abfss://cont@acc.dfs.core.windows.net", "shop/orders")
    assert dataset_of_uri(Asset(own.uri).uri) == own


@pytest.mark.parametrize(
    ("rule", "form", "own", "expected"),
    [
        ("source", "", "public", "public"),
        ("source", "", "", ""),
        ("destination", "", "public", ""),
        ("custom_format", "raw_${SOURCE_NAMESPACE}", "public", "raw_public"),
        ("customformat", "raw", "public", "raw"),
        ("customformat", "${SOURCE_NAMESPACE}", "", ""),
        ("", "", "public", ""),
    ],
)
def test_namespace_follows_from_the_connections_rule(rule: str, form: str, own: str, expected: str) -> None:
    assert landing_namespace(rule, form, own) == expected


SECRET = "hunter2-s3cret"
#: Where a connector's settings have, or may have, what nobody is to see.
SECRETS = (
    "password", "username", "user", "jdbc_url_params", "credentials_json", "role", "warehouse", "access_key_id",
    "secret_access_key", "private_key", "tunnel_user_password", "ssh_key", "aws_secret_access_key", "http_path",
)  # fmt: skip
TYPES = sorted({row[1] for row in [*TABLES, *OTHERS]})
#: What a host may have around it.
IN_HOST = (
    "postgres://bob:pa#{0}@db.example.com",
    "bob:{0}?{0}@db",
    "{0}:{0}@db.example.com",
    "postgres://{0}@db.example.com/x?password={0}",
    "db?{0}",
)
DISTURBED = ("host", "hostname", "warehouse_location")


@given(
    side=st.sampled_from(["source", "destination"]),
    type_=st.sampled_from(TYPES),
    in_host=st.sampled_from(IN_HOST),
    nested=st.booleans(),
)
def test_no_secret_is_in_a_name(side: Side, type_: str, in_host: str, nested: bool) -> None:
    secrets: dict[str, Any] = dict.fromkeys(SECRETS, SECRET)
    settings: dict[str, Any] = {
        **secrets,
        "database": f"shop?password={SECRET}",
        "schema": f"public;{SECRET}",
        "project_id": "p",
        "dataset_id": "d",
        **dict.fromkeys(DISTURBED, in_host.format(SECRET)),
        "s3_bucket_name": "b",
        "bucket": "b",
    }
    if nested:
        settings["credentials"] = settings["tunnel_method"] = settings["ssl_mode"] = secrets
    found = name_of(side, type_, settings, "", "orders")
    assert SECRET not in repr(found)
