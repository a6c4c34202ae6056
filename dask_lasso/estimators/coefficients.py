"""A figure of coefficients, in the style of scikit-learn's displays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..places.input import memory_array
from .arrays import check_fitted
from .display import Display
from .export import feature_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer


class CoefficientDisplay(Display):
    """The largest coefficients, sorted, by name, with their intervals where there are any.

    Parameters
    ----------
    coefficients : ndarray of shape (n_features,)
    names : sequence of str
    intervals : ndarray of shape (n_features, 2), default=None
        Lower and upper ends.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    errorbar_ : matplotlib ErrorbarContainer

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from dask_lasso import AsyncLassoRegressor, CoefficientDisplay
    >>> model = AsyncLassoRegressor(0.5).fit(*load_diabetes(return_X_y=True))
    >>> display = CoefficientDisplay.from_estimator(model, level=0.95)
    """

    errorbar_: ErrorbarContainer

    def __init__(
        self, coefficients: ArrayLike, names: Sequence[str], *, intervals: ArrayLike | None = None
    ) -> None:
        self.coefficients = memory_array(
            "coefficients", coefficients, ensure_2d=False, dtype=np.float64
        )
        self.names = list(names)
        self.intervals = None if intervals is None else np.asarray(intervals, dtype=np.float64)
        k = len(self.names)
        shapes = {"coefficients": (self.coefficients, (k,)), "intervals": (self.intervals, (k, 2))}
        for name, (values, expected) in shapes.items():
            if values is not None and values.shape != expected:
                raise ValueError(
                    f"{name} has shape {values.shape}, and there are {k} names: {expected} was"
                    " expected."
                )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        level: float | None = None,
        most: int = 20,
        ax: Axes | None = None,
        **errorbar_kw: Any,
    ) -> CoefficientDisplay:
        """Plot the coefficients of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator of this package, with one target
        level : float, default=None
            Of the intervals of `inference`, about its debiased estimates; None is the
            coefficients alone.
        most : int, default=20
            How many are shown.
        ax : matplotlib Axes, default=None
            None is those of a new figure.
        **errorbar_kw : dict
            Given to matplotlib's `errorbar`.

        Returns
        -------
        CoefficientDisplay
        """
        check_fitted("estimator", estimator)
        names, coef = feature_names(estimator), np.atleast_2d(estimator.coef_)
        if len(coef) > 1:
            raise ValueError(
                f"CoefficientDisplay shows one target, and the estimator was fitted to {len(coef)}:"
                " pass coef_[target] and the names."
            )
        if level is None:
            return cls(coef[0], names).plot(ax, most=most, **errorbar_kw)
        table = estimator.inference(level)
        known = table.dropna()
        display = cls(known.estimate, known.index, intervals=known[["lower", "upper"]])
        return display.plot(ax, most=most, **errorbar_kw)

    def plot(
        self, ax: Axes | None = None, *, most: int = 20, **errorbar_kw: Any
    ) -> CoefficientDisplay:
        """Draw them, the largest on top.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None is those of a new figure.
        most : int, default=20
            How many are shown: the largest by absolute value.
        **errorbar_kw : dict
            Given to matplotlib's `errorbar`.

        Returns
        -------
        CoefficientDisplay
        """
        ax = self._axes(ax)
        largest = np.argsort(-np.abs(self.coefficients), kind="stable")[:most]
        shown = largest[np.argsort(self.coefficients[largest], kind="stable")]
        values, error = self.coefficients[shown], None
        if self.intervals is not None:
            lower, upper = self.intervals[shown].T
            error = np.maximum([values - lower, upper - values], 0.0)
        style = dict(fmt="o", markersize=4, elinewidth=1, capsize=2, ecolor="0.6")
        places = np.arange(len(shown))
        self.errorbar_ = ax.errorbar(values, places, xerr=error, **{**style, **errorbar_kw})
        ax.set_yticks(places, [str(self.names[column]) for column in shown])
        ax.axvline(0.0, color="0.7", linewidth=0.8, zorder=0)
        ax.set(xlabel="Coefficient")
        return self
