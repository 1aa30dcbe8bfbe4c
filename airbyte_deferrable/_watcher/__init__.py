"""One polling loop for each Airbyte."""
