"""A whole Airflow on this machine, many Airbyte syncs, two worker slots: ``python -m demo``.

It starts them, watches a DAG run and draws what it saw.
"""
