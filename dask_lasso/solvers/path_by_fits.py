"""Paths that are a fit for every alpha and training set, where no shared curvature will do.

For several classes, for Huber's loss, and for any loss where the Gram matrices of all training
sets are too large. Each fit is Newton's, begins where that of the alpha before has ended, and has
its own curvature, and of many columns its own working set. The fits of all training sets go on side
by side, as many as there is room for, and share their passes (`places/together.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from scipy import sparse

from ..places.place import Place
from ..places.together import Together
from ..places.waiting import TimeIsUp
from ..problem.grid import check_l1_ratio, grid_from, largest_correlation
from ..problem.penalties import L1
from ..problem.softmax import Softmax
from ..rows.cells import Partition
from ..rows.held_out import mean_deviances, mean_scores
from ..rows.newton_columns import slopes_of_columns
from ..rows.passes import merge_sums
from . import newton
from .columns import first_pass, in_units
from .fit import Problem, Settings
from .newton_columns import columns_of, takes_sets
from .newton_path import ALL_ZERO, ROUNDING, sets_of
from .scoring import Point, linear_of
from .width import fits_at_once
from .working_set_path import Paths

# Alphas that are known of at once, for which test errors take one pass.
_AT_ONCE = 5
# Decrements, relative to the null loss, at which the next alpha begins: coefficients are good to
# about the root of it.
_SETTLED = 1e-14


class PathByFits:
    """Solver of paths for a loss that `newton` fits; parameters and attributes of `NewtonPath`."""

    def __init__(
        self, place: Place, partition: Partition, problem: Problem, settings: Settings
    ) -> None:
        self._place, self._partition = place, partition
        self._problem = in_units(place, problem)
        self._settings = replace(settings, settled=_SETTLED, coef_init=None)
        self.penalty = self._problem.l1_penalty
        self._n_read, self.n_updates = int(problem.penalty.standardize) + 2, 0
        self._look_at_null()
        self._sets, self._size = sets_of(place, partition, problem)
        self._together = Together(place, partition)

    @property
    def n_passes(self) -> int:
        """How often the rows were read."""
        return self._n_read + self._together.n_passes

    def _look_at_null(self):
        """The model without coefficients, but for those that are not penalised; what violates."""
        place, problem = self._place, self._problem
        problem = problem._replace(penalty=self.penalty.at(ALL_ZERO))
        null = newton.fit(place, problem, self._settings, lambda row, estimate: False)
        self._n_read += null.n_passes
        self.null_loss, self.statistics = null.null_loss, null.statistics
        coef, loss = null.estimate.coef, problem.loss
        columns = np.flatnonzero(coef.any(axis=1))
        beta = coef[columns]
        if problem.fit_intercept:
            beta = np.vstack([beta, null.estimate.intercept])
        if isinstance(loss, Softmax):
            loss = replace(loss, shift=np.zeros(len(columns)))
            beta = loss.as_vector(beta)
        args = slopes_of_columns, loss, columns, beta
        _, self._at_null = first_pass(place, problem.fit_intercept, *args)

    def grid(self, penalty: L1, eps: float, n_alphas: int) -> np.ndarray:
        """A grid of alphas down from the smallest at which every coefficient is zero."""
        check_l1_ratio(penalty)
        at_null, weights = self._at_null, penalty.column_weights(self._place.n_features)
        is_on = weights > 0
        pulls = penalty.at_zero(at_null.xy)[is_on] / weights[is_on, np.newaxis]
        norms = np.sqrt(at_null.xx[is_on]) / weights[is_on]
        sizes = np.outer(norms, np.sqrt(at_null.yy))
        largest = largest_correlation(pulls, sizes) * (1 + ROUNDING)
        return grid_from(largest / at_null.weight, penalty, eps=eps, n_alphas=n_alphas)

    def deviances(self, path: Paths, penalty: L1) -> np.ndarray:
        """Mean deviances (n_alphas,) on all rows; `penalty` is that of the path."""
        of_classes = linear_of(Point(path.coefs, path.intercepts), self._place.n_features)
        values = penalty.of(of_classes.columns).value
        n_alphas = path.coefs.shape[1]
        blocks = np.split(of_classes.coef, of_classes.coef.shape[1] // n_alphas, axis=1)
        losses = path.objectives[0] - sum(values(block) for block in blocks)
        return 2 * (losses + self._size.at_zero[0] / self._size.weight[0])

    def run(self, alphas: np.ndarray, penalty: L1) -> Iterator[Paths]:
        """Solve for falling `alphas`, of a penalty with this l1_ratio, a few at a time."""
        fits: dict[int, newton.Newton] = {}
        for start in range(0, len(alphas), _AT_ONCE):
            few = alphas[start : start + _AT_ONCE]
            of_sets = self._of_sets(fits, few, penalty)
            self.n_updates += len(few) * len(of_sets)
            points, gaps, objectives = zip(*of_sets, strict=True)
            coefs, intercepts = points[0]
            errors = self._errors(points[1:], len(few))
            values = np.array(gaps), errors, np.array(objectives)
            yield Paths(coefs, intercepts, *values, list(points[1:]))

    def _of_sets(self, fits, alphas, penalty):
        """Fit all training sets at some alphas, as many at once as there is room for."""
        n_sets, fit = len(self._size.weight), partial(self._fit, fits, alphas, penalty)
        problem = self._problem._replace(penalty=penalty.at(alphas[0]))
        # Of working sets, which begin with few columns, as many as there were.
        n_columns = max([fit.n_columns for fit in fits.values()], default=1)
        if not takes_sets(self._place, problem, n_sets):
            n_columns = self._place.n_features * getattr(problem.loss, "n_classes", 1)
        at_once, found = fits_at_once(n_columns), []
        for start in range(0, n_sets, at_once):
            group = range(start, min(start + at_once, n_sets))
            found += self._together.run(fit, group)
            for which in group if len(group) < n_sets else ():
                fits[which].forget()
        return found

    def _fit(self, fits, alphas, penalty, which, place):
        """Fit a training set at some alphas: the models, their gaps and objectives."""
        found = []
        for alpha in alphas:
            if which in fits:
                fits[which].go_on(alpha)
            else:
                problem = self._problem._replace(penalty=penalty.at(alpha))
                columns = columns_of(place, problem, self._settings, len(self._size.weight))
                fits[which] = newton.Newton(
                    place, columns, self._settings, lambda row, estimate: False
                )
                fits[which].run()
            if fits[which].stopped_by == "max_time":
                raise TimeIsUp("the rows have not been read for some alphas")
            of, objective = fits[which].estimate, fits[which].objective
            coef = sparse.csc_array(of.coef.T.reshape(-1, 1))  # class by class
            found.append((coef, of.intercept, of.gap.sum(), objective))
        coefs, intercepts, gaps, objectives = zip(*found, strict=True)
        intercepts = np.array(intercepts)
        if intercepts.shape[1] == 1:
            intercepts = intercepts[:, 0]
        return Point(sparse.hstack(coefs, format="csc"), intercepts), gaps, objectives

    def _errors(self, models, n_alphas):
        """Mean deviances (n_alphas, n_splits) on the test sets: a pass."""
        if not models:
            return np.empty((n_alphas, 0))
        linears = [linear_of(model, self._place.n_features) for model in models]
        score = partial(mean_deviances, loss=self._problem.loss)
        args = linears, self._sets.test[1:], score, (n_alphas,)
        self._n_read += 1
        found = self._place.reduce(mean_scores, merge_sums, *args, partition=self._partition)
        return (found.sums / found.weight).T
