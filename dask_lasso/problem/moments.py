"""The squared loss of rows, without the rows.

With an intercept the loss is a function of the centred moments alone. Without one, the means
count as well, and stay beside the centred moments as long as digits matter: about zero, the
moments of a column at 1e6 +/- 1 are those of its mean, and what tells such columns apart
is in the last four digits.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from .box import Box

_EPS = np.finfo(np.float64).eps
# Means this many standard deviations from zero are set apart.
_FAR = 1e3


class Residual(NamedTuple):
    """What the moments tell of the residual r of some coefficients; sums over rows, per target.

    Attributes
    ----------
    squares : ndarray of shape (m,)
        ``r.r``
    with_y : ndarray of shape (m,)
        ``r.y``
    correlation : ndarray of shape (k, m)
        ``X^T r``
    mean : ndarray of shape (m,)
        Mean of r; zero with an intercept.
    """

    squares: np.ndarray
    with_y: np.ndarray
    correlation: np.ndarray
    mean: np.ndarray


class Moments(NamedTuple):
    """``1/(2n) ||y - X w||^2`` of centred or uncentred rows, one per target.

    Attributes
    ----------
    gram : ndarray of shape (k, k)
        Centred second moments.
    xy : ndarray of shape (k, m)
    yy : ndarray of shape (m,)
    weight : float
        The n of the objective.
    x_mean : ndarray of shape (k,) or None
    y_mean : ndarray of shape (m,) or None
        None where an intercept takes the means away.
    x_taken : ndarray of shape (k,) or None
        What it takes away; values of a column are rounded as its size about zero is.
    """

    gram: np.ndarray
    xy: np.ndarray
    yy: np.ndarray
    weight: float
    x_mean: np.ndarray | None = None
    y_mean: np.ndarray | None = None
    x_taken: np.ndarray | None = None

    def checked(self, has_y: bool = True) -> Moments:
        """The same; raises as `summable` where squares of the columns or of y are infinite.

        Not of what stands in place of y in a Newton step, which may be as far out as the step.
        """
        squares = np.diagonal(self.gram)
        if self.x_mean is None:
            summable(squares, "X")
            if has_y:
                summable(self.yy, "y")
        else:
            squares_about_zero(squares, self.x_mean, self.weight, "X")
            if has_y:
                squares_about_zero(self.yy, self.y_mean, self.weight, "y")
        return self

    @property
    def squares(self) -> np.ndarray:
        """``||y||^2``, one per target: the loss, times 2 n, at zero."""
        if self.x_mean is None:
            return self.yy
        return self.yy + self.weight * self.y_mean**2

    @property
    def null_loss(self) -> np.ndarray:
        """``||y||^2 / n``, one per target: what `tol` is relative to."""
        return self.squares / self.weight

    @property
    def norms(self) -> np.ndarray:
        """Norms of the columns, of shape (k,)."""
        squares = np.diagonal(self.gram)
        if self.x_mean is None:
            return np.sqrt(squares)
        return norms_about_zero(squares, self.x_mean, self.weight)

    @property
    def sizes(self) -> np.ndarray:
        """Norms of the columns (k,) as they were before an intercept took means away."""
        if self.x_taken is None:
            return self.norms
        return norms_about_zero(np.diagonal(self.gram), self.x_taken, self.weight)

    @property
    def has_far_columns(self) -> bool:
        """Whether moments about zero would say too little of some column."""
        if self.x_mean is None:
            return False
        spread = np.diagonal(self.gram)
        with np.errstate(over="ignore"):
            far = self.weight * self.x_mean**2 > _FAR**2 * spread
        return bool((far & (spread > 0)).any())

    def target(self, index: int) -> Moments:
        """The moments of one target."""
        y_mean = None if self.y_mean is None else self.y_mean[[index]]
        return self._replace(xy=self.xy[:, [index]], yy=self.yy[[index]], y_mean=y_mean)

    def of(self, columns: np.ndarray) -> Moments:
        """The moments of some columns alone."""
        gram, xy = self.gram[np.ix_(columns, columns)], self.xy[columns]
        x_mean = None if self.x_mean is None else self.x_mean[columns]
        x_taken = None if self.x_taken is None else self.x_taken[columns]
        return self._replace(gram=gram, xy=xy, x_mean=x_mean, x_taken=x_taken)

    def with_ridge(self, l2: float) -> Moments:
        """The loss and a ridge term, which is as rows more, of a y of zero."""
        return self._replace(gram=self.gram + self.weight * l2 * np.eye(len(self.gram)))

    def about_zero(self) -> Moments:
        """The same loss in a single Gram matrix, which has lost the digits of far columns."""
        if self.x_mean is None:
            return self
        weight, x, y = self.weight, self.x_mean, self.y_mean
        return Moments(
            self.gram + weight * np.outer(x, x),
            self.xy + weight * np.outer(x, y),
            self.squares,
            weight,
        )

    def residual(self, coef: np.ndarray) -> Residual:
        """The residual of coefficients (k, m); with one target, of each column of `coef`."""
        correlation = self.xy - self.gram @ coef
        with_y = self.yy - (coef * self.xy).sum(axis=0)
        squares = np.maximum(with_y - np.einsum("kt,kt->t", coef, correlation), 0.0)
        if self.x_mean is None:
            return Residual(squares, with_y, correlation, np.zeros(coef.shape[1]))
        mean = self.y_mean - self.x_mean @ coef
        return Residual(
            squares + self.weight * mean**2,
            with_y + self.weight * mean * self.y_mean,
            correlation + self.weight * np.outer(self.x_mean, mean),
            mean,
        )

    def squared_residuals(self, coef: np.ndarray) -> np.ndarray:
        """``||y - X w||^2``, as `residual`."""
        return self.residual(coef).squares

    def rounding(self, coef: np.ndarray, residual: Residual) -> np.ndarray:
        """How far the squares of a residual may be off where they have lost digits, else zero.

        Sums of large terms of opposite signs lose as many digits as the terms are larger
        than what remains. Below 1e-12 of ``||y||^2`` nothing is said: that is what sums over
        rows lose as well.
        """
        size = np.abs(coef)
        spread = np.sqrt(np.diagonal(self.gram)) @ size
        lost = _EPS * spread**2
        if self.x_mean is not None:
            off = _EPS * (np.abs(self.x_mean) @ size)
            lost = lost + self.weight * (2 * np.abs(residual.mean) + off) * off
        return np.where(lost > 1e-12 * self.squares, lost, 0.0)


class Means(Protocol):
    """Statistics that have the means of columns (k,) and targets (m,)."""

    @property
    def x_mean(self) -> np.ndarray: ...
    @property
    def y_mean(self) -> np.ndarray: ...


class Lasso(NamedTuple):
    """One target, in sums and not means of squares.

    Attributes
    ----------
    gram : ndarray of shape (k, k)
    xy : ndarray of shape (k,)
    yy : float
    threshold, ridge : float, or ndarray of shape (k,)
        Weights of ``||w||_1`` and ``||w||^2 / 2``; zero beside others that are not for columns
        that are bounded and not penalised.
    box : Box or None
    apart : Moments or None
        The same with means apart from `gram`, where that has lost digits.
    """

    gram: np.ndarray
    xy: np.ndarray
    yy: float
    threshold: float | np.ndarray
    ridge: float | np.ndarray
    box: Box | None = None
    apart: Moments | None = None

    @property
    def is_plain(self) -> bool:
        """Whether all columns are penalised alike, and have no bound or that of zero below."""
        return np.ndim(self.threshold) == 0 and (self.box is None or self.box.is_orthant)

    def state(self, coef: np.ndarray) -> np.ndarray:
        """Signs (k,) of coefficients, doubled where they are at a bound."""
        signs = np.sign(coef)
        if self.box is None:
            return signs
        return np.where((coef == self.box.lower) | (coef == self.box.upper), 2 * signs, signs)


def intercept(means: Means, coef: np.ndarray, fit_intercept: bool) -> np.ndarray:
    """The best intercept (m,) for coefficients (k, m)."""
    if not fit_intercept:
        return np.zeros(coef.shape[1])
    return means.y_mean - means.x_mean @ coef


def is_rounding(squares: np.ndarray, mean: np.ndarray, weight: float) -> np.ndarray:
    """Which centred sums of squares are no variation: what rounding makes of a constant."""
    return (squares > 0) & (np.sqrt(squares) <= np.sqrt(weight) * 8 * _EPS * np.abs(mean))


def norms_about_zero(squares: np.ndarray, mean: np.ndarray, weight: float) -> np.ndarray:
    """Norms about zero, of sums of squares about the means; those of a mean may be too large."""
    return np.hypot(np.sqrt(squares), np.sqrt(weight) * mean)


def squares_about_zero(
    squares: np.ndarray, mean: np.ndarray, weight: float, argument: str
) -> np.ndarray:
    """Sums of squares about zero, of those about the means; as `summable`."""
    with np.errstate(over="ignore"):
        return summable(squares + weight * mean**2, argument)


def summable(squares: np.ndarray, argument: str) -> np.ndarray:
    """The same sums of squares, of the columns of an argument.

    Raises
    ------
    ValueError
        Of those that are infinite: of all rows they may be, where those of a chunk about its own
        means are not.
    """
    if not np.isfinite(squares).all():
        column = int(np.argmin(np.isfinite(squares)))
        what = f"column {column} of {argument}" if len(squares) > 1 else argument
        raise ValueError(
            f"Input {argument} contains values too large for their squares to be summed: pass"
            f" {what} in larger units."
        )
    return squares
