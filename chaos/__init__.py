"""What the package promises about crashes and kills, put to the proof: ``python -m chaos``.

A whole Airflow (CeleryExecutor, two workers, two triggerers, PostgreSQL, Redis) runs many syncs, and every part of it,
and the simulated Airbyte too, is killed with ``kill -9`` in the middle of them. Meanwhile users clear tasks, mark them,
and start syncs of the same connections. In the end each of Airbyte's jobs has to be explained: it is what its task
wanted, or was cancelled on a user's behalf, or is left by a documented rule. None is lost, none is there twice, and
nobody else's is cancelled.
"""
