"""Figures of fits, in the style of scikit-learn's displays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import validate_parameter_constraints

from ..places.input import memory_array
from .arrays import check_fitted
from .display import Display
from .parameters import CONSTRAINTS
from .path import path_of_fitted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.lines import Line2D


def _grid_and_values(alphas, name, values, axis):
    """The arguments of a display: a grid of alphas, and values of which `axis` runs along it."""
    alphas = memory_array("alphas", alphas, ensure_2d=False, dtype=np.float64)
    finite = name != "mse_path"
    values = memory_array(name, values, dtype=np.float64, ensure_all_finite=finite)
    if alphas.ndim != 1 or values.shape[axis] != len(alphas):
        raise ValueError(
            f"alphas has shape {alphas.shape} and {name} {values.shape}: pass one"
            f" {('row', 'column')[axis]} of {name} per alpha."
        )
    if not (alphas > 0).any():
        raise ValueError("alphas has no positive value, which a logarithmic axis could show.")
    return alphas, values


class PathDisplay(Display):
    """Coefficients along the regularization path.

    Make one with `from_estimator`, or of the arrays that `lasso_path` returns.

    Parameters
    ----------
    alphas : ndarray of shape (n_alphas,)
    coefs : ndarray of shape (n_features, n_alphas)
    feature_names : sequence of str, default=None
        Names for the legend; None is no legend.
    alpha : float, default=None
        Marked with a vertical line.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        One per feature.

    Examples
    --------
    >>> from dask_lasso import PathDisplay, lasso_path
    >>> alphas, coefs, _ = lasso_path([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [1.0, 2.0, 4.0])
    >>> display = PathDisplay(alphas, coefs).plot()
    """

    lines_: list[Line2D]

    def __init__(
        self,
        alphas: ArrayLike,
        coefs: ArrayLike,
        *,
        feature_names: Sequence[str] | None = None,
        alpha: float | None = None,
    ) -> None:
        self.alphas, self.coefs = _grid_and_values(alphas, "coefs", coefs, axis=1)
        if feature_names is not None and len(feature_names) != len(self.coefs):
            raise ValueError(
                f"feature_names has {len(feature_names)} names, and coefs {len(self.coefs)} rows:"
                " pass one name per feature."
            )
        self.feature_names = feature_names
        self.alpha = alpha

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        alphas: int | ArrayLike = 100,
        eps: float = 1e-3,
        ax: Axes | None = None,
        **line_kw: Any,
    ) -> PathDisplay:
        """Plot the path of a fitted estimator, from its statistics: the rows are not needed.

        Parameters
        ----------
        estimator : fitted estimator of this package, with one target
        alphas : int or array-like, default=100
            Number of alphas on the grid, or the alphas themselves.
        eps : float, default=1e-3
            ``alpha_min / alpha_max`` of the grid.
        ax : matplotlib Axes, default=None
            None is those of a new figure.
        **line_kw : dict
            Given to matplotlib's `plot`.

        Returns
        -------
        PathDisplay

        Raises
        ------
        ValueError
            If the estimator has no `statistics_`: plot what `lasso_path` returns.
        """
        check_fitted("estimator", estimator)
        if not hasattr(estimator, "statistics_"):
            raise ValueError(
                f"This {type(estimator).__name__} has no statistics_ to draw a path from, as with"
                " working sets (many columns) or another loss: call lasso_path(X, y) and then"
                " PathDisplay(alphas, coefs).plot()."
            )
        grid = {"alphas": alphas, "eps": eps}
        validate_parameter_constraints(CONSTRAINTS, grid, "PathDisplay.from_estimator")
        alphas, coefs, _ = path_of_fitted(estimator, alphas, eps)
        if coefs.ndim != 2:
            raise ValueError(
                f"PathDisplay shows one target, and the estimator was fitted to {len(coefs)}:"
                " fit one, or plot coefs[target] of lasso_path."
            )
        return cls(
            alphas,
            coefs,
            feature_names=getattr(estimator, "feature_names_in_", None),
            alpha=getattr(estimator, "alpha_", getattr(estimator, "alpha", None)),
        ).plot(ax, **line_kw)

    def plot(self, ax: Axes | None = None, **line_kw: Any) -> PathDisplay:
        """Draw the path.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None is those of a new figure.
        **line_kw : dict
            Given to matplotlib's `plot`.

        Returns
        -------
        PathDisplay
        """
        ax = self._axes(ax)
        inside = self.alphas > 0
        self.lines_ = ax.plot(
            self.alphas[inside], self.coefs[:, inside].T, **{"linewidth": 1.2, **line_kw}
        )
        ax.axhline(0.0, color="0.7", linewidth=0.8, zorder=0)
        if self.alpha:
            ax.axvline(self.alpha, color="0.3", linestyle="--", linewidth=1)
        ax.set(xscale="log", xlabel=r"$\alpha$", ylabel="Coefficient")
        ax.invert_xaxis()
        if self.feature_names is not None:
            for line, name in zip(self.lines_, self.feature_names, strict=True):
                line.set_label(str(name))
            ax.legend(fontsize="small", loc="best")
        return self


class CVDisplay(Display):
    """Cross-validation error, or score, over alpha, with one standard error above and below.

    Parameters
    ----------
    alphas : ndarray of shape (n_alphas,)
    mse_path : ndarray of shape (n_alphas, n_folds)
        Folds and alphas that are NaN throughout, as `max_time` leaves them, do not count.
    alpha : float, default=None
        The chosen alpha, marked with a vertical line.
    label : str, default=None
        Of the curve, for a legend.
    quantity : str, default="Mean squared error"
        What `mse_path` is.
    is_score : bool, default=False
        Whether the largest is the best, and not the least.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    errorbar_ : matplotlib ErrorbarContainer
    one_se_alpha_ : float
        The largest alpha within one standard error of the least error, marked with a dotted
        line; where there are two folds or more.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from dask_lasso import AsyncLassoCV, CVDisplay
    >>> model = AsyncLassoCV(alphas=20).fit(*load_diabetes(return_X_y=True))
    >>> display = CVDisplay.from_estimator(model)
    """

    errorbar_: ErrorbarContainer
    one_se_alpha_: float

    def __init__(
        self,
        alphas: ArrayLike,
        mse_path: ArrayLike,
        *,
        alpha: float | None = None,
        label: str | None = None,
        quantity: str = "Mean squared error",
        is_score: bool = False,
    ) -> None:
        self.alphas, self.mse_path = _grid_and_values(alphas, "mse_path", mse_path, axis=0)
        if np.isnan(self.mse_path).all():
            raise ValueError("mse_path has no value that is not NaN.")
        self.alpha, self.label = alpha, label
        self.quantity, self.is_score = quantity, is_score

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Axes | None = None, **errorbar_kw: Any
    ) -> CVDisplay:
        """Plot the errors, or scores, of a fitted estimator that chooses alpha.

        Of several l1_ratio it is the chosen one that is shown.

        Parameters
        ----------
        estimator : fitted estimator with ``criterion="cv"``
        ax : matplotlib Axes, default=None
            None is those of a new figure.
        **errorbar_kw : dict
            Given to matplotlib's `errorbar`.

        Returns
        -------
        CVDisplay
        """
        check_fitted("estimator", estimator)
        scoring = getattr(estimator, "scoring", None)
        quantities = {
            "mse_path_": "Mean squared error",
            "deviance_path_": "Mean deviance",
            "score_path_": str(getattr(scoring, "__name__", scoring)),
        }
        name = next((name for name in quantities if hasattr(estimator, name)), None)
        if name is None:
            raise ValueError(
                f"This {type(estimator).__name__} has no mse_path_, which only estimators that"
                ' choose alpha with criterion="cv" have: fit AsyncLassoCV, say.'
            )
        mse_path, alphas, label = getattr(estimator, name), estimator.alphas_, None
        ratios = np.atleast_1d(estimator.l1_ratio)
        if len(ratios) > 1:
            chosen = int(np.argmax(ratios == estimator.l1_ratio_))
            label = f"l1_ratio = {estimator.l1_ratio_:g}"
            mse_path = mse_path[chosen]
            alphas = alphas[chosen] if alphas.ndim == 2 else alphas
        mse_path = np.reshape(mse_path, (len(alphas), -1))
        display = cls(
            alphas,
            mse_path,
            alpha=estimator.alpha_,
            label=label,
            quantity=quantities[name],
            is_score=name == "score_path_",
        )
        return display.plot(ax, **errorbar_kw)

    def plot(self, ax: Axes | None = None, **errorbar_kw: Any) -> CVDisplay:
        """Draw the mean error over the folds and its standard error.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None is those of a new figure.
        **errorbar_kw : dict
            Given to matplotlib's `errorbar`.

        Returns
        -------
        CVDisplay
        """
        ax = self._axes(ax)
        known = np.isfinite(self.mse_path)
        inside = (self.alphas > 0) & known.any(axis=1)
        mse = self.mse_path[inside][:, known.any(axis=0)]
        n_folds = mse.shape[1]
        error = mse.std(axis=1, ddof=1) / np.sqrt(n_folds) if n_folds > 1 else None
        style = dict(
            fmt="o-",
            markersize=3,
            linewidth=1.2,
            elinewidth=0.8,
            capsize=2,
            ecolor="0.6",
            label=self.label,
        )
        self.errorbar_ = ax.errorbar(
            self.alphas[inside], mse.mean(axis=1), yerr=error, **{**style, **errorbar_kw}
        )
        if self.alpha:
            ax.axvline(self.alpha, color="0.3", linestyle="--", linewidth=1, label="chosen")
        if error is not None:
            mean = mse.mean(axis=1) * (-1 if self.is_score else 1)
            least = mean.argmin()
            self.one_se_alpha_ = self.alphas[inside][mean <= mean[least] + error[least]].max()
            label = "one standard error"
            ax.axvline(self.one_se_alpha_, color="0.3", linestyle=":", linewidth=1, label=label)
        ax.set(xscale="log", xlabel=r"$\alpha$", ylabel=self.quantity)
        ax.invert_xaxis()
        if ax.get_legend_handles_labels()[0]:
            ax.legend(frameon=False)
        return self
