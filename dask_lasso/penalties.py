"""Penalties for ``AsyncLassoRegressor(penalty=...)``, beside "l1" and a user's own."""

from .problem.concave import MCP, SCAD
from .problem.norms import SLOPE, GroupLasso, MultiTask, SparseGroupLasso

__all__ = ["MCP", "SCAD", "SLOPE", "GroupLasso", "MultiTask", "SparseGroupLasso"]
