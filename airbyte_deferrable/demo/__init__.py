"""A whole Airflow on this machine, many Airbyte syncs, two worker slots: ``python -m airbyte_deferrable.demo``.

:mod:`~airbyte_deferrable.demo.airflow` starts and stops a real Airflow of any supported version; the end-to-end
tests and the benchmarks use it too. The rest watches a DAG run and draws what it saw.
"""
