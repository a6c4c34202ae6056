"""What is kept of rows; runs on workers."""
