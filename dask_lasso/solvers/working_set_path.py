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

from collections.abc import Iterable, Iterator
from itertools import count
from typing import NamedTuple

import numpy as np
from scipy import sparse

from ..places.place import Place
from ..places.threads import side_by_side
from ..problem.box import Pulls
from ..problem.certificate import scale_residual
from ..problem.grid import check_l1_ratio, grid_from, largest_correlation
from ..problem.moments import intercept
from ..problem.penalties import L1
from ..rows.cells import Partition
from ..rows.passes import Chosen, merge_sums, path_residuals
from .columns import first_pass
from .fit import Problem, Settings
from .joining import FEWEST, SLACK, n_joining
from .scoring import Point, joined_points
from .sets import training_sets

# Values, 128 MiB, of the correlations of residuals that are read at once.
_MOST_VALUES = 2**24


class Paths(NamedTuple):
    """What is known of some alphas of a grid.

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


def joined(parts: Iterable[Paths]) -> Paths:
    """What is known of all alphas, from that of the first, of the next, and so on."""
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
    partition : Partition
        Its splits are solved for as well as all rows.
    problem : Problem
        Of whose penalty weights and sign count; they penalise every column.
    settings : Settings
        `tol` is what gaps are good for. With splits the solutions on all rows have more digits,
        as of any other fit.

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
        self, place: Place, partition: Partition, problem: Problem, settings: Settings
    ) -> None:
        if np.isnan(place.n_rows):
            raise ValueError(
                f"X has {place.n_features} columns and chunks of unknown size: call"
                " X.compute_chunk_sizes() before a path or a cross-validation of so many."
            )
        self._place, self._partition = place, partition
        self._fit_intercept = problem.fit_intercept
        self._n_read, self.n_updates = 1, 0
        self.statistics, self._centre = first_pass(place, problem.fit_intercept)
        moments = self.statistics
        self.penalty = problem.in_units(moments.xx, moments.weight).l1_penalty
        self._alike = self.penalty.alike()
        self._weights = self.penalty.column_weights(place.n_features)
        self._norms = np.sqrt(self._centre.xx) / self._weights
        self._most = n_joining(place.n_features)
        self._sets = training_sets(
            place, partition, self.penalty, (moments, self._centre), settings.max_iter
        )
        self._train, self._test = (
            [(which[0], partition.counts(which)) for which in sets] for sets in partition.sets()
        )
        self._allowed = np.full(len(self._train), settings.tol * self.null_loss[0])
        if partition.splits:
            self._allowed[0] = 0.0

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

    def run(self, alphas: np.ndarray, penalty: L1) -> Iterator[Paths]:
        """Solve for falling `alphas`, of a penalty with this l1_ratio, a few at a time."""
        k, n_sets = self._place.n_features, len(self._train)
        few = int(max(1, min(self._sets.at_once, _MOST_VALUES // (k * n_sets))))
        chosen = self._first_columns(alphas[:few].min() * penalty.l1_ratio)
        of_each = [chosen] * n_sets
        for start in range(0, len(alphas), few):
            found = _Found(n_sets, alphas[start : start + few], k)
            chosen = self._solve(found, penalty, chosen, of_each)
            yield self._paths(found, chosen)
            if start + few < len(alphas):
                following = alphas[start + few :][:few].min() * penalty.l1_ratio
                excess = self._excess(found.pulls, np.full(n_sets, following), np.arange(n_sets))
                of_all, active = excess.max(axis=0), chosen[found.coef.any(axis=1)]
                of_all[chosen if self._sets.keeps else active] = -np.inf
                nearest = self._top(of_all, self._most)
                of_each = self._near(excess, nearest, np.union1d(chosen, nearest))
                chosen = np.union1d(active, nearest)

    def _paths(self, found, chosen):
        """What is known of the alphas of `found`."""
        shape = n_sets, _ = len(self._train), len(found.alphas)
        points = []
        for which in range(n_sets):
            is_of_set = found.of_set == which
            coef = _spread(found.coef[:, is_of_set], chosen, self._place.n_features)
            levels = self._centre.y_mean + found.levels[is_of_set]
            points.append(Point(coef, levels - self._centre.x_mean @ coef))
        of_all = points[0].coefs
        return Paths(
            of_all,
            intercept(self.statistics, of_all, self._fit_intercept),
            found.gaps.reshape(shape),
            found.squares.reshape(shape)[1:].T / self._sets.test_weights[1:],
            found.objectives.reshape(shape),
            points[1:],
        )

    def _first_columns(self, l1):
        score = self._alike.at_zero(self._centre.xy)[:, 0] / self._weights
        score -= self.statistics.weight * l1
        return self._top(score, self._most)

    def _top(self, score, most):
        """Columns of the highest scores in units of their norms, at most so many."""
        candidates = np.flatnonzero((self._norms > 0) & (score > -np.inf))
        if len(candidates) > most:
            score = score[candidates] / self._norms[candidates]
            candidates = np.sort(candidates[np.argpartition(-score, most)[:most]])
        return candidates

    def _near(self, scores, nearest, among):
        """Of each set the columns `among` some that score there (n_sets, k) as `nearest` do."""
        of_nearest = scores[:, nearest].max(axis=0) / self._norms[nearest]
        # None is left to be nearer than: all of them are looked at, which takes no pass.
        least = of_nearest.min() if len(nearest) else -np.inf
        return [among[of_set >= least * self._norms[among]] for of_set in scores[:, among]]

    def _solve(self, found, penalty, chosen, of_each):
        """Solve for a few alphas on all sets; the columns that it took."""
        alphas, of_set = found.alphas[found.of_alpha], found.of_set
        left = np.arange(len(of_set))  # for which columns are missing
        for attempt in count():
            chosen, sets = self._sets.read(chosen, of_each)
            self._check()
            found.coef = _with_rows(found.coef, len(chosen))
            of_chosen = penalty.of(chosen)

            def solve(of_one, sets=sets, of_chosen=of_chosen, is_first=attempt == 0):
                near = None if is_first else found.coef[:, of_one]
                rows = sets[of_set[of_one[0]]]
                found.coef[:, of_one] = rows.solve(alphas[of_one], of_chosen, near)

            by_set = np.split(left, np.flatnonzero(np.diff(of_set[left])) + 1)
            side_by_side(solve, by_set, self._place.n_spare)
            self.n_updates += len(left)
            for which in np.unique(of_set[left]):
                of_one = left[of_set[left] == which]
                found.levels[of_one] = sets[which].level(found.coef[:, of_one])
            sums = self._read_residuals(chosen, found, left)
            pulls = self._certify(found, left, sums, penalty.at(alphas[left]), chosen)
            over = self._excess(pulls, alphas[left] * penalty.l1_ratio, of_set[left])
            for of_one, problem in zip(over, left, strict=True):
                of_one[sets[of_set[problem]].columns] = -np.inf
                of_one[chosen[found.coef[:, problem] != 0]] = -np.inf
            is_last = found.of_alpha[left] == len(found.alphas) - 1
            found.pulls[of_set[left[is_last]]] = pulls[is_last]
            is_missing = (over > 0).any(axis=1)
            is_missing &= found.gaps[left] > self._allowed[of_set[left]]
            left, over = left[is_missing], over[is_missing]
            if len(left) == 0:
                return chosen
            worst = over.max(axis=0)
            # Those that nearly violate too: a pass costs more than they do.
            joining = max(FEWEST, 4 * np.count_nonzero(worst > 0))
            joining = min(joining, max(self._most, len(chosen) // 2))
            nearest = self._top(worst, joining)
            scores = np.full((len(sets), len(worst)), -np.inf)
            np.maximum.at(scores, of_set[left], over)
            of_each = list(map(np.union1d, of_each, self._near(scores, nearest, nearest)))
            chosen = np.concatenate([chosen, np.setdiff1d(nearest, chosen)])

    def _check(self):
        """Raise where a training or a test set has no rows."""
        for kind, weights in (
            ("training", self._sets.weights),
            ("test", self._sets.test_weights),
        ):
            empty = np.flatnonzero(weights[1:] == 0)
            if len(empty):
                raise ValueError(
                    f"The {kind} set of split {empty[0]} has no rows, or none with a positive"
                    " weight: use another cv."
                )

    def _read_residuals(self, chosen, found, index):
        """Correlate the residuals of solutions with all columns: a pass."""
        self._n_read += 1
        coef = found.coef[:, index]
        used = coef.any(axis=1)
        x_mean = self._centre.x_mean[chosen]
        return self._place.reduce(
            path_residuals,
            merge_sums,
            Chosen(chosen[used], x_mean[used]),
            coef[used],
            found.levels[index],
            self._centre.y_mean,
            [self._train[which] for which in found.of_set[index]],
            [self._test[which] for which in found.of_set[index]],
            partition=self._partition,
        )

    def _certify(self, found, index, sums, penalty, chosen):
        """Note gaps, objectives and errors of p solutions; their pulls (p, k) at all columns."""
        weight = self._sets.weights[found.of_set[index]]
        l1, ridge = penalty.l1 * weight, penalty.l2 * weight
        # In units in which all columns are penalised alike.
        coef = found.coef[:, index] * self._weights[chosen, np.newaxis]
        correlations = sums.correlations.T
        if self._fit_intercept:
            # Residuals sum to zero up to rounding, which far columns magnify.
            correlations -= np.outer(sums.total, self.statistics.x_mean)
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
        squares = sums.squares + (coef * (ridge * coef)).sum(axis=0)
        primal = squares / 2 + l1 * np.abs(coef).sum(axis=0)
        yy = self._centre.yy * (weight / self.statistics.weight)
        _, dual = scale_residual(squares, sums.with_y, pulls, l1, self._norms, yy)
        found.gaps[index] = np.maximum(primal - dual, 0.0) / weight
        found.objectives[index], found.squares[index] = primal / weight, sums.errors
        return correlations

    def _excess(self, pulls, l1, of_set):
        """By how much pulls (p, k) exceed an l1 (p,), more than by rounding."""
        weight = self._sets.weights[of_set]
        size = 1e-13 * np.sqrt(self._centre.yy[0]) / self.statistics.weight
        threshold = (1 + SLACK) * weight * l1
        return pulls - threshold[:, np.newaxis] - size * np.outer(weight, self._norms)


class _Found:
    """What is known of a few alphas on every training set: problems, of a set and an alpha each.

    Attributes
    ----------
    of_set, of_alpha : ndarray of int of shape (p,)
    coef : ndarray of shape (c, p)
        Of the columns that have been chosen so far.
    levels, gaps, objectives, squares : ndarray of shape (p,)
        Intercepts of centred columns and y; the squares are those on the test sets.
    pulls : ndarray of shape (n_sets, k)
        At the last alpha, of all columns.
    """

    def __init__(self, n_sets, alphas, k):
        self.alphas = alphas
        self.of_set, self.of_alpha = np.divmod(np.arange(n_sets * len(alphas)), len(alphas))
        self.coef = np.zeros((0, len(self.of_set)))
        self.levels, self.gaps, self.objectives, self.squares = np.zeros((4, len(self.of_set)))
        self.pulls = np.zeros((n_sets, k))


def _with_rows(coef, n):
    return np.vstack([coef, np.zeros((n - len(coef), coef.shape[1]))])


def _spread(coef, chosen, k):
    """Coefficients of the chosen columns among all k."""
    rows, columns = np.nonzero(coef)
    shape = (k, coef.shape[1])
    return sparse.csc_array((coef[rows, columns], (chosen[rows], columns)), shape=shape)
