"""Proximal Newton: losses that are no parabola, in a handful of passes over the rows.

A pass at an estimate finds the loss' quadratic there, as weighted statistics, and the
duality gap of the estimate. The lasso of those statistics, exact, is the next estimate (Lee,
Sun & Saunders 2014, algorithm 1; Friedman, Hastie & Tibshirani 2010, section 3). The first
one is nearly free: each thread solves for a small share of its rows, and these are averaged.
A step that does not lower the objective is shortened, in a pass that looks at the loss alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from ..engines.record import Estimate, Observer, Record
from ..places.place import Place, usable
from ..places.waiting import TimeIsUp
from ..problem.certificate import ORTHOGONAL
from ..problem.gram import solve
from ..problem.losses import Certified, Loss, Mean, Residual
from ..rows.losses import RowLoss
from ..rows.newton import (
    NewtonPass,
    Points,
    losses_between,
    merge_newton,
    newton_pass,
    sample_of,
)
from ..rows.raw import raw_rows
from ..rows.statistics import Statistics, merge_statistics
from .columns import in_units
from .fit import Fit, Problem, Settings

# Share of the rows that the first estimate is from, at least so many rows of each thread.
_SHARE, _ENOUGH = 0.05, 1000
# How many times as many rows as columns have a curvature that is like that of all.
_ENOUGH_OF_COLUMNS = 100
# Passes over them, and the change of the objective, relatively, that is small enough there.
_FIRST_PASSES, _FIRST_CHANGE = 20, 1e-4
# Shares of a step that are tried where all of it is too much.
_SHORTER = 0.25 ** np.arange(1, 21)
# Passes without progress after which there will be none; what progress is, of the objective.
_MOST_IDLE, _ROUNDING = 3, 1e-14
# Decrements, relative to the null loss, from which on the curvature is not taken again, and at
# which coefficients are exact: to about the root of it.
_NEAR = 1e-4
# What a decrement is, of that before, where the curvature is about right.
_FAST = 1e-2
_EXACT = {np.dtype(np.float64): 1e-17, np.dtype(np.float32): 1e-12}
_TINY = np.finfo(float).tiny


def has_newton(loss: object) -> bool:
    """Whether a loss has what a certified Newton's method needs."""
    return isinstance(loss, Loss) and hasattr(loss, "conjugate")


def fit(place: Place, problem: Problem, settings: Settings, observe: Observer) -> Fit:
    """Fit the rows of a place."""
    newton = _Newton(place, in_units(place, problem), settings, Record(observe))
    newton.n_passes += problem.penalty.standardize
    newton.run()
    return Fit(
        newton.estimate,
        newton.found,
        newton.null_loss,
        newton.converged,
        newton.found.n_rows,
        n_passes=newton.n_passes,
        n_updates=newton.n_passes,
        history=newton.record.history,
        staleness=np.zeros(1, dtype=np.int64),
        stopped_by=newton.stopped_by,
    )


