"""Ways to the answer: each is handed a place, a problem and settings."""
