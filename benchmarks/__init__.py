"""What waiting costs, measured side by side with the official provider."""
