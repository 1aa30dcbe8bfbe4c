"""Airbyte's API, without Airflow."""