class _Newton:
    """Estimates on all rows of a place, until one is certified."""

    def __init__(self, place, problem, settings, record):
        self._place, self._problem, self._settings = place, problem, settings
        self._loss = RowLoss(problem.loss, problem.fit_intercept)
        self.record = record
        self.estimate = self.found = self.stopped_by = self.null_loss = None
        self.converged = False
        self.n_passes = 0
        self._lower = -np.inf
        self._exact = _EXACT[np.dtype(settings.dtype)]

    def run(self):
        """Read the rows as often as the certificate needs, and time allows."""
        try:
            self._run()
        except TimeIsUp:
            if self.estimate is None:
                raise TimeIsUp("the first pass over the rows is not complete") from None
            self.stopped_by = "max_time"  # with the last estimate that has a certificate

    def _run(self):
        first, statistics = self._first()
        points, light = Points(minimum=first), bool(statistics)
        best = curved = None
        objective, least, last, n_idle = np.inf, np.inf, np.inf, 0
        while True:
            # What is certified is what the user gets.
            k, penalty = self._place.n_features, self._problem.l1_penalty
            beta = penalty.rounded(points.minimum, k, self._settings.dtype)
            points = points._replace(beta=beta)
            found = self._read(points, light)
            value = _objective(found, beta, self._problem).sum()
            rounding = _rounding(found, beta, value, self._problem)
            if not (np.isfinite(value) and value <= objective + rounding):
                if self.estimate is not None and self._is_within(self.estimate.gap):
                    self.converged = True  # it is rounding that is left
                    return
                shorter = self._shorten(best, beta, objective, found.weight)
                if shorter is None:
                    self.stopped_by = self.stopped_by or "standstill"
                    return
                points, light = Points(minimum=shorter), False
                continue
            if not light:
                statistics, curved = found.statistics, beta
            else:
                if curved is None:  # those of the sample
                    statistics = [_times(found.weight, of_rows) for of_rows in statistics]
                statistics = [_renewed(old, found, t) for t, old in enumerate(statistics)]
            self._statistics = statistics
            after = step(statistics, beta, found.weight, self._problem, self._settings.max_iter)
            decrement = self._decrement(statistics, beta, after, found.weight)
            is_better = value < objective - rounding or decrement.sum() < 0.5 * least
            n_idle = 0 if is_better else n_idle + 1
            best, objective, least = beta, value, min(least, decrement.sum())
            if self._has_ended(found, points, decrement, n_idle):
                return
            # Near the solution the curvature does not change, and is not taken again; unless it
            # does, as that of a loss that is linear beyond some point.
            is_near = bool((decrement <= _NEAR * self.null_loss).all())
            is_slow = light and bool((decrement > _FAST * last).any())
            light, last = curved is not None and is_near and not is_slow, decrement
            points = Points(after, before=None if curved is None else beta, curved=curved)

    def _first(self):
        """A first estimate, from a small share of the rows, and statistics for a weight of one.

        Their curvature does for a first, light pass, if they are of enough rows.
        """
        k = self._place.n_features
        args = self._problem, self._settings.coef_init
        found = self._place.sample(_first_estimate, _averaged, *args, share=_SHARE)
        if found is None:  # a defect, or no rows: the first pass tells
            return np.zeros((k + self._problem.fit_intercept, self._place.n_targets)), []
        self.null_loss = found.null
        are_enough = found.n_rows >= _ENOUGH_OF_COLUMNS * k
        return found.beta, [_times(1 / found.weight, s) for s in found.statistics if are_enough]

    def _read(self, points: Points, light: bool) -> Any:
        self.n_passes += 1
        args = self._problem.loss, points, light
        found = self._place.reduce(newton_pass, merge_newton, *args)
        if found.defect is not None:
            # Where a defect is can be told only of rows that are merged in their order.
            found = self._place.reduce(newton_pass, merge_newton, *args, in_order=True)
        return usable(found, self._place)

    def _decrement(self, statistics, beta, after, weight):
        """By how much the minimum of the quadratic is lower, about: of first order."""
        k, moved = self._place.n_features, after - beta
        value = self._problem.penalty.value
        falls = value(beta[:k]) - value(after[:k])
        for target, of_rows in enumerate(statistics):
            slope = of_rows.sxy[:, 0] + of_rows.weight * of_rows.x_mean * of_rows.y_mean
            falls[target] += slope @ moved[:k, target] / weight
            if self._problem.fit_intercept:
                falls[target] += of_rows.weight * of_rows.y_mean[0] * moved[k, target] / weight
        return np.abs(falls)

    def _has_ended(self, found, points, decrement, n_idle):
        """Measure the gap, tell of the estimate; True when the fit has ended."""
        k, beta = self._place.n_features, points.beta
        objective = _objective(found, beta, self._problem)
        if found.at_zero is not None:
            self._at_zero = found.at_zero
            if hasattr(self._problem.loss, "constant"):
                self.null_loss = _null_loss(found, self._problem)
            elif self.null_loss is None:  # there was no sample to tell
                self.null_loss = 2 * (found.loss + found.at_zero) / found.weight
        if found.dual is not None:
            # Whatever dual point a pass has found bounds the minimum from below.
            lower = _lower_bound(found, beta, self._problem, self._at_zero, self._statistics[0])
            self._lower = np.maximum(self._lower, lower)
        intercept = beta[k] if self._problem.fit_intercept else np.zeros(beta.shape[1])
        gap = np.maximum(objective - self._lower, 0.0)
        self.found, self.estimate = found, Estimate(beta[:k], intercept, gap)
        row = {"n_updates": self.n_passes, "samples_seen": found.n_rows}
        row["objective"] = objective.sum()
        self.converged = self._is_within(gap)
        is_exact = self.converged and (decrement <= self._exact * self.null_loss).all()
        ends = {
            "callback": self.record.add(row, self.estimate),
            "standstill": n_idle >= _MOST_IDLE,  # all the digits there are
            "max_iter": self.n_passes >= self._settings.max_iter,
            "max_time": time.perf_counter() >= self._place.deadline,
        }
        by = next((name for name, has_ended in ends.items() if has_ended), None)
        if by is not None and not self.converged:
            self.stopped_by = by
        return is_exact or by is not None

    def _is_within(self, gap) -> bool:
        return bool((gap <= self._settings.tol * self.null_loss).all())

    def _shorten(self, best, beta, objective, weight):
        """The best point on the way to `beta`; None where none is better than where it began."""
        if best is None:
            best = np.zeros_like(beta)
        self.n_passes += 1
        args = self._loss, best, beta, _SHORTER
        losses = self._place.reduce(losses_between, sum, *args)
        k = self._place.n_features
        points = [best + share * (beta - best) for share in _SHORTER]
        values = [
            (loss / weight + self._problem.penalty.value(point[:k])).sum()
            for loss, point in zip(losses, points, strict=True)
        ]
        least = int(np.nanargmin(values)) if np.isfinite(values).any() else 0
        return points[least] if values[least] < objective else None


