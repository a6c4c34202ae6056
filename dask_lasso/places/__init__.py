"""Where rows are, and what carries tasks there."""
