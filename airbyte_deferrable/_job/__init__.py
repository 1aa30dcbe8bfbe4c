"""The life of one Airbyte job, without Airflow."""
