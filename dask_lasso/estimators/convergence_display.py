"""A figure of what is known of a fit while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import check_fitted
from .display import Display

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


class ConvergenceDisplay(Display):
    """One quantity of `history_` over time, updates or rows.

    Parameters
    ----------
    history : dict of ndarray
        `history_` of a fitted estimator.
    x : str, default="time"
        Column on the horizontal axis.
    y : str, default="objective"
        Column on the vertical axis.
    label : str, default=None
        Of the curve, for a legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    line_ : matplotlib Line2D

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from dask_lasso import AsyncLassoRegressor, ConvergenceDisplay
    >>> model = AsyncLassoRegressor(n_blocks=4).fit(*load_diabetes(return_X_y=True))
    >>> display = ConvergenceDisplay.from_estimator(model, x="samples_seen")
    """

    line_: Line2D

    _LABELS = {
        "time": "Time in seconds",
        "n_updates": "Updates",
        "samples_seen": "Rows read",
        "objective": "Objective",
        "primal_residual": "Primal residual",
        "dual_residual": "Dual residual",
        "rho": r"$\rho$",
    }

    def __init__(
        self,
        history: Mapping[str, np.ndarray],
        *,
        x: str = "time",
        y: str = "objective",
        label: str | None = None,
    ) -> None:
        if not isinstance(history, Mapping):
            raise TypeError(
                f"history is a {type(history).__name__}, not the `history_` of a fitted estimator."
            )
        for name in (x, y):
            if name not in history:
                raise ValueError(f"history has no {name!r}: use one of {', '.join(history)}.")
        shapes = np.shape(history[x]), np.shape(history[y])
        if shapes[0] != shapes[1] or len(shapes[0]) != 1:
            raise ValueError(
                f"history has columns of shapes {shapes[0]} and {shapes[1]}: pass the `history_`"
                " of a fitted estimator."
            )
        self.history, self.x, self.y, self.label = history, x, y, label

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        x: str = "time",
        y: str = "objective",
        label: str | None = None,
        ax: Axes | None = None,
        **line_kw: Any,
    ) -> ConvergenceDisplay:
        """Plot the history of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator of this package
        x, y : str, default="time" and "objective"
            Columns of `history_`.
        label : str, default=None
            Of the curve, for a legend; None is the engine's name.
        ax : matplotlib Axes, default=None
            None is those of a new figure; pass those of another display to compare.
        **line_kw : dict
            Given to matplotlib's `plot`.

        Returns
        -------
        ConvergenceDisplay
        """
        check_fitted("estimator", estimator)
        if not hasattr(estimator, "history_"):
            raise ValueError(
                f"This {type(estimator).__name__} has no history_, which only `fit` of an"
                " estimator of this package leaves: its coefficients are from `partial_fit`,"
                " `fit_statistics` or `merge`, or of another package."
            )
        if label is None and isinstance(estimator.engine, str):
            label = estimator.engine
        return cls(estimator.history_, x=x, y=y, label=label).plot(ax, **line_kw)

    def plot(self, ax: Axes | None = None, **line_kw: Any) -> ConvergenceDisplay:
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None is those of a new figure.
        **line_kw : dict
            Given to matplotlib's `plot`.

        Returns
        -------
        ConvergenceDisplay
        """
        ax = self._axes(ax)
        x, y = self.history[self.x], self.history[self.y]
        known = np.isfinite(y)
        style = {"marker": ".", "linewidth": 1.2, "label": self.label, **line_kw}
        (self.line_,) = ax.plot(x[known], y[known], **style)
        ax.set(xlabel=self._LABELS.get(self.x, self.x), ylabel=self._LABELS.get(self.y, self.y))
        if self.y.endswith("residual"):
            ax.set_yscale("log")
        if self.label is not None:
            ax.legend(frameon=False)
        return self
