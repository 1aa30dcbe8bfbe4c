"""What keeps the repository right: run by make, in no wheel."""
