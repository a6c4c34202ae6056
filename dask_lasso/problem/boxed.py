"""Lassos with bounds, or with bounded columns that are not penalised.

scikit-learn's coordinate descent knows one sign at most. Here are few columns, those of a Gram
matrix, so that a sweep in Python takes a fraction of a millisecond, and few sweeps, for as soon
as they have found which coefficients are zero and which are at a bound a linear system gives
the rest. Where they do not find it, an active set that changes by one coefficient at a time does
(Lawson & Hanson 1974, chapter 23; Stark & Parker 1995), of proximal steps from zero (Rockafellar
1976): columns that depend on others leave coefficients open, and so they stay small, of which
large ones would cost digits.
"""

from __future__ import annotations

import numpy as np

from .active import active_set
from .linear import solve_positive_definite
from .moments import Lasso

_EPS, _TINY = np.finfo(np.float64).eps, np.finfo(np.float64).tiny
# Sweeps after which the active set is changed one by one.
_PATIENCE = 32
# The largest step of a sweep, in units of y, after which there will be none.
_STILL = 1e-15
# What proximal steps weigh a change by, over the squares of the columns: the first few do, or the
# penalty is so small beside columns that depend on others that they have a long way to go.
_WEIGHTS = np.geomspace(1e-8, 2e-12, 100)


def solve_boxed(lasso: Lasso, max_iter: int, coef: np.ndarray) -> np.ndarray:
    """The coefficients (k,), from a first guess `coef`."""
    coef = np.array(coef)
    if lasso.box is not None:
        coef = np.clip(coef, lasso.box.lower, lasso.box.upper)
    size, still = np.sqrt(np.diagonal(lasso.gram)), _STILL * np.sqrt(lasso.yy)
    look = 1
    for sweep in range(1, max_iter + 1):
        before = coef.copy()
        _sweep(lasso, coef)
        is_still = bool((size * np.abs(coef - before) <= still).all())
        if sweep == look or is_still:
            look *= 2  # ever more seldom: what is degenerate stays so
            exact = active_set(lasso, coef)
            if exact is not None:
                return exact
        if sweep == _PATIENCE:
            coef = _by_proximal_steps(lasso, coef, max_iter)
            exact = active_set(lasso, coef)
            return coef if exact is None else exact
        if is_still:
            break
    return coef


def _sweep(lasso, coef):
    """Minimise along each coefficient in turn; changes `coef`."""
    gram, box, diagonal = lasso.gram, lasso.box, np.diagonal(lasso.gram)
    gradient = lasso.xy - gram @ coef
    threshold = np.broadcast_to(lasso.threshold, coef.shape).tolist()
    curvature = (diagonal + lasso.ridge).tolist()
    lower = [-np.inf] * len(coef) if box is None else box.lower.tolist()
    upper = [np.inf] * len(coef) if box is None else box.upper.tolist()
    for j, old in enumerate(coef.tolist()):
        if diagonal[j] == 0:
            coef[j] = 0.0
            continue
        pull = float(gradient[j]) + float(diagonal[j]) * old
        free = max(abs(pull) - threshold[j], 0.0) / curvature[j]
        new = min(max(free if pull > 0 else -free, lower[j]), upper[j])
        if new != old:
            gradient -= (new - old) * gram[j]
            coef[j] = new


def _by_proximal_steps(lasso, coef, max_iter):
    """Coefficients at which no step changes more than rounding."""
    squares = np.diagonal(lasso.gram)
    near, slack = np.zeros_like(coef), _slack(lasso)
    for weight in _WEIGHTS:
        weights = weight * np.where(squares > 0, squares, 1.0)
        at = lasso._replace(gram=lasso.gram + np.diag(weights), xy=lasso.xy + weights * near)
        coef = _one_by_one(at, coef, max_iter)
        step = coef - near
        if (weights * np.abs(step) <= slack).all():
            break
        # As far on as there is more to gain, or to where the first coefficient has its end.
        step[np.abs(lasso.state(coef)) != 1] = 0.0
        moving = np.flatnonzero(step)
        bend = step @ lasso.gram @ step + (lasso.ridge * step) @ step
        reach = _first_end(lasso, moving, coef[moving], step[moving])[0]
        near = coef + min(reach, (weights * step) @ step / max(bend, _TINY)) * step
    return coef


def _slack(lasso):
    """How far a gradient is off its threshold by rounding."""
    return 1e-12 * lasso.threshold + 16 * _EPS * np.sqrt(np.diagonal(lasso.gram)) * np.sqrt(
        lasso.yy
    )


def _one_by_one(lasso, coef, max_iter):
    """Coefficients of an active set that gains the worst column, or loses the first one.

    On the way to the minimum of the moving coefficients the first that becomes zero, or
    comes to its bound, stays there; the objective falls with every step.
    """
    coef = coef.copy()
    threshold, ridge = (np.broadcast_to(v, coef.shape) for v in (lasso.threshold, lasso.ridge))
    norms = np.sqrt(np.diagonal(lasso.gram))
    slack = _slack(lasso)
    state = lasso.state(coef)
    is_moving, signs = np.abs(state) == 1, np.sign(coef)
    for _ in range(max_iter):
        moving = np.flatnonzero(is_moving)
        gradient = lasso.xy - lasso.gram @ coef - ridge * coef
        downhill = (gradient - threshold * signs)[moving]
        gram = lasso.gram[np.ix_(moving, moving)]
        step = solve_positive_definite(gram, downhill, ridge[moving])
        reach, first, end = _first_end(lasso, moving, coef[moving], step)
        if reach < 1:
            coef[moving] += reach * step
            coef[moving[first]] = end
            is_moving[moving[first]], signs[moving[first]] = False, np.sign(end)
            continue
        coef[moving] += step
        gradient = lasso.xy - lasso.gram @ coef - ridge * coef
        pull = np.where(signs == 0, _at_zero(lasso, gradient) - threshold, 0.0)
        held = ~is_moving & (signs != 0)
        pull = np.where(held, threshold - signs * gradient, pull) - slack
        pull[moving] = -1.0
        worst = int(np.argmax(np.where(norms > 0, pull / np.where(norms > 0, norms, 1.0), -1.0)))
        if not pull[worst] > 0:
            break
        is_moving[worst] = True
        signs[worst] = signs[worst] or np.sign(gradient[worst])
    return coef


def _at_zero(lasso, gradient):
    if lasso.box is None:
        return np.abs(gradient)
    return lasso.box.at_zero(gradient[:, np.newaxis])[:, 0]


def _first_end(lasso, moving, at, step):
    """How far along a step a coefficient is zero or at a bound, which one, and where."""
    if len(moving) == 0:
        return np.inf, 0, 0.0
    lower, upper = (np.full(len(at), sign * np.inf) for sign in (-1, 1))
    if lasso.box is not None:
        lower, upper = lasso.box.lower[moving], lasso.box.upper[moving]
    ends = np.where(step > 0, np.where(at < 0, 0.0, upper), np.where(at > 0, 0.0, lower))
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(step != 0, (ends - at) / step, np.inf)
    first = int(np.argmin(reach))
    return reach[first], first, ends[first]
