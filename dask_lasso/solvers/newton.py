"""Proximal Newton: losses that are no parabola, in a handful of passes over the rows.

A pass at an estimate finds the loss' quadratic there, as weighted statistics, and the
duality gap of the estimate. The lasso of those statistics, exact, is the next estimate (Lee,
Sun & Saunders 2014, algorithm 1; Friedman, Hastie & Tibshirani 2010, section 3). The first
one is nearly free: each thread solves for a small share of its rows, and these are averaged.
A step that does not lower the objective is shortened, in a pass that looks at the loss alone.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ..engines.record import Estimate, Observer, Record
from ..places.place import Place
from ..places.waiting import TimeIsUp
from ..problem.losses import Loss
from ..problem.softmax import Softmax
from ..rows.newton import Points
from ..rows.statistics import Statistics
from .fit import Fit, Problem, Settings
from .newton_columns import Columns, columns_of
from .quadratic import null_loss, objective_of, renewed, rounding_of, step, times

# Shares of a step that are tried where all of it is too much.
_SHORTER = 0.25 ** np.arange(1, 21)
# Passes without progress after which there will be none.
_MOST_IDLE = 3
# Decrements, relative to the null loss, from which on the curvature is not taken again; after
# which a step that is no better is one of rounding; and at which coefficients are exact: to about
# the root of it.
_NEAR, _ROUNDING = 1e-4, 1e-12
# What a decrement is, of that before, where the curvature is about right.
_FAST = 1e-2
# of classes, whose probabilities may hardly depend on a coefficient, they are less so.
_OF_CLASSES = 1e2
_EXACT = {np.dtype(np.float64): 1e-17, np.dtype(np.float32): 1e-12}
# What the rounding of a loss and of its least is, of both.
_DIGITS = 8 * np.finfo(np.float64).eps


def has_newton(loss: object) -> bool:
    """Whether a loss has what a certified Newton's method needs."""
    return isinstance(loss, Softmax) or (isinstance(loss, Loss) and hasattr(loss, "conjugate"))


def fit(place: Place, problem: Problem, settings: Settings, observe: Observer) -> Fit:
    """Fit the rows of a place."""
    newton = Newton(place, columns_of(place, problem, settings), settings, observe)
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


