"""The page "Airbyte" in Airflow's web pages, for Airflow 3.1 and later: every sync that tasks wait for, at a glance.

It only reads: what Airflow stores of tasks, and the record that the triggerer's watchers leave. No request goes to an
Airbyte for it.
"""
