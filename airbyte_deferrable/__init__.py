"""Airbyte syncs in Apache Airflow that hold no worker slot."""

__version__ = "0.1.0"
