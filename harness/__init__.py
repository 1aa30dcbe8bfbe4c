"""What an Airflow needs around it on this machine, each in processes of its own that leave nothing behind.

A real Airflow of any supported release (:mod:`harness.airflow`), PostgreSQL, Redis, Celery's workers, a StatsD server
and a simulated Airbyte. The demo, the chaos run, the benchmarks and the end-to-end tests start them here and nowhere
else. Everything listens on the loopback interface only, and every context manager undoes what it did.
"""
