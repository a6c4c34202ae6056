"""Paths of many columns, for every training set at once: working sets along the alphas.

The alphas are taken a few at a time, from the largest down. For each few: the statistics
of the working set's columns, cell by cell, in one pass; from them, exactly, the solution
of every training set at every alpha; and the correlations of all those residuals with
*all* columns in a second pass. Columns that violate optimality anywhere join the set, and
when there are none the next few alphas begin with the columns that come nearest (Tibshirani
et al., "Strong rules for discarding predictors in lasso-type problems", JRSS B 2012,
section 7, where the rule is a promise; here it only orders the columns, since every
solution is certified).
"""

from __future__ import annotations

from itertools import count
from typing import NamedTuple

import numpy as np
from scipy import sparse

from ..places.place import Place
from ..places.waiting import TimeIsUp
from ..problem.box import Pulls
from ..problem.certificate import scale_residual
from ..problem.grid import check_l1_ratio, grid_from, largest_correlation
from ..problem.moments import intercept
from ..problem.penalties import L1
from ..rows.cells import Partition
from ..rows.passes import Chosen, merge_sums, path_residuals
from .columns import first_pass
from .fit import Problem
from .joining import FEWEST, SLACK, n_joining
from .scoring import Point, joined_points
from .sets import training_sets

# Alphas that are solved for before their residuals are read; fewer where the correlations
# of all their residuals would take more than 2**24 values, 128 MiB.
_AT_ONCE = 10
_MOST_VALUES = 2**24


class Paths(NamedTuple):
    """What is known of a grid of alphas; of the first of them, where time was up.

    Attributes
    ----------
    coefs : sparse of shape (k, n_alphas)
    intercepts : ndarray of shape (n_alphas,)
        Of all rows.
    gaps : ndarray of shape (1 + n_splits, n_alphas)
        Duality gaps: of all rows, then of each training set.
    errors : ndarray of shape (n_alphas, n_splits)
        Mean squared errors on the test sets, or mean deviances.
    objectives : ndarray of shape (1 + n_splits, n_alphas)
    of_splits : list of Point
        Coefficients and intercepts of each training set.
    """

    coefs: sparse.csc_array
    intercepts: np.ndarray
    gaps: np.ndarray
    errors: np.ndarray
    objectives: np.ndarray
    of_splits: list[Point]


def joined(parts: list[Paths]) -> Paths:
    """Of a grid of alphas, what is known of its parts."""
    coefs, intercepts, gaps, errors, objectives, of_splits = zip(*parts, strict=True)
    return Paths(
        sparse.hstack(coefs, format="csc"),
        np.concatenate(intercepts),
        np.hstack(gaps),
        np.vstack(errors),
        np.hstack(objectives),
        [joined_points(points) for points in zip(*of_splits, strict=True)],
    )


