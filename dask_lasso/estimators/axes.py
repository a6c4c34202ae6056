"""Axes of figures."""

from __future__ import annotations

from typing import Any


def axes(ax: Any) -> Any:
    """`ax`, or the axes of a new figure."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError('Displays need matplotlib: install it, or "dask_lasso[plot]".') from error
    if ax is None:
        return plt.subplots()[1]
    if not hasattr(ax, "axvline"):
        raise TypeError(
            f"ax is a {type(ax).__name__}, not matplotlib Axes: pass one of those that"
            " plt.subplots() makes."
        )
    return ax
