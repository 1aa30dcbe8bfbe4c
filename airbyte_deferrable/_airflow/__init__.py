"""What is read from Airflow and written to it."""
