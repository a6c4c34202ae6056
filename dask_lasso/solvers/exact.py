"""The exact lasso of the rows seen so far, from their statistics.

Blocks report their statistics and have no more to do. Between reports the estimate is
not an ADMM iterate but the lasso of the merged statistics, warm-started: at equal cost
it is the better estimate (it has no error but the rows still missing), it needs no
further task on the cluster, and `max_time` may return it as it stands.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ..engines.record import Estimate, Observer, Record
from ..engines.run import Blocks
from ..places.place import Place
from ..problem.concave import Concave
from ..problem.first import adapted
from ..problem.gram import Path, Solution, solve, solve_path
from ..problem.moments import Moments, intercept
from ..problem.penalties import L1
from ..rows.statistics import Statistics, merge_statistics
from .dependent import blamed, look_again
from .fit import AnyPenalty, Fit, Problem, Settings, drive
from .other_penalties import solve_other, solve_other_path

# Share of the time since the first report that running estimates may take: the last one
# is the answer, those before are for whoever looks.
_ESTIMATES_SHARE = 0.03


def fit(place: Place, problem: Problem, settings: Settings, observe: Observer) -> Fit:
    """Fit the rows of a place in one pass."""
    record = Record(observe)
    reports = place.load_statistics()
    model = Exact(problem, settings, len(reports))
    found = drive(place, Blocks(reports, reports), model, settings, record)
    found = look_again(place, found, model.penalty, problem.fit_intercept, settings)
    return blamed(found, model.penalty, problem.fit_intercept, settings.tol)


def fit_statistics(statistics: Statistics, problem: Problem, settings: Settings) -> Fit:
    """Fit the rows that statistics are of."""
    model = Exact(problem, settings, 1)
    model.absorb_report(0, statistics)
    model.update(0)
    n_rows, nothing = statistics.n_rows, np.zeros(1, dtype=np.int64)
    estimate, null_loss = model.estimate, model.null_loss
    found = Fit(estimate, statistics, null_loss, True, n_rows, 1, 0, history={}, staleness=nothing)
    return blamed(found, model.penalty, problem.fit_intercept, settings.tol)


class Exact:
    """The model of a fit in one pass: merged statistics, and the lasso of them."""

    wants_updates = False

    def __init__(self, problem: Problem, settings: Settings, n_blocks: int) -> None:
        self._problem, self._settings = problem, settings
        self._n_blocks = n_blocks
        self._n_reported = 0
        self._waiting: list[Statistics] = []
        self._spent = 0.0
        self._began = time.perf_counter()
        self._coef = settings.coef_init
        # As it is of the statistics: in units of the columns, with weights of a first estimate.
        self.penalty: AnyPenalty = problem.penalty
        self.statistics: Statistics | None = None
        self.estimate: Estimate | None = None
        self.converged = False
        # What `tol` is relative to, one per target: ``||y||^2 / n``.
        self.null_loss: np.ndarray | None = None

    @property
    def samples_seen(self) -> int:
        merged = 0 if self.statistics is None else self.statistics.n_rows
        return merged + sum(part.n_rows for part in self._waiting)

    def absorb_report(self, block: int, statistics: Statistics) -> None:
        """Keep a block's statistics for the next estimate."""
        self._waiting.append(statistics)
        self._n_reported += 1

    def update(self, n_updates: int) -> dict | None:
        """Solve for the rows seen so far, unless that was done a moment ago."""
        now = time.perf_counter()
        self.converged = self._n_reported == self._n_blocks
        if not self.converged and self._spent > _ESTIMATES_SHARE * (now - self._began):
            return None
        row = self.conclude()
        self._spent += time.perf_counter() - now
        return row

    def conclude(self) -> dict | None:
        """The exact lasso of all rows that have been reported."""
        merged = [] if self.statistics is None else [self.statistics]
        self.statistics = merge_statistics(merged + self._waiting)
        self._waiting = []
        if self.statistics.weight == 0:
            self.converged = False
            return None
        moments = self.statistics.moments(self._problem.fit_intercept)
        problem = self._problem.in_units(self.statistics.x_variation, moments.weight)
        problem = problem._replace(penalty=adapted(moments, problem.penalty))
        self.penalty = problem.penalty
        self._coef, gap, value = solve_problem(moments, problem, self._settings, self._coef)
        self.null_loss = moments.null_loss
        best = intercept(self.statistics, self._coef, self._problem.fit_intercept)
        self.estimate = Estimate(self._coef, best, gap, problem.penalty.certificate)
        return {"samples_seen": self.samples_seen, "objective": value.sum()}


def solve_problem(
    moments: Moments, problem: Problem, settings: Settings, coef_init: np.ndarray | None = None
) -> Solution:
    """`solve` or `solve_other`, as the settings of a fit want it."""
    options: Any = dict(max_iter=settings.max_iter, coef_init=coef_init, dtype=settings.dtype)
    if isinstance(problem.penalty, L1):
        return solve(moments, problem.penalty, **options)
    return solve_other(moments, problem.penalty, **options)


def solve_any_path(
    moments: Moments, penalty: AnyPenalty, alphas: np.ndarray, *, max_iter: int
) -> Path:
    """`solve_path` or `solve_other_path`."""
    if isinstance(penalty, L1):
        return solve_path(moments, penalty, alphas, max_iter=max_iter)
    return solve_other_path(moments, penalty, alphas, max_iter=max_iter)


def knows(penalty: AnyPenalty) -> bool:
    """Whether statistics are enough for a penalty."""
    return penalty.has_dual or isinstance(penalty, Concave)