class Newton:
    """Estimates on all rows of a place, until one is certified.

    Attributes
    ----------
    estimate : Estimate
        The last that has a certificate.
    found : NewtonPass
        There.
    objective : float
    null_loss : ndarray of shape (m,)
    converged : bool
    stopped_by : str or None
        As of a `Fit`.
    n_passes : int
    record : Record
    """

    estimate: Any
    found: Any
    null_loss: Any

    def __init__(
        self, place: Place, columns: Columns, settings: Settings, observe: Observer
    ) -> None:
        self._place, self._columns, self._settings = place, columns, settings
        self._has_classes = isinstance(columns.problem.loss, Softmax)
        self.record, self.n_passes = Record(observe), columns.n_passes
        self.found = self.null_loss = self._best = self._curved = self._at_zero = None
        self._statistics: list[Statistics] = []
        exact = _EXACT[np.dtype(settings.dtype)] / (_OF_CLASSES if self._has_classes else 1)
        self._exact = exact if settings.settled is None else settings.settled

    def run(self) -> None:
        """Read the rows as often as the certificate needs, and time allows."""
        self._begin(np.inf)
        try:
            first, self._statistics, self.null_loss = self._columns.first()
            self._run(Points(minimum=first), bool(self._statistics))
        except TimeIsUp:
            if self.estimate is None:
                raise TimeIsUp("the first pass over the rows is not complete") from None
            self.stopped_by = "max_time"  # with the last estimate that has a certificate

    def go_on(self, alpha: float) -> None:
        """Fit with another alpha, from where the last fit has ended."""
        columns, best = self._columns, self._best
        columns.at(alpha)
        problem = columns.problem
        self._begin(objective_of(self.found, best, problem).sum())
        if not self._statistics:  # columns have joined since
            self._run(Points(best), False)
            return
        weight, max_iter = self.found.weight, self._settings.max_iter
        after = step(self._statistics, best, weight, problem, max_iter)
        self._run(*self._after(after, False))
        if self.estimate is None:  # no point on the way is better than where it began
            self._begin(np.inf)
            self._run(Points(self._best), False)

    @property
    def n_columns(self) -> int:
        """How many columns a Gram matrix of the last pass has."""
        return len(self._best)

    def forget(self) -> None:
        """Let go of what the next fit can do without, for a pass more."""
        self.found, self._statistics = self.found._replace(statistics=()), []

    def _begin(self, objective):
        self.estimate = self.stopped_by = None
        self.converged, self.objective = False, objective
        self._lower, self._until = -np.inf, self.n_passes + self._settings.max_iter

    def _run(self, points, light):
        columns = self._columns
        least, last, n_idle = np.inf, np.full(1, np.inf), 0
        while True:
            problem = columns.problem
            # What is certified is what the user gets.
            k, penalty = len(points.minimum) - problem.fit_intercept, problem.l1_penalty
            beta = penalty.rounded(points.minimum, k, self._settings.dtype)
            points = points._replace(beta=beta)
            found = self._read(points, light)
            value = objective_of(found, beta, problem).sum()
            rounding = rounding_of(found, beta, value, problem)
            if not (np.isfinite(value) and value <= self.objective + rounding):
                shorter = None
                is_within = self.estimate is not None and self._is_within(self.estimate.gap)
                # Else it is rounding that is left.
                if not (is_within and (last <= _ROUNDING * self.null_loss).all()):
                    shorter = self._shorten(self._best, beta, self.objective, found.weight)
                if shorter is None:
                    self.converged = is_within
                    self.stopped_by = None if is_within else self.stopped_by or "standstill"
                    return
                points, light = Points(minimum=shorter), False
                continue
            if not light:
                self._statistics, self._curved = found.statistics, beta
            else:
                old = self._statistics
                if self._curved is None:  # those of the sample
                    old = [times(found.weight, of_rows) for of_rows in old]
                self._statistics = [renewed(of, found, t) for t, of in enumerate(old)]
            of_rows = self._statistics
            after = step(of_rows, beta, found.weight, problem, self._settings.max_iter)
            decrement = self._decrement(of_rows, beta, after, found.weight)
            is_better = value < self.objective - rounding or decrement.sum() < 0.5 * least
            n_idle = 0 if is_better else n_idle + 1
            self._best, self.objective, least = beta, value, min(least, decrement.sum())
            if self._has_ended(found, points, decrement, n_idle):
                return
            # Near the solution the curvature does not change, and is not taken again; unless it
            # does, as that of a loss that is linear beyond some point.
            is_near = bool((decrement <= _NEAR * self.null_loss).all())
            is_slow = light and bool((decrement > _FAST * last).any())
            light, last = self._curved is not None and is_near and not is_slow, decrement
            points, light = self._after(after, light)

    def _after(self, after, light):
        """Where to read next, from the minimum of the quadratic; columns join there, and leave."""
        before = None if self._curved is None else self._best
        points = Points(after, before=before, curved=self._curved)
        move = self._columns.renew(points, light)
        if move is None:
            return points, light
        points = Points(*(None if of is None else move(of) for of in points))
        self._best, self._curved, self._statistics = move(self._best), points.curved, []
        return points, False

    def _read(self, points: Points, light: bool) -> Any:
        self.n_passes += 1
        return self._columns.read(points, light)

    def _decrement(self, statistics, beta, after, weight):
        """How long a step is, in the norm of the quadratic: by what that is lower, at least."""
        k, moved = len(beta) - self._columns.problem.fit_intercept, after - beta
        falls = np.zeros(beta.shape[1])
        for target, of_rows in enumerate(statistics):
            step = moved[:k, target]
            mean = of_rows.x_mean @ step + (moved[k, target] if len(beta) > k else 0.0)
            falls[target] = (step @ of_rows.sxx @ step + of_rows.weight * mean**2) / (2 * weight)
        return falls

    def _has_ended(self, found, points, decrement, n_idle):
        """Measure the gap, tell of the estimate; True when the fit has ended."""
        beta, problem = points.beta, self._columns.problem
        objective = objective_of(found, beta, problem)
        if found.at_zero is not None:
            self._at_zero = found.at_zero
            # Each row at its best: nothing is below that.
            self._lower = np.maximum(self._lower, -found.at_zero / found.weight)
            if self._has_classes or hasattr(problem.loss, "constant"):
                self.null_loss = null_loss(found, problem)
            elif self.null_loss is None:  # there was no sample to tell
                self.null_loss = 2 * (found.loss + found.at_zero) / found.weight
        if found.dual is not None:
            # Whatever dual point a pass has found bounds the minimum from below.
            of_null = self._at_zero, self.null_loss
            lower = self._columns.lower_bound(found, beta, *of_null, self._statistics[0])
            self._lower = np.maximum(self._lower, lower)
        gap = np.maximum(objective - self._lower, 0.0)
        if self._at_zero is not None and not self._has_classes:
            # Of a y that is constant, or nearly, what `tol` allows is below rounding.
            digits = _DIGITS * (np.abs(found.loss) + np.abs(self._at_zero)) / found.weight
            allowed = self._settings.tol * self.null_loss
            gap = np.where(np.maximum(gap, allowed) <= digits, 0.0, gap)
        self.found, self.estimate = found, Estimate(*self._columns.coefficients(beta), gap)
        row = {"n_updates": self.n_passes, "samples_seen": found.n_rows}
        row["objective"] = objective.sum()
        self.converged = self._is_within(gap)
        is_exact = self.converged and self._columns.is_complete
        is_exact = is_exact and (decrement <= self._exact * self.null_loss).all()
        ends = {
            "callback": self.record.add(row, self.estimate),
            "standstill": n_idle >= _MOST_IDLE,  # all the digits there are
            "size": self._columns.is_full,
            "max_iter": self.n_passes >= self._until,
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
        problem = self._columns.problem
        losses = self._columns.losses_between(best, beta, _SHORTER)
        k = len(beta) - problem.fit_intercept
        points = [best + share * (beta - best) for share in _SHORTER]
        values = [
            (loss / weight + problem.penalty.value(point[:k])).sum()
            for loss, point in zip(losses, points, strict=True)
        ]
        least = int(np.nanargmin(values)) if np.isfinite(values).any() else 0
        return points[least] if values[least] < objective else None
