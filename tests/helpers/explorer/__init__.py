"""Every step between a task and the outside, harmed: what becomes of its jobs?

A case is a scenario (``scenarios.py``), and what happens at one of its steps, or at several in turn (``cases.py``): the
process dies, the call fails, a user clears or marks the task, the triggerer stops, Airflow takes a worker for dead
that is not. Then Airflow goes on as it would, to the end (``airflow.py``), and all jobs are accounted for
(``accounting.py``). The operator, its sensor, their triggers and the simulator's HTTP are real; what Airflow does
around a task is a model of its rules.

Which steps there are is not written down anywhere: a scenario is run once unharmed, and they are taken down.
"""
