"""What the package promises about crashes, put to the proof: ``python -m chaos``.

A whole Airflow (CeleryExecutor, two workers, two triggerers, PostgreSQL, Redis) runs many syncs, and every part of it,
and the simulated Airbyte too, is killed with ``kill -9`` in the middle of them. In the end there has to be exactly one
Airbyte job for each task: none lost, none twice, none cancelled, none left behind.
"""
