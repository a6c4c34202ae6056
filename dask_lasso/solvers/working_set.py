"""The lasso of more columns than a Gram matrix should have: working sets.

Most columns end without a coefficient, and those need not be in the problem that is
solved. So: solve exactly for a set of columns, correlate the residual with *all* columns
in a pass over the rows, let the columns that violate optimality most join the set, and
repeat until no column does. The duality gap that this ends with is that of the whole
problem. The Gram of the set grows with it, in a pass that looks at the columns of the
set alone.

Which columns these are is in `joining`. Screening: Ndiaye, Fercoq, Gramfort & Salmon, "Gap safe
screening rules for sparsity enforcing penalties" (JMLR 2017), section 3.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from scipy import sparse

from ..engines.record import Estimate, Observer, Record
from ..places.place import Place
from ..places.waiting import TimeIsUp
from ..problem.certificate import scale_residual
from ..problem.moments import Moments, intercept
from ..rows.passes import Chosen, merge_sums, products, residuals
from . import admm
from .columns import first_pass
from .exact import solve_problem
from .fit import Fit, Problem, Settings
from .joining import MOST, n_joining, violations

# The client holds the Gram of the set, and a task holds its part of it: 512 MiB.
_MAX_SET = 2**13
# Squared mean of a column, in variances, beyond which its products lose too many digits.
_FAR = 1e4
# Passes without progress after which there will be none.
_MOST_IDLE = 10
# The gap to which ADMM solves for a set, relative to the one asked for, that is in vain: the
# gap of all rows is not what the set's moments say.
_LEAST_TOL = 1e-8


def fit(
    place: Place, problem: Problem, settings: Settings, observe: Observer, by_admm: bool = False
) -> Fit:
    """Fit rows with many columns, each of which has an l1 penalty.

    The problem of a working set is solved exactly, from the Gram of its columns, or by
    consensus ADMM with the engine of the settings.
    """
    model = _WorkingSet(place, problem, settings, Record(observe), by_admm)
    model.run()
    return Fit(
        model.estimate,
        model.statistics,
        model.null_loss,
        model.stopped_by is None,
        model.statistics.n_rows,
        n_passes=model.n_passes,
        n_updates=model.n_updates,
        history=model.record.history,
        staleness=model.staleness,
        stopped_by=model.stopped_by,
    )


class _WorkingSet:
    """A fit with many columns: the working set, the estimate, what is known of all columns.

    Attributes
    ----------
    estimate : Estimate
        Its gap is of the whole problem.
    statistics : ColumnMoments
    n_passes : int
        How often the rows were read.
    n_updates : int
        Solutions of the working set's problem, or updates of its blocks.
    staleness : ndarray
        Of the blocks of ADMM on the last working set; else there is one block, of all rows.
    stopped_by : str or None
        None if the certificate holds.
    """

    def __init__(
        self, place: Place, problem: Problem, settings: Settings, record: Record, by_admm: bool
    ) -> None:
        self._place, self._problem, self._settings = place, problem, settings
        self._by_admm, self.record = by_admm, record
        self._fit_intercept = problem.fit_intercept
        self._tol, self._coef_init = settings.tol, settings.coef_init
        if self._coef_init is not None:
            self._coef_init = problem.l1_penalty.clip(self._coef_init)
        self._set_tol = 0.5 * self._tol  # the least relative gap to which ADMM solves for a set
        self._is_solved = True  # the empty set is
        self._is_exhausted = False  # no more iterations are allowed
        self._best = np.inf, np.inf  # objective and gap, over the targets
        self._n_idle = 0  # passes since either of them was better
        self.n_passes = self.n_updates = 0
        self.staleness = np.zeros(1, dtype=np.int64)
        self.stopped_by = self.estimate = None

    def run(self) -> None:
        """Read the rows as often as the certificate needs, and time allows."""
        try:
            self._run()
        except TimeIsUp:
            if self.estimate is None:
                raise TimeIsUp("the first pass over the rows is not complete") from None
            self.stopped_by = "max_time"  # with the last estimate that has a certificate

    def _run(self):
        self._read_columns()
        if self._coef_init is not None and self._coef_init.any():
            self._is_solved = False
            self._set = np.flatnonzero(self._coef_init.any(axis=1))
            self._set_coef = self._coef_init[self._set] * self._weights[self._set, np.newaxis]
            done = self._read_residuals()
            new, self._set, self._set_coef = self._set, self._set[:0], self._set_coef[:0]
            new = np.union1d(new, self._violating())
        else:
            done = self._certify(self._xy.copy(), self._yy, self._yy)
            new = self._violating()
        while not done:
            self._join(new)
            self._solve()
            done = self._read_residuals()
            new = self._violating()

    def _read_columns(self):
        """Take the first pass: the moments of every column by itself."""
        self.statistics, centred = first_pass(self._place, self._fit_intercept)
        self.n_passes, moments = 1, self.statistics
        self._problem = self._problem.in_units(moments.xx, moments.weight)
        penalty = self._penalty = self._problem.l1_penalty
        self._l1, self._l2 = penalty.l1, penalty.l2
        # Columns are divided by their weights, and then penalised alike.
        self._alike = penalty.alike()
        self._weights = penalty.column_weights(self._place.n_features)
        weight, xx, xy, yy = centred.weight, centred.xx, centred.xy, centred.yy
        self._x_mean, self._y_mean = centred.x_mean, centred.y_mean
        xx, xy = xx / self._weights**2, xy / self._weights[:, np.newaxis]
        # A ridge term counts as k further rows, ``sqrt(n l2) w``.
        self._ridge = weight * self._l2
        self._norms, self._xy, self._yy = np.sqrt(xx + self._ridge), xy, yy
        self._constant = xx == 0
        # A column without variation cannot have a coefficient.
        self._eligible = xx > 0
        self._most = n_joining(len(xx))
        self._set, self._gram = np.empty(0, dtype=np.intp), np.empty((0, 0))
        self._set_coef = np.empty((0, xy.shape[1]))

    # -- the working set -------------------------------------------------------------

    def _solve(self):
        """Solve for the columns in the set: exactly, or by ADMM to a gap."""
        self._is_solved = True
        if self._by_admm:
            self._solve_by_admm()
            return
        alike = self._problem._replace(penalty=self._alike.of(self._set))
        settings = replace(self._settings, dtype=np.float64)
        self._set_coef, *_ = solve_problem(self._moments(), alike, settings, self._set_coef)
        # What is certified is what the user gets.
        weights = self._weights[self._set, np.newaxis]
        coef, of_set = self._set_coef / weights, self._penalty.of(self._set)
        self._set_coef = of_set.rounded(coef, len(coef), self._settings.dtype) * weights
        self.n_updates += 1
        self._is_exhausted = self.n_updates >= self._settings.max_iter

    def _moments(self) -> Moments:
        """Of the columns in the set, divided by their weights."""
        moments, columns, weights = self.statistics, self._set, self._weights[self._set]
        xy = moments.xy[columns] / weights[:, np.newaxis]
        means = None, None
        if not self._fit_intercept:
            means = moments.x_mean[columns] / weights, moments.y_mean
        return Moments(self._gram, xy, moments.yy, moments.weight, *means)

    def _solve_by_admm(self):
        """A pass for the blocks' statistics of the set's columns, and ADMM on them."""
        began, before = self.record.seconds, self.n_updates

        def observe(row, estimate):
            row["time"] += began
            row["n_updates"] += before
            return self.record.add(row, self.estimate)

        tiny = np.finfo(float).tiny
        relative = float((self.estimate.gap / np.maximum(self.null_loss, tiny)).max())
        if self._is_complete:
            self._set_tol *= 0.2  # it was not enough for all columns
        self.n_passes += 1
        weights = self._weights[self._set, np.newaxis]
        problem = self._problem._replace(penalty=self._penalty.of(self._set))
        settings = replace(
            self._settings,
            coef_init=self._set_coef / weights,
            tol=max(0.1 * relative, self._set_tol),
        )
        with self._place.of_columns(self._set) as place:
            found = admm.fit(place, problem, settings, observe)
        self._set_coef = found.estimate.coef * weights
        self.n_updates += found.n_updates
        self.staleness = found.staleness
        self._is_exhausted = found.stopped_by == "max_iter"
        if found.stopped_by == "callback":
            self.stopped_by = "callback"

    def _violating(self):
        """Columns outside the set that violate optimality most, or nearly do."""
        may_join = np.array(self._eligible)
        may_join[self._set] = False
        return self._violations.joining(may_join, max(self._most, self._n_active))

    def _keep(self):
        """Drop columns without a coefficient, but for as many as have one, nearest first."""
        stay = self._violations.staying(self._set, self._set_coef.any(axis=1))
        if not stay.all():
            self._set, self._set_coef = self._set[stay], self._set_coef[stay]
            self._gram = self._gram[np.ix_(stay, stay)]

    def _join(self, new):
        """Let the columns `new` join the set: a pass, for their products."""
        if not self._by_admm:
            self._keep()  # by ADMM a set only grows, or columns might take turns
        if len(new) == 0:
            return
        n_old = len(self._set)
        columns = np.concatenate([self._set, new])
        joined = np.zeros((len(new), self._xy.shape[1]))
        if self._coef_init is not None and n_old == 0:
            joined = self._coef_init[new] * self._weights[new, np.newaxis]
        self._set, self._set_coef = columns, np.vstack([self._set_coef, joined])
        if not self._by_admm:
            self._extend_gram(n_old)

    def _extend_gram(self, n_old):
        """The Gram of the set, of whose first columns it is known: a pass."""
        columns, new = self._set, self._set[n_old:]
        # Centred with an intercept or without one: `_moments` has the means beside the Gram.
        moments = self.statistics
        with np.errstate(over="ignore"):
            far = moments.weight * moments.x_mean[columns] ** 2 > _FAR * moments.xx[columns]
        chosen = Chosen(columns, moments.x_mean[columns], far)
        self.n_passes += 1
        found = self._place.reduce(products, merge_sums, chosen, len(new))
        rows = found.gram
        if sparse.issparse(found.raw):
            mean = chosen.left_mean
            rows = rows + found.raw.toarray()
            rows -= np.outer(found.sums[n_old:], mean) + np.outer(mean[n_old:], found.sums)
            rows += found.weight * np.outer(mean[n_old:], mean)
        rows /= np.outer(self._weights[new], self._weights[columns])
        gram = np.empty((len(columns), len(columns)))
        gram[:n_old, :n_old] = self._gram
        gram[n_old:] = rows
        gram[:n_old, n_old:] = rows[:, :n_old].T
        self._gram = gram

    def _read_residuals(self):
        """Correlate the residual with all columns: a pass; True when the fit has ended."""
        active = self._set_coef.any(axis=1)
        columns = self._set[active]
        chosen = Chosen(columns, self._x_mean[columns])
        coef = self._set_coef[active] / self._weights[columns, np.newaxis]
        self.n_passes += 1
        found = self._place.reduce(residuals, merge_sums, chosen, coef, self._y_mean)
        correlations = found.correlations
        correlations -= np.outer(self._x_mean, found.total)
        correlations /= self._weights[:, np.newaxis]
        return self._certify(correlations, found.squares, found.with_y)

    # -- the certificate -------------------------------------------------------------

    def _certify(self, correlations, squares, with_y):
        """Measure the gap on all columns; True when the fit has ended.

        Parameters
        ----------
        correlations : ndarray of shape (k, m)
            Of the centred columns with the residual r.
        squares, with_y : ndarray of shape (m,)
            ``r.r`` and ``r.y``.
        """
        weight, threshold = self.statistics.weight, self.statistics.weight * self._l1
        norms = self._norms[:, np.newaxis]
        # With a ridge term the penalty's conjugate is finite, so that the residual need not be
        # scaled: what a set that is solved to a gap exceeds by counts squared then.
        unscaled = np.full(len(self._yy), -np.inf)
        if self._ridge:
            unscaled = with_y - 0.5 * squares - self._alike.conjugate(correlations, weight)
            correlations[self._set] -= self._ridge * self._set_coef
            squares = squares + (self._set_coef * (self._ridge * self._set_coef)).sum(axis=0)
        # A column without variation has no correlation but rounding.
        correlations[self._constant] = 0.0
        of_all = np.zeros_like(self._xy)
        of_all[self._set] = self._set_coef
        pulls = self._alike.pulls(correlations, of_all)
        loss = squares / (2 * weight)
        primal = loss + self._l1 * np.abs(self._set_coef).sum(axis=0)
        scale, dual = scale_residual(squares, with_y, pulls, threshold, self._norms, self._yy)
        of_scaled = np.maximum(primal - dual / weight, 0.0)
        gap = np.minimum(of_scaled, np.maximum(primal - unscaled / weight, 0.0))
        coef = self._penalty.rounded(
            of_all / self._weights[:, np.newaxis], len(of_all), self._settings.dtype
        )
        best = intercept(self.statistics, coef, self._fit_intercept)
        self.estimate = Estimate(coef, best, gap)

        # Screened is a column that stays inside its constraint wherever in the ball around
        # the dual point the dual solution is.
        excess = self._alike.at_zero(correlations)
        radius = np.sqrt(2 * weight * of_scaled)
        self._eligible &= (threshold - scale * excess <= radius * norms).any(axis=1)
        self._violations = violations(excess, threshold, self._norms, np.sqrt(self._yy))
        self._violations.outside[self._set] = False
        self._is_complete = not self._violations.outside.any()
        return self._has_ended(loss)

    def _has_ended(self, loss):
        penalty = self._l1 * np.abs(self._set_coef).sum()
        row = {
            "n_updates": self.n_updates,
            "samples_seen": self.statistics.n_rows,
            "objective": loss.sum() + penalty,
        }
        within = bool((self.estimate.gap <= self._tol * self.null_loss).all())
        self._notice(row["objective"].sum(), self.estimate.gap.sum())
        if self.stopped_by is not None or self.record.add(row, self.estimate):
            self.stopped_by = "callback"
        elif self._is_solved and (within if self._by_admm else self._is_complete):
            # By ADMM a set is solved for to a gap; else there is nothing to add to it.
            self.stopped_by = None if within else "max_iter"
            return True
        elif time.perf_counter() >= self._place.deadline:
            self.stopped_by = "max_time"
        elif self._n_idle >= _MOST_IDLE or self._set_tol < _LEAST_TOL * self._tol:
            self.stopped_by = "standstill"
        elif self._n_active + MOST > _MAX_SET:
            self.stopped_by = "size"
        elif self._is_exhausted:
            self.stopped_by = "max_iter"
        return self.stopped_by is not None

    def _notice(self, objective, gap):
        """Count the passes that brought nothing: rounding, or rows that change, stop a fit."""
        best, least = self._best
        least_step = 1e-3 * self._tol * self.null_loss.sum()
        better = objective < best - least_step or gap < 0.99 * least
        self._n_idle = 0 if better else self._n_idle + 1
        self._best = min(objective, best), min(gap, least)

    @property
    def _n_active(self) -> int:
        return int(np.count_nonzero(self._set_coef.any(axis=1)))

    @property
    def null_loss(self) -> np.ndarray:
        """What `tol` is relative to, one per target: ``||y||^2 / n``."""
        return self._yy / self.statistics.weight
