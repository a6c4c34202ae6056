"""The objective, without rows and without Dask: moments, penalties, solutions, certificates."""