class WidePath:
    """Solver of paths on rows with many columns.

    Parameters
    ----------
    place : InMemory or OnCluster
        At its deadline a path ends with the alphas that are done, if there are any.
    partition : Partition
        Its splits are solved for as well as all rows.
    problem : Problem
        Of whose penalty weights and sign count; they penalise every column.
    max_iter : int

    Attributes
    ----------
    statistics : ColumnMoments
        Of every column, on all rows.
    penalty : L1
        In the units of the columns.
    n_passes, n_updates : int
        How often the rows were read; solutions, one for each alpha and training set.
    """

    def __init__(
        self, place: Place, partition: Partition, problem: Problem, *, max_iter: int
    ) -> None:
        if np.isnan(place.n_rows):
            raise ValueError(
                f"X has {place.n_features} columns and chunks of unknown size: call"
                " X.compute_chunk_sizes() before a path or a cross-validation of so many."
            )
        self._place, self._partition = place, partition
        self._max_iter, self._fit_intercept = max_iter, problem.fit_intercept
        self._n_read, self.n_updates = 1, 0
        self.statistics, self._centre = first_pass(place, problem.fit_intercept)
        moments = self.statistics
        self.penalty = problem.in_units(moments.xx, moments.weight).l1_penalty
        self._alike = self.penalty.alike()
        self._weights = self.penalty.column_weights(place.n_features)
        self._norms = np.sqrt(self._centre.xx) / self._weights
        self._most = n_joining(place.n_features)
        self._sets = training_sets(
            place, partition, self.penalty, (moments, self._centre), max_iter
        )
        self._train, self._test = (
            [(which[0], partition.counts(which)) for which in sets] for sets in partition.sets()
        )

    @property
    def n_passes(self) -> int:
        return self._n_read + self._sets.n_passes

    @property
    def null_loss(self) -> np.ndarray:
        """``||y||^2 / n``: what `tol` is relative to."""
        return self._centre.yy / self.statistics.weight

    def grid(self, penalty: L1, eps: float, n_alphas: int) -> np.ndarray:
        """A grid of alphas down from the smallest at which every coefficient is zero."""
        check_l1_ratio(penalty)
        correlation = self._centre.xy / self._weights[:, np.newaxis]
        sizes = np.outer(self._norms, np.sqrt(self._centre.yy))
        largest = largest_correlation(self._alike.at_zero(correlation), sizes)
        return grid_from(largest / self.statistics.weight, penalty, eps=eps, n_alphas=n_alphas)

    def run(self, alphas: np.ndarray, penalty: L1) -> Paths:
        """Solve for falling `alphas`, of a penalty with this l1_ratio."""
        k, n_sets = self._place.n_features, len(self._train)
        few = int(max(1, min(_AT_ONCE, _MOST_VALUES // (k * n_sets))))
        chosen = self._first_columns(alphas[:few].min() * penalty.l1_ratio)
        parts: list[Paths] = []
        for start in range(0, len(alphas), few):
            try:
                found = self._solve(alphas[start : start + few], penalty, chosen)
            except TimeIsUp:
                if not parts:
                    raise TimeIsUp("the rows have not been read for the first alphas") from None
                break
            chosen, solutions, levels, gaps, errors, objectives, nearest = found
            spread = [_spread(solution, chosen, k) for solution in solutions]
            intercepts = [
                level - self._centre.x_mean @ coef
                for level, coef in zip(levels, spread, strict=True)
            ]
            points = [Point(*point) for point in zip(spread, intercepts, strict=True)]
            at = intercept(self.statistics, spread[0], self._fit_intercept)
            parts.append(Paths(spread[0], at, gaps, errors, objectives, points[1:]))
            if start + few < len(alphas):
                used = chosen[np.any([s.any(axis=1) for s in solutions], axis=0)]
                following = alphas[start + few :][:few].min() * penalty.l1_ratio
                chosen = np.union1d(used, nearest(following))
        return joined(parts)

    def _first_columns(self, l1):
        score = self._alike.at_zero(self._centre.xy)[:, 0] / self._weights
        score -= self.statistics.weight * l1
        return self._top(score, np.empty(0, dtype=np.intp), self._most)

    def _top(self, score, but, most):
        """Columns of the highest scores in units of their norms, at most so many."""
        candidates = self._norms > 0
        candidates[but] = False
        candidates = np.flatnonzero(candidates)
        if len(candidates) > most:
            score = score[candidates] / self._norms[candidates]
            candidates = np.sort(candidates[np.argpartition(-score, most)[:most]])
        return candidates

    def _solve(self, alphas, penalty, chosen):
        """Solve for a few alphas on all sets, with as many columns as that takes."""
        n_sets, n_alphas = len(self._train), len(alphas)
        solutions = np.empty((n_sets, 0, n_alphas))
        gaps, objectives, squares = np.zeros((3, n_sets, n_alphas))
        left = np.arange(n_alphas)  # for which columns are missing, on some set
        for attempt in count():
            chosen, sets = self._sets.read(chosen)
            self._check(sets)
            joined = np.zeros((n_sets, len(chosen) - solutions.shape[1], n_alphas))
            solutions = np.concatenate([solutions, joined], axis=1)
            of_chosen = penalty.of(chosen)
            for rows, solution in zip(sets, solutions, strict=True):
                near = solution[:, left] if attempt else None
                solution[:, left] = rows.solve(alphas[left], of_chosen, near)
            self.n_updates += n_sets * len(left)
            found = self._read_residuals(chosen, sets, solutions[..., left])
            gaps[:, left], objectives[:, left], excess = self._certify(
                sets, solutions[..., left], found, penalty.at(alphas[left]), chosen
            )
            squares[:, left] = found.errors.reshape(n_sets, -1)
            over = excess(alphas[left] * penalty.l1_ratio)
            over[:, chosen] = -np.inf
            if left[-1] == n_alphas - 1:
                excess_of_last = excess
                n_last = len(left)
            worst = over.max(axis=0)
            n_violating = np.count_nonzero(worst > 0)
            if n_violating == 0:
                break
            # Those that nearly violate too: a pass costs more than they do.
            joining = min(max(FEWEST, 4 * n_violating), max(self._most, len(chosen) // 2))
            left = left[(over > 0).any(axis=1).reshape(n_sets, -1).any(axis=0)]
            new = np.setdiff1d(self._top(worst, chosen, joining), chosen)
            if len(new) == 0:
                break  # what still violates is rounding, and the gap says how much
            chosen = np.concatenate([chosen, new])
        errors = squares[1:].T / self._sets.test_weights[1:]

        def nearest(l1):
            """The columns that come nearest to a coefficient below the last alpha."""
            score = excess_of_last(np.full(n_last, l1))[n_last - 1 :: n_last].max(axis=0)
            return self._top(score, chosen, self._most)

        levels = [rows.level(coef) for rows, coef in zip(sets, solutions, strict=True)]
        return chosen, solutions, levels, gaps, errors, objectives, nearest

    def _check(self, sets):
        """Raise where a training or a test set has no rows."""
        for kind, weights in (
            ("training", [rows.weight for rows in sets]),
            ("test", self._sets.test_weights),
        ):
            empty = np.flatnonzero(np.asarray(weights[1:]) == 0)
            if len(empty):
                raise ValueError(
                    f"The {kind} set of split {empty[0]} has no rows, or none with a positive"
                    " weight: use another cv."
                )

    def _read_residuals(self, chosen, sets, solutions):
        """Correlate the residuals of all solutions with all columns: a pass."""
        self._n_read += 1
        coef = np.hstack(solutions)
        used = coef.any(axis=1)
        x_mean = self._centre.x_mean[chosen]
        level = [rows.level(solution) for rows, solution in zip(sets, solutions, strict=True)]
        return self._place.reduce(
            path_residuals,
            merge_sums,
            Chosen(chosen[used], x_mean[used]),
            coef[used],
            np.concatenate(level),
            self._centre.y_mean,
            self._train,
            self._test,
            partition=self._partition,
        )

    def _certify(self, sets, solutions, found, penalty, chosen):
        """Gaps and objectives (n_sets, n_alphas), and by how much correlations exceed an l1."""
        n_alphas = len(penalty.alpha)
        weight = np.repeat([rows.weight for rows in sets], n_alphas)
        l1 = np.tile(penalty.l1, len(sets)) * weight
        ridge = np.tile(penalty.l2, len(sets)) * weight
        # In units in which all columns are penalised alike.
        coef = np.hstack(solutions) * self._weights[chosen, np.newaxis]
        correlations = found.correlations.T
        if self._fit_intercept:
            # Residuals sum to zero up to rounding, which far columns magnify.
            correlations -= np.outer(found.total, self.statistics.x_mean)
        correlations /= self._weights
        # A column without variation has no correlation but rounding.
        correlations[:, self._norms == 0] = 0.0
        correlations[:, chosen] -= ridge[:, np.newaxis] * coef.T
        if self._alike.box is None:
            pulls = Pulls(np.abs(correlations, out=correlations).T)
        else:
            of_all = np.zeros(correlations.T.shape)
            of_all[chosen] = coef
            pulls = self._alike.pulls(correlations.T, of_all)
            correlations = self._alike.at_zero(correlations.T).T
        squares = found.squares + ridge * (coef**2).sum(axis=0)
        primal = squares / 2 + l1 * np.abs(coef).sum(axis=0)
        yy = self._centre.yy * weight / self.statistics.weight
        _, dual = scale_residual(squares, found.with_y, pulls, l1, self._norms, yy)
        gaps = np.maximum(primal - dual, 0.0) / weight

        def excess(l1):
            threshold = np.tile(l1, len(sets)) * weight
            rounding = SLACK * threshold[:, np.newaxis] + 1e-13 * np.sqrt(
                self._centre.yy[0]
            ) * np.outer(weight / self.statistics.weight, self._norms)
            return correlations - threshold[:, np.newaxis] - rounding

        by_set = len(sets), n_alphas
        return gaps.reshape(by_set), (primal / weight).reshape(by_set), excess


def _spread(coef, chosen, k):
    """Coefficients of the chosen columns among all k."""
    rows, columns = np.nonzero(coef)
    shape = (k, coef.shape[1])
    return sparse.csc_array((coef[rows, columns], (chosen[rows], columns)), shape=shape)
