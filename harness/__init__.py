"""What an Airflow needs around it on this machine, each in processes of its own that leave nothing behind.

The demo, the chaos run, the benchmarks and the end-to-end tests start it here and nowhere else:

- :mod:`~harness.airflow`: a whole Airflow of any supported release, with :mod:`~harness.environment` for what it is
  started with, :mod:`~harness.rest` for its REST API and :mod:`~harness.celery` for workers of that kind;
- :mod:`~harness.postgresql`, :mod:`~harness.redis` and :mod:`~harness.simulator`, an Airbyte: each a
  :class:`~harness.server.Server` that can be killed and brought back;
- :mod:`~harness.statsd`: takes Airflow's metrics, in a thread of this process;
- :mod:`~harness.processes`, :mod:`~harness.dialogue`, :mod:`~harness.waiting`, :mod:`~harness.loopback`: what these
  are made of.

Everything listens on the loopback interface only, and every context manager undoes what it did.
"""
