"""Proximal Newton: losses that are no parabola, in a handful of passes over the rows.

A pass at an estimate finds the loss' quadratic there, as weighted statistics, and the
duality gap of the estimate. The lasso of those statistics, exact, is the next estimate (Lee,
Sun & Saunders 2014, algorithm 1; Friedman, Hastie & Tibshirani 2010, section 3). The first
one is nearly free: each thread solves for a small share of its rows, and these are averaged.
A step that does not lower the objective is shortened, in a pass that looks at the loss alone.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple, cast

import numpy as np

from ..engines.record import Estimate, Observer, Record
from ..places.place import Place, usable
from ..places.waiting import TimeIsUp
from ..problem.losses import Certified, Loss, Residual
from ..problem.softmax import Softmax
from ..rows.classes import ClassesLoss
from ..rows.losses import RowLoss
from ..rows.newton import (
    Points,
    losses_between,
    merge_newton,
    sample_of,
)
from ..rows.raw import raw_rows
from ..rows.statistics import Statistics, merge_statistics
from .columns import in_units
from .fit import Fit, Problem, Settings
from .quadratic import (
    coefficients,
    lower_bound,
    null_loss,
    objective_of,
    pass_of,
    renewed,
    rounding_of,
    step,
    times,
)

# Share of the rows that the first estimate is from, at least so many rows of each thread.
_SHARE, _ENOUGH = 0.05, 1000
# How many times as many rows as columns have a curvature that is like that of all.
_ENOUGH_OF_COLUMNS = 100
# Passes over them, and the change of the objective, relatively, that is small enough there.
_FIRST_PASSES, _FIRST_CHANGE = 20, 1e-4
# Shares of a step that are tried where all of it is too much.
_SHORTER = 0.25 ** np.arange(1, 21)
# Passes without progress after which there will be none.
_MOST_IDLE = 3
# Decrements, relative to the null loss, from which on the curvature is not taken again, and at
# which coefficients are exact: to about the root of it.
_NEAR = 1e-4
# What a decrement is, of that before, where the curvature is about right.
_FAST = 1e-2
# of classes, whose probabilities may hardly depend on a coefficient, they are less so.
_OF_CLASSES = 1e2
_EXACT = {np.dtype(np.float64): 1e-17, np.dtype(np.float32): 1e-12}


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


def fit_classes(
    place: Place, problem: Problem, settings: Settings, observe: Observer, n_classes: int
) -> Fit:
    """Fit the rows of a place, whose y are codes of more than two classes."""
    n_before, problem = problem.penalty.standardize, in_units(place, problem)
    shift = np.zeros(place.n_features)
    if problem.fit_intercept:
        of_sample = place.sample(_weighted_mean, _added, share=_SHARE)
        if of_sample is not None:
            shift = of_sample[1] / of_sample[0]
    loss = Softmax(n_classes, problem.fit_intercept, shift)
    inner = Problem(loss.penalty(problem.l1_penalty), False, loss)
    found = fit(place, inner, settings, observe)
    return found._replace(n_passes=found.n_passes + n_before)


def _weighted_mean(chunks, share: float):
    """How many rows a share of some chunks has, and that times their mean."""
    sample = sample_of(chunks, share, _ENOUGH)
    if sample is None:
        return None
    mean = np.ravel(sample.X.mean(axis=0))
    return (sample.n_rows, sample.n_rows * mean) if np.isfinite(mean).all() else None


def _added(parts):
    parts = [part for part in parts if part is not None]
    return tuple(map(sum, zip(*parts, strict=True))) if parts else None


class _Newton:
    """Estimates on all rows of a place, until one is certified."""

    def __init__(self, place, problem, settings, record):
        self._place, self._problem, self._settings = place, problem, settings
        self._has_classes = isinstance(problem.loss, Softmax)
        self.record = record
        self.estimate = self.found = self.stopped_by = self.null_loss = None
        self.converged = False
        self.n_passes = 0
        self._lower = -np.inf
        self._exact = _EXACT[np.dtype(settings.dtype)] / (_OF_CLASSES if self._has_classes else 1)

    def run(self):
        """Read the rows as often as the certificate needs, and time allows."""
        try:
            self._run()
        except TimeIsUp:
            if self.estimate is None:
                raise TimeIsUp("the first pass over the rows is not complete") from None
            self.stopped_by = "max_time"  # with the last estimate that has a certificate

    def _run(self):
        problem = self._problem
        first, statistics = self._first()
        points, light = Points(minimum=first), bool(statistics)
        best = curved = None
        objective, least, last, n_idle = np.inf, np.inf, np.inf, 0
        while True:
            # What is certified is what the user gets.
            k, penalty = len(points.minimum) - problem.fit_intercept, problem.l1_penalty
            beta = penalty.rounded(points.minimum, k, self._settings.dtype)
            points = points._replace(beta=beta)
            found = self._read(points, light)
            value = objective_of(found, beta, problem).sum()
            rounding = rounding_of(found, beta, value, problem)
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
                    statistics = [times(found.weight, of_rows) for of_rows in statistics]
                statistics = [renewed(old, found, t) for t, old in enumerate(statistics)]
            self._statistics = statistics
            after = step(statistics, beta, found.weight, problem, self._settings.max_iter)
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
        args = self._problem, self._settings.coef_init
        found = self._place.sample(_first_estimate, _averaged, *args, share=_SHARE)
        if found is None:  # a defect, or no rows: the first pass tells
            d, m = self._place.n_features + self._problem.fit_intercept, self._place.n_targets
            if self._has_classes:
                d = self._problem.loss.n_columns * self._problem.loss.n_classes
            return np.zeros((d, m)), []
        self.null_loss = found.null
        are_enough = found.n_rows >= _ENOUGH_OF_COLUMNS * len(found.beta)
        return found.beta, [times(1 / found.weight, s) for s in found.statistics if are_enough]

    def _read(self, points: Points, light: bool) -> Any:
        self.n_passes += 1
        args = self._problem.loss, points, light
        found = self._place.reduce(pass_of(self._problem.loss), merge_newton, *args)
        if found.defect is not None:
            # Where a defect is can be told only of rows that are merged in their order.
            task = pass_of(self._problem.loss)
            found = self._place.reduce(task, merge_newton, *args, in_order=True)
        return usable(found, self._place)

    def _decrement(self, statistics, beta, after, weight):
        """How long a step is, in the norm of the quadratic: by what that is lower, at least."""
        k, moved = len(beta) - self._problem.fit_intercept, after - beta
        falls = np.zeros(beta.shape[1])
        for target, of_rows in enumerate(statistics):
            step = moved[:k, target]
            mean = of_rows.x_mean @ step + (moved[k, target] if len(beta) > k else 0.0)
            falls[target] = (step @ of_rows.sxx @ step + of_rows.weight * mean**2) / (2 * weight)
        return falls

    def _has_ended(self, found, points, decrement, n_idle):
        """Measure the gap, tell of the estimate; True when the fit has ended."""
        beta = points.beta
        objective = objective_of(found, beta, self._problem)
        if found.at_zero is not None:
            self._at_zero = found.at_zero
            if self._has_classes or hasattr(self._problem.loss, "constant"):
                self.null_loss = null_loss(found, self._problem)
            elif self.null_loss is None:  # there was no sample to tell
                self.null_loss = 2 * (found.loss + found.at_zero) / found.weight
        if found.dual is not None:
            # Whatever dual point a pass has found bounds the minimum from below.
            lower = lower_bound(found, beta, self._problem, self._at_zero, self._statistics[0])
            self._lower = np.maximum(self._lower, lower)
        gap = np.maximum(objective - self._lower, 0.0)
        self.found, self.estimate = found, Estimate(*coefficients(beta, self._problem), gap)
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
        loss = RowLoss(self._problem.loss, self._problem.fit_intercept)
        if self._has_classes:
            loss = ClassesLoss(self._problem.loss)
        losses = self._place.reduce(losses_between, sum, loss, best, beta, _SHORTER)
        k = len(beta) - self._problem.fit_intercept
        points = [best + share * (beta - best) for share in _SHORTER]
        values = [
            (loss / weight + self._problem.penalty.value(point[:k])).sum()
            for loss, point in zip(losses, points, strict=True)
        ]
        least = int(np.nanargmin(values)) if np.isfinite(values).any() else 0
        return points[least] if values[least] < objective else None


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
    start = _start(sample, problem, coef_init)
    if start is None:
        return None
    beta, null = start
    found, best, objective = None, beta, np.inf
    for _ in range(_FIRST_PASSES):
        at = pass_of(problem.loss)([sample], problem.loss, Points(beta, beta=beta))
        if at.defect is not None or at.weight == 0:
            return None
        value = objective_of(at, beta, problem).sum()
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
    return _First(at.n_rows, at.weight, best, null, found.statistics)


def _start(sample, problem: Problem, coef_init) -> tuple[np.ndarray, np.ndarray] | None:
    """Where a sample's fit begins, and its null loss; None where it is of no use."""
    weights = np.ones(sample.n_rows) if sample.sample_weight is None else sample.sample_weight
    if not all(np.isfinite(of).all() for of in (sample.y, weights)) or weights.min() < 0:
        return None  # the first pass tells
    loss = problem.loss
    if isinstance(loss, Softmax):
        counts = np.bincount(sample.y[:, 0].astype(np.intp), weights, loss.n_classes)
        if len(counts) > loss.n_classes or not counts.all():
            return None
        shares = counts / counts.sum()
        start = loss.start(shares, coef_init)
        return problem.l1_penalty.clip(start), loss.null_loss(shares)
    if hasattr(loss, "outside") and loss.outside(sample.y).any():
        return None
    with np.errstate(over="ignore"):
        y_mean = np.average(sample.y, axis=0, weights=weights)
    if isinstance(loss, Residual):  # which is to keep gross errors out
        y_mean = np.median(sample.y[weights > 0], axis=0)
    if not np.isfinite(y_mean).all():
        return None
    if hasattr(loss, "is_endless") and loss.is_endless(y_mean).any():
        return None  # it has no best intercept, and other samples may
    rows = RowLoss(cast(Certified, loss), problem.fit_intercept)
    of_constant = rows.start(raw_rows(sample), y_mean, None)
    beta = np.zeros((sample.X.shape[1] + problem.fit_intercept, sample.y.shape[1]))
    if problem.fit_intercept:
        beta[-1] = of_constant.eta
    if coef_init is not None:
        beta[: sample.X.shape[1]] = problem.l1_penalty.clip(coef_init)
    return beta, of_constant.null / weights.sum()


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