def _rounding(found: NewtonPass, beta, value, problem: Problem) -> float:
    """How far off an objective can be by rounding, of a large intercept too."""
    if found.squares is None or not problem.fit_intercept:
        return _ROUNDING * abs(value)
    of_intercept = np.abs(beta[-1]) * np.sqrt(found.squares / found.weight)
    return _ROUNDING * (abs(value) + of_intercept.sum())


def _objective(found: NewtonPass, beta, problem: Problem) -> np.ndarray:
    return found.loss / found.weight + problem.penalty.value(
        beta[: len(beta) - problem.fit_intercept]
    )


def _lower_bound(found: NewtonPass, beta, problem: Problem, at_zero, of_rows) -> np.ndarray:
    """The dual (m,) at the dual point of a pass, at least; -inf where it is not feasible.

    The minimum of the quadratic leaves a residual that sums to zero, is orthogonal to the
    columns that are not penalised, and within the penalty's bounds beside the others. All
    three are looked at, in sums over the rows: what exceeds a bound is scaled away, along
    which the conjugate lies below its chord, and what is not zero up to rounding is none.
    """
    penalty, n, point = problem.l1_penalty, found.weight, found.dual
    k, m = point.x_theta.shape
    norms = np.sqrt(np.diagonal(of_rows.sxx) + of_rows.weight * of_rows.x_mean**2)
    # Of theta, and so of eta: its unit is what makes a loss of a theta.
    size = np.sqrt(found.squares)
    unit = (found.loss + at_zero) / np.maximum(np.sqrt(n) * size, _TINY)
    worth, is_off = np.zeros(m), np.zeros(m, dtype=bool)
    free = np.zeros(k, dtype=bool)
    if penalty.alpha == 0:
        free[:] = True
    elif penalty.has_free:
        free = penalty.weights == 0
    x_theta = point.x_theta
    if problem.fit_intercept:
        # Rounding leaves a sum, which columns far from zero magnify.
        x_theta = x_theta - np.outer(of_rows.x_mean, point.theta)
        worth += np.abs(point.theta) * (unit + 2 * np.abs(beta[k]))
        is_off |= np.abs(point.theta) > ORTHOGONAL * np.sqrt(n) * size
    if free.any():
        pulls = penalty.pulls(x_theta, beta[:k]).of(free)
        left, norms = pulls.open, norms[free, np.newaxis]
        worth += pulls.cost(1.0, 0.0)
        units = np.sqrt(n) * unit / np.maximum(norms, _TINY)
        worth += (left * (2 * np.abs(beta[:k][free]) + units)).sum(axis=0)
        is_off |= (left > ORTHOGONAL * size * norms).any(axis=0)
    scale, conjugate = np.ones(m), 0.0 * worth
    bound, of_bound = x_theta[~free], penalty.of(~free)
    if len(bound) and penalty.has_ridge:
        conjugate = of_bound.conjugate(bound, n)
    elif len(bound):
        pulls = of_bound.pulls(bound, beta[:k][~free])
        scale = np.minimum(of_bound.largest_scale(pulls, n), 1.0)
        conjugate = conjugate + of_bound.bounds_cost(pulls, n, scale)
    with np.errstate(invalid="ignore"):
        beside = np.where(scale < 1, (1 - scale) * at_zero, 0.0)
        value = -(np.where(scale > 0, scale * found.conjugate, 0.0) + beside + conjugate + worth)
    return np.where(is_off | np.isnan(value), -np.inf, value / n)


def _null_loss(found: NewtonPass, problem: Problem) -> np.ndarray:
    """Twice what the mean loss of the best constant is above that of y: the null deviance."""
    mean, loss = found.y / found.weight, cast(Mean, problem.loss)
    eta = np.zeros_like(mean)
    if problem.fit_intercept and loss.is_endless(mean).any():
        raise ValueError(
            f"The best intercept is infinite, for {loss.endless}: pass rows that differ, or"
            " fit_intercept=False."
        )
    if problem.fit_intercept:
        eta = loss.constant(mean)  # exact, for the loss is linear in y
    return 2 * (loss.value(eta, mean) + found.at_zero / found.weight)


