"""Bounds of coefficients, and what they leave of the dual's constraints.

Beside a coefficient that is free to move, a correlation has to be within the weight of the l1
term, whatever the dual point. Where a bound keeps the coefficient from following the
correlation, it may exceed the weight, and counts in the dual by the excess times the bound:
the conjugate of an l1 term that is infinite outside a box.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

_EPS = np.finfo(np.float64).eps
# A coefficient this near to its bound, relatively, is there: float32 rounds it inwards.
_NEAR = 1e-6


class Pulls(NamedTuple):
    """Correlations (k, m) of columns with a residual, by what they mean for the dual.

    Attributes
    ----------
    open : ndarray of shape (k, m)
        What has to be within the weight of the l1 term; 0 where there is nothing to be within.
    size, bound : ndarray of shape (k, m) or None
        Absolute correlations, and the bounds of the coefficients that they pull at; 0 where the
        coefficient is not there.
    """

    open: np.ndarray
    size: np.ndarray | None = None
    bound: np.ndarray | None = None

    def of(self, columns: np.ndarray) -> Pulls:
        """Of some columns alone."""
        return Pulls(*(None if values is None else values[columns] for values in self))

    def cost(self, scale: np.ndarray | float, threshold: np.ndarray | float) -> np.ndarray | float:
        """What the bounds take off the dual (m,), of correlations times a scale."""
        if self.bound is None:
            return 0.0
        return (self.bound * np.maximum(scale * self.size - threshold, 0.0)).sum(axis=0)


class Box(NamedTuple):
    """``lower <= w <= upper``, with zero inside.

    Attributes
    ----------
    lower, upper : ndarray of shape (k,)
        May be infinite.
    """

    lower: np.ndarray
    upper: np.ndarray

    @property
    def is_orthant(self) -> bool:
        """Whether it is ``w >= 0``."""
        return not self.lower.any() and bool(np.isinf(self.upper).all())

    @property
    def bounded(self) -> np.ndarray:
        """Which columns (k,) have a bound."""
        return np.isfinite(self.lower) | np.isfinite(self.upper)

    def of(self, columns: np.ndarray) -> Box:
        """Of some columns alone."""
        return Box(self.lower[columns], self.upper[columns])

    def scaled(self, scale: np.ndarray | float) -> Box:
        """In coordinates ``w * scale``; an infinite scale makes no bound of zero undefined."""
        with np.errstate(invalid="ignore"):
            lower, upper = self.lower * scale, self.upper * scale
        return Box(np.where(self.lower == 0, 0.0, lower), np.where(self.upper == 0, 0.0, upper))

    def clip(self, coef: np.ndarray) -> np.ndarray:
        """The nearest coefficients (k, m) that are inside."""
        return np.clip(coef, self.lower[:, np.newaxis], self.upper[:, np.newaxis])

    def rounded(self, coef: np.ndarray, dtype: type | np.dtype) -> np.ndarray:
        """Coefficients (k, m) inside, as values of a dtype that are inside too."""
        coef = self.clip(coef)
        for bound in (self.lower[:, np.newaxis], self.upper[:, np.newaxis]):
            # Weights or scales that coefficients were multiplied with and divided by.
            with np.errstate(invalid="ignore"):
                is_there = np.abs(coef - bound) <= 4 * _EPS * np.abs(bound)
            coef = np.where(is_there & np.isfinite(bound), bound, coef)
        near = coef.astype(dtype)
        is_out = self.clip(near.astype(np.float64)) != near
        return np.where(is_out, np.nextafter(near, np.zeros_like(near)), near)

    def is_inside(self, coef: np.ndarray) -> np.ndarray:
        """Which coefficients (k, m) are at no bound."""
        lower, upper = self.lower[:, np.newaxis], self.upper[:, np.newaxis]
        return (coef > lower * (1 - _NEAR)) & (coef < upper * (1 - _NEAR))

    def at_zero(self, correlation: np.ndarray) -> np.ndarray:
        """How strongly (k, m) coefficients at zero are pulled to where they may go."""
        up = np.where(self.upper[:, np.newaxis] > 0, correlation, -np.inf)
        return np.maximum(up, np.where(self.lower[:, np.newaxis] < 0, -correlation, -np.inf))

    def pulls(self, correlation: np.ndarray, coef: np.ndarray) -> Pulls:
        """`Pulls` of correlations (k, m) beside coefficients (k, m)."""
        bound = np.where(correlation > 0, self.upper[:, np.newaxis], -self.lower[:, np.newaxis])
        towards = np.where(correlation > 0, coef, -coef)
        is_there = (bound == 0) | (towards >= bound * (1 - _NEAR))
        size = np.abs(correlation)
        return Pulls(np.where(is_there, 0.0, size), size, np.where(is_there, bound, 0.0))


def box_of(bounds: tuple | list | None, positive: bool, n_features: int) -> Box | None:
    """The arguments `bounds` and `positive`, checked; None where there is no bound."""
    if bounds is None and not positive:
        return None
    if bounds is None:
        bounds = 0.0, np.inf
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise ValueError(f"bounds must be a pair (lower, upper), got {bounds!r}.")
    lower, upper = (
        _side(name, values, n_features)
        for name, values in zip(("lower", "upper"), bounds, strict=True)
    )
    if positive:
        lower = np.maximum(lower, 0.0)
    wrong = np.flatnonzero((lower > 0) | (upper < 0))
    if len(wrong):
        at = wrong[0]
        raise ValueError(
            f"bounds are {lower[at]:g} and {upper[at]:g} for feature {at}: zero must be within"
            " (lower <= 0 <= upper), for that is where the penalty draws coefficients."
        )
    box = Box(lower, upper)
    return box if box.bounded.any() else None


def real_array(name: str, values: ArrayLike) -> np.ndarray:
    """The argument of this name as float64."""
    try:
        if np.iscomplexobj(values):
            raise TypeError("complex values")
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be real numbers, got {values!r}.") from error


def _side(name: str, values: ArrayLike, n_features: int) -> np.ndarray:
    side = real_array(f"bounds: {name}", values)
    if side.shape not in ((), (n_features,)):
        raise ValueError(
            f"bounds: {name} has shape {side.shape}, and X has {n_features} features: pass a"
            " number, or one per feature."
        )
    if np.isnan(side).any():
        raise ValueError(f"bounds: {name} has NaN: use an infinite bound where there is none.")
    return np.broadcast_to(side, (n_features,)).copy()
