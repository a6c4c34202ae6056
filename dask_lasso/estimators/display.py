"""What figures share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


class Display:
    """A figure, in the style of scikit-learn's displays."""

    ax_: Axes
    figure_: Figure | SubFigure

    def _axes(self, ax: Axes | None) -> Axes:
        """`ax`, or the axes of a new figure, which are those of the display from now on."""
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            message = 'Displays need matplotlib: install it, or "dask_lasso[plot]".'
            raise ImportError(message) from error
        if ax is None:
            ax = plt.subplots()[1]
        if not hasattr(ax, "axvline"):
            raise TypeError(
                f"ax is a {type(ax).__name__}, not matplotlib Axes: pass one of those that"
                " plt.subplots() makes."
            )
        self.ax_, self.figure_ = ax, ax.figure
        return ax