def step(
    statistics: Sequence[Statistics],
    beta: np.ndarray,
    weight: float,
    problem: Problem,
    max_iter: int,
) -> np.ndarray:
    """The minimum (d, m) of the quadratic that statistics at `beta` are."""
    k = len(beta) - problem.fit_intercept
    after = np.array(beta)
    for target, of_rows in enumerate(statistics):
        coef = beta[:k, [target]]
        about = of_rows.moments(problem.fit_intercept)
        shifted = about.gram @ coef
        moments = about._replace(
            xy=about.xy + shifted,
            yy=about.yy + ((2 * about.xy + shifted) * coef).sum(axis=0),
        )
        if about.x_mean is not None:
            moments = moments._replace(y_mean=about.y_mean + about.x_mean @ coef)
        # In means over the curvature, and not over the rows.
        penalty = problem.l1_penalty.at(problem.l1_penalty.alpha * weight / of_rows.weight)
        new = solve(moments, penalty, max_iter=max_iter, coef_init=coef).coef
        after[:k, [target]] = new
        if problem.fit_intercept:
            after[k, target] += (of_rows.y_mean - of_rows.x_mean @ (new - coef))[0]
    return after


def _renewed(statistics: Statistics, found: NewtonPass, target: int) -> Statistics:
    """Statistics with the curvature of an earlier pass, and the slope of a light one."""
    theta, x_theta = found.slope.theta[[target]], found.slope.x_theta[:, [target]]
    sxy = x_theta - np.outer(statistics.x_mean, theta)
    return statistics._replace(sxy=sxy, y_mean=theta / statistics.weight)


def _times(factor: float, of_rows: Statistics) -> Statistics:
    """Statistics of as many times the rows, but for their targets."""
    return of_rows._replace(
        weight=factor * of_rows.weight, sxx=factor * of_rows.sxx, syy=factor * of_rows.syy
    )


# -- the first estimate --------------------------------------------------------------------


class _First(NamedTuple):
    """An estimate of some rows: coefficients (d, m), the null loss (m,), statistics there."""

    n_rows: int
    weight: float
    beta: np.ndarray
    null: np.ndarray
    statistics: tuple[Statistics, ...]


def _first_estimate(chunks, problem: Problem, coef_init, share: float) -> _First | None:
    """Of a share of some chunks."""
    sample = sample_of(chunks, share, _ENOUGH)
    if sample is None or (sample.sample_weight is not None and not sample.sample_weight.any()):
        return None
    of_row = cast(Certified, problem.loss)
    loss = RowLoss(of_row, problem.fit_intercept)
    k, m = sample.X.shape[1], sample.y.shape[1]
    if hasattr(problem.loss, "outside") and problem.loss.outside(sample.y).any():
        return None
    with np.errstate(all="ignore"):  # defects: the first pass tells
        y_mean = np.average(sample.y, axis=0, weights=sample.sample_weight)
        if isinstance(of_row, Residual):  # which is to keep gross errors out
            counts = slice(None) if sample.sample_weight is None else sample.sample_weight > 0
            y_mean = np.median(sample.y[counts], axis=0)
        weights = 0.0 if sample.sample_weight is None else sample.sample_weight
        if not all(np.isfinite(of).all() for of in (sample.y, weights, y_mean)):
            return None
        if hasattr(of_row, "is_endless") and of_row.is_endless(y_mean).any():
            return None  # it has no best intercept, and other samples may
        start = loss.start(raw_rows(sample), y_mean, None)
    beta = np.zeros((k + problem.fit_intercept, m))
    if problem.fit_intercept:
        beta[k] = start.eta
    if coef_init is not None:
        beta[:k] = problem.l1_penalty.clip(coef_init)
    found, best, objective = None, beta, np.inf
    for _ in range(_FIRST_PASSES):
        at = newton_pass([sample], of_row, Points(beta, beta=beta))
        if at.defect is not None or at.weight == 0:
            return None
        value = _objective(at, beta, problem).sum()
        if not value <= objective:
            beta = best + 0.25 * (beta - best)
            continue
        is_near = objective - value <= _FIRST_CHANGE * abs(value)
        found, best, objective = at, beta, value
        if is_near:
            break
        beta = step(found.statistics, beta, found.weight, problem, 1000)
    if found is None:
        return None
    return _First(at.n_rows, at.weight, best, start.null / at.weight, found.statistics)


def _averaged(parts) -> _First | None:
    """The average of estimates, and the statistics of them all; None where there are none."""
    parts = [part for part in parts if part is not None]
    if not parts:
        return None
    weight = sum(part.weight for part in parts)
    return _First(
        sum(part.n_rows for part in parts),
        weight,
        sum(part.weight / weight * part.beta for part in parts),
        sum(part.weight / weight * part.null for part in parts),
        tuple(map(merge_statistics, zip(*(part.statistics for part in parts), strict=True))),
    )
