"""What is added to the loss: the l1 penalty with its ridge term, weights and bounds; a user's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from .box import Box, Pulls, real_array


@runtime_checkable
class Penalty(Protocol):
    """A convex penalty, for ``AsyncLassoRegressor(penalty=...)``: alpha times its value.

    Coefficients `w` come as an array of shape (n_features,), or of (n_features, n_targets)
    where y has several targets. Fits are consensus ADMM, and its residuals are the
    certificate. The columns are not standardised one by one, for which a penalty of several
    columns together would be another: scale them where their units are far apart.

    With one method more, ``dual_norm(correlation)``, a penalty is a norm, and fits have a
    duality gap: the least t for which ``correlation . w <= t value(w)`` for all w (of several
    targets it may not grow where a correlation shrinks). With ``polish=True`` the squared loss
    is then fitted from statistics, in one pass.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.isotonic import isotonic_regression
    >>> from dask_lasso import AsyncLassoRegressor, Penalty
    >>> class Falling:
    ...     '''The lasso of coefficients that fall, to zero.'''
    ...
    ...     def value(self, w):
    ...         return np.abs(w).sum()
    ...
    ...     def prox(self, w, step):
    ...         return np.maximum(isotonic_regression(w - step, increasing=False), 0)
    >>> isinstance(Falling(), Penalty)
    True
    >>> X = np.random.default_rng(0).normal(size=(200, 5))
    >>> model = AsyncLassoRegressor(0.1, penalty=Falling()).fit(X, X[:, :2].sum(axis=1))
    >>> model.coef_.round(1) + 0.0
    array([0.9, 0.9, 0. , 0. , 0. ])
    """

    def value(self, w: np.ndarray) -> float: ...
    def prox(
        self, w: np.ndarray, step: float
    ) -> np.ndarray: ...  # argmin step value + ||. - w||^2/2


class Elastic:
    """What alpha and l1_ratio make of a penalty: itself, and a ridge term."""

    alpha: float | np.ndarray
    l1_ratio: float

    @property
    def l1(self) -> Any:
        """Weight of ``||v w||_1``, or of what stands in its place."""
        return self.alpha * self.l1_ratio

    @property
    def l2(self) -> Any:
        """Weight of ``||v w||^2 / 2``."""
        return self.alpha * (1 - self.l1_ratio)

    @property
    def has_ridge(self) -> bool:
        """Whether there may be a ridge term."""
        return self.l1_ratio < 1


@dataclass(frozen=True, eq=False)
class L1(Elastic):
    """``alpha (l1_ratio ||v w||_1 + (1 - l1_ratio) / 2 ||v w||^2)``, and bounds of w.

    Parameters
    ----------
    alpha : float or ndarray of shape (m,)
        In the units of the loss over a coefficient; one for each target, or for all.
    l1_ratio : float
    weights : ndarray of shape (k,), optional
        The v above, `penalty_weights`; ones by default.
    box : Box, optional
        None is no bounds.
    standardize : bool
        Whether the columns are in units of their standard deviations for it; see `in_units`.
    adaptive : bool
        Whether the weights come from a first estimate; see `first.adapted`.
    """

    alpha: float | np.ndarray
    l1_ratio: float = 1.0
    weights: np.ndarray | None = None
    box: Box | None = None
    standardize: bool = False
    adaptive: bool = False

    is_separable: ClassVar = True  # a sum over the columns
    joins_targets: ClassVar = False
    has_dual: ClassVar = True
    certificate: ClassVar = "duality gap"  # of a fit from statistics

    @property
    def has_free(self) -> bool:
        """Whether some column is not penalised at all."""
        return self.weights is not None and bool((self.weights == 0).any())

    @property
    def is_sparse(self) -> bool:
        """Whether there is an l1 term on every column, known before the rows are."""
        is_on = bool(np.all(np.asarray(self.l1) > 0))
        return is_on and not self.has_free and not self.adaptive

    def at(self, alpha: float | np.ndarray) -> L1:
        """The same penalty, as strong as `alpha`."""
        return replace(self, alpha=alpha)

    def of(self, columns: np.ndarray) -> L1:
        """The penalty of some columns alone."""
        weights = None if self.weights is None else self.weights[columns]
        box = None if self.box is None else self.box.of(columns)
        return replace(self, weights=weights, box=box)

    def alike(self) -> L1:
        """The penalty of the columns divided by their weights, none of which is zero."""
        if self.weights is None:
            return self
        box = None if self.box is None else self.box.scaled(self.weights)
        return replace(self, weights=None, box=box)

    def in_units(self, squares: np.ndarray, n: float) -> L1:
        """The penalty of columns (k,) of these centred sums of squares, in their own units.

        A constant column has no deviation, and stays as it is.
        """
        if not self.standardize:
            return self
        units = np.where(squares > 0, np.sqrt(squares / n), 1.0)
        return replace(self, weights=units * self.column_weights(len(units)), standardize=False)

    def column_weights(self, k: int) -> np.ndarray:
        """The weight of each of k columns."""
        return np.ones(k) if self.weights is None else self.weights

    def value(self, coef: np.ndarray) -> np.ndarray:
        """The penalty (m,) of coefficients (k, m)."""
        if self.weights is not None:
            coef = coef * self.weights[:, np.newaxis]
        value = self.l1 * np.abs(coef).sum(axis=0)
        return value + 0.5 * (coef * (self.l2 * coef)).sum(axis=0) if self.has_ridge else value

    def prox(self, point: np.ndarray, step: float, scale: float | np.ndarray = 1.0) -> np.ndarray:
        """``argmin_z penalty(z / scale) step + ||z - point||^2 / 2`` for a point (k, m).

        Soft thresholding, then shrinking; `scale` (k,) is that of the coordinates of z.
        """
        weights = (self.column_weights(len(point)) / scale)[:, np.newaxis]
        threshold = self.l1 * step * weights
        point = np.sign(point) * np.maximum(np.abs(point) - threshold, 0.0)
        point = point / (1 + self.l2 * step * weights**2)
        return point if self.box is None else self.box.scaled(scale).clip(point)

    def clip(self, coef: np.ndarray) -> np.ndarray:
        """The nearest coefficients (k, m) within the bounds."""
        return coef if self.box is None else self.box.clip(coef)

    def rounded(self, beta: np.ndarray, k: int, dtype: type | np.dtype) -> np.ndarray:
        """Coefficients, the first k rows of `beta`, within the bounds as values of a dtype."""
        rounded = beta.astype(dtype).astype(np.float64, copy=False)
        if self.box is not None:
            rounded[:k] = self.box.rounded(beta[:k], dtype)
        return rounded

    def is_moving(self, coef: np.ndarray) -> np.ndarray:
        """Which coefficients (k, m) are neither zero nor at a bound."""
        is_on = coef != 0
        return is_on if self.box is None else is_on & self.box.is_inside(coef)

    def at_zero(self, correlation: np.ndarray) -> np.ndarray:
        """How strongly (k, m) correlations pull at coefficients that are zero."""
        return np.abs(correlation) if self.box is None else self.box.at_zero(correlation)

    def pulls(self, correlation: np.ndarray, coef: np.ndarray) -> Pulls:
        """Correlations (k, m), by what they mean for the dual beside coefficients (k, m)."""
        return Pulls(np.abs(correlation)) if self.box is None else self.box.pulls(correlation, coef)

    def conjugate(self, correlation: np.ndarray, n: float) -> np.ndarray:
        """n times the conjugate (m,) at ``X^T theta / n``; infinite without a ridge or bound."""
        weights = self.column_weights(len(correlation))[:, np.newaxis]
        beyond = np.maximum(np.abs(correlation) - n * self.l1 * weights, 0.0)
        ridge = n * self.l2 * weights**2
        if self.box is None:
            with np.errstate(over="ignore"):  # too far out for a bound
                return (beyond * (beyond / (2 * ridge))).sum(axis=0)
        lower, upper = self.box.lower[:, np.newaxis], self.box.upper[:, np.newaxis]
        bound = np.where(correlation > 0, upper, -lower)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            at = np.minimum(np.where(beyond > 0, beyond / ridge, 0.0), bound)
            worth = at * (beyond - np.where(ridge > 0, ridge * at / 2, 0.0))
        return np.where(at > 0, worth, 0.0).sum(axis=0)

    def largest_scale(self, pulls: Pulls, n: float) -> np.ndarray:
        """How far (m,) a dual point with these pulls can be scaled, feasibly.

        Columns without a penalty do not count: theta is orthogonal to them, or nothing helps.
        """
        weights = self.column_weights(len(pulls.open))
        beyond = pulls.open / np.where(weights == 0, np.inf, weights)[:, np.newaxis]
        with np.errstate(over="ignore"):  # infinite, where nothing is correlated
            scale = n * self.l1 / np.maximum(beyond.max(axis=0), np.finfo(float).tiny)
        # What bounds take off grows with the scale, which is one at the optimum.
        return scale if pulls.bound is None else np.minimum(scale, 1.0)

    def bounds_cost(self, pulls: Pulls, n: float, scale: np.ndarray) -> np.ndarray | float:
        """What the bounds take off n times the dual (m,) at a scale."""
        weights = self.column_weights(len(pulls.open))[:, np.newaxis]
        return pulls.cost(scale, n * self.l1 * weights)


@dataclass(frozen=True, eq=False)
class Plugged(Elastic):
    """A user's `Penalty` in place of the l1 norm, of all targets together."""

    alpha: float
    penalty: Any
    l1_ratio: float = 1.0

    is_separable: ClassVar = False
    joins_targets: ClassVar = True
    certificate: ClassVar = "duality gap"
    is_sparse: ClassVar = False
    has_free: ClassVar = False
    standardize: ClassVar = False

    def at(self, alpha: float) -> Plugged | L1:
        """The same penalty, as strong as `alpha`."""
        return replace(self, alpha=alpha) if alpha else L1(0.0)

    @property
    def has_parts(self) -> bool:
        """Whether it is known `of` some columns alone, while the others are zero."""
        return hasattr(self.penalty, "of")

    def of(self, columns: np.ndarray) -> Plugged:
        """The penalty of some columns alone."""
        return replace(self, penalty=self.penalty.of(columns))

    def rounded(self, beta: np.ndarray, k: int, dtype: type | np.dtype) -> np.ndarray:
        """As of `L1`."""
        return beta.astype(dtype).astype(np.float64)

    def value(self, coef: np.ndarray) -> np.ndarray:
        """The penalty (m,) of coefficients (k, m), in equal shares of the targets."""
        m = coef.shape[1]
        value = self.penalty.value(coef[:, 0] if m == 1 else coef)
        if not isinstance(value, Real):
            raise ValueError(f"penalty: value returned {value!r}; it must be one number.")
        return np.full(m, self.l1 * value / m) + 0.5 * (coef * (self.l2 * coef)).sum(axis=0)

    @property
    def has_dual(self) -> bool:
        """Whether it is known as a norm."""
        return hasattr(self.penalty, "dual_norm")

    def units(self, norms: np.ndarray) -> np.ndarray:
        """Scales (k,) of columns of such norms in which `prox` is defined; one for all, or more."""
        if hasattr(self.penalty, "units"):
            return np.asarray(self.penalty.units(norms))
        varies = norms > 0
        size = np.sqrt((norms[varies] ** 2).mean()) if varies.any() else 1.0
        return np.full(len(norms), size)

    def prox(self, point: np.ndarray, step: float, scale: np.ndarray) -> np.ndarray:
        """As of `L1`, in scales that `units` allows."""
        scale = np.where(np.isfinite(scale), scale, 1.0)
        # A ridge term is a shorter point, and a shorter step.
        shorter = 1 + self.l2 * step / scale**2
        w = point / (scale * shorter)[:, np.newaxis]
        steps: Any = self.l1 * step / (scale**2 * shorter)
        if not hasattr(self.penalty, "units"):
            steps = float(steps[0])
        found = self.penalty.prox(w[:, 0] if w.shape[1] == 1 else w, steps)
        found = np.asarray(found, dtype=np.float64)
        if found.shape not in (w.shape, w[:, 0].shape):
            raise ValueError(
                f"penalty: prox returned an array of shape {found.shape} for one of shape"
                f" {w.shape if w.shape[1] > 1 else w[:, 0].shape}; it must be the same."
            )
        if np.isfinite(w).all() and not np.isfinite(found).all():
            raise ValueError("penalty: prox returned NaN or infinity for finite coefficients.")
        return scale[:, np.newaxis] * found.reshape(w.shape)

    def pulls(self, correlation: np.ndarray, coef: np.ndarray) -> Pulls:
        """As of `L1`."""
        return Pulls(correlation)

    def largest_scale(self, pulls: Pulls, n: float) -> np.ndarray:
        """How far a dual point can be scaled, (m,) times the same, at most."""
        of = pulls.open[:, 0] if pulls.open.shape[1] == 1 else pulls.open
        size = max(float(self.penalty.dual_norm(of)), np.finfo(float).tiny)
        with np.errstate(over="ignore"):
            return np.full(pulls.open.shape[1], np.float64(n * self.l1) / size)

    def bounds_cost(self, pulls: Pulls, n: float, scale: np.ndarray) -> np.ndarray | float:
        """As of `L1`: there are no bounds."""
        return 0.0


def penalty_weights(values: ArrayLike | None, n_features: int) -> np.ndarray | None:
    """The argument `penalty_weights`, checked; None where all weights are one."""
    if values is None or isinstance(values, str):
        return None
    weights = real_array("penalty_weights", values)
    if weights.shape != (n_features,):
        raise ValueError(
            f"penalty_weights has shape {weights.shape}, and X has {n_features} features: pass"
            " one weight per feature."
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError("penalty_weights has negative or non-finite values: use weights >= 0.")
    return None if (weights == 1).all() else weights
