"""The solution of a lasso from the signs of its coefficients, and which of them are at a bound."""

from __future__ import annotations

import numpy as np

from .linear import solve_positive_definite
from .moments import Lasso

_EPS = np.finfo(np.float64).eps
# Changes of the support after which another guess is needed; bounds may change as well.
_MOST, _MOST_BOUNDED = 10, 30


def active_set(lasso: Lasso, coef: np.ndarray, most: int | None = None) -> np.ndarray | None:
    """The solution on the support of `coef` if it is the optimum, else None.

    Solves the stationarity equations of the support for the signs at hand, drops
    coefficients whose sign turns, adds columns whose gradient exceeds the threshold,
    and accepts only what satisfies every optimality condition, after `most` changes at most.
    Coefficients that leave the box are held at its bound, until the gradient draws them inwards
    (Hintermueller, Ito & Kunisch 2003: a semismooth Newton method).
    """
    gram, xy, box = lasso.gram, lasso.xy, lasso.box
    threshold = np.broadcast_to(lasso.threshold, xy.shape)
    ridge = np.broadcast_to(lasso.ridge, xy.shape)
    signs = np.sign(coef)
    held = np.abs(lasso.state(coef)) == 2
    is_bounded = box is not None and not box.is_orthant
    # Of each column in its own units: they may be far apart.
    slack = 1e-10 * threshold + 8 * _EPS * np.sqrt(np.diagonal(gram)) * np.sqrt(lasso.yy)
    for _ in range(most or (_MOST_BOUNDED if is_bounded else _MOST)):
        at = np.zeros_like(coef)
        if is_bounded:
            at[held] = np.where(signs[held] > 0, box.upper[held], box.lower[held])
        left = xy - gram @ at if held.any() else xy
        active = np.flatnonzero(np.where(held, 0, signs))
        # Symmetric: rows stand for columns, and lie together.
        rows = gram.take(active, axis=0)
        rhs = left[active] - threshold[active] * signs[active]
        values = solve_positive_definite(rows.take(active, axis=1), rhs, ridge[active])
        if values is None:
            return None
        at[active] = values
        if lasso.apart is None:
            gradient = left - values @ rows
        else:
            at, gradient = _corrected(lasso, active, signs, at, rows)
            values = at[active]
        turned = values * signs[active] <= 0
        if is_bounded:
            beyond = (values <= box.lower[active]) | (values >= box.upper[active])
            held[active[beyond & ~turned]] = True
        if turned.any() or (is_bounded and held[active].any()):
            signs[active[turned]] = 0
            continue
        pull = gradient
        if box is None:
            pull = np.abs(gradient)
        elif is_bounded:
            pull = box.at_zero(gradient[:, np.newaxis])[:, 0]
        excess = pull > threshold + slack
        excess[signs != 0] = False
        inwards = held & (signs * gradient < threshold + ridge * np.abs(at) - slack)
        if not excess.any() and not inwards.any():
            return at
        held &= ~inwards
        signs[excess] = np.sign(gradient[excess])
    return None


def _corrected(lasso, active, signs, at, rows):
    """Coefficients and gradient in the digits that the means, apart, still have."""
    threshold = np.broadcast_to(lasso.threshold, at.shape)[active]
    ridge = np.broadcast_to(lasso.ridge, at.shape)[active]
    coef = at[:, np.newaxis].copy()
    for _ in range(2):
        left = lasso.apart.residual(coef).correlation[active, 0]
        left -= threshold * signs[active] + ridge * coef[active, 0]
        step = solve_positive_definite(rows.take(active, axis=1), left, ridge)
        coef[active, 0] += step
    return coef[:, 0], lasso.apart.residual(coef).correlation[:, 0]
