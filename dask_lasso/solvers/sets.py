"""What a path of many columns solves on: the training sets of a partition, column by column.

Two ways to have them on the client: the rows themselves of the columns that may have
coefficients, or the moments of these columns, cell by cell. The first is less to send where
there are few rows or few values that are not zero, and columns join it one by one.
"""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np

from ..places.place import Place
from ..places.waiting import TimeIsUp
from ..problem.gram import solve_path
from ..problem.moments import Moments, intercept
from ..problem.penalties import L1
from ..problem.support import Support
from ..rows.cells import Partition, merge_cells, union_of_cells
from ..rows.columns import ColumnMoments
from ..rows.held import Held, HeldSet, Positions, join_parts, read_columns
from ..rows.passes import cells_of_columns

# Values of a column up to which columns are held: their Gram would not be smaller.
_MOST_VALUES = 2**13
# Squared mean of a column, in variances, beyond which its products lose too many digits.
_FAR = 1e4


class TrainingSet(Protocol):
    """Some rows, and the columns that are chosen.

    `columns` are those among which it looks for coefficients. `solve` gives coefficients (c, n)
    of all that are chosen at n alphas, `near` to those given, if any are; `level` the intercepts
    (n,) of coefficients when y and every column are about the means that passes take off.
    """

    columns: np.ndarray

    def solve(self, alphas: np.ndarray, penalty: L1, near: np.ndarray | None) -> np.ndarray: ...
    def level(self, coef: np.ndarray) -> np.ndarray: ...


class Sets(Protocol):
    """The training sets, all rows first; `weights` of them and of the test sets, once it has read.

    `read` takes the columns to solve for, and which of them each set needs; it gives those there
    are then, which begin with what the last reading gave if that is what it is asked for.
    `at_once` is for how many alphas that is; `keeps` says whether columns that are no longer
    chosen are still there.
    """

    at_once: int
    keeps: bool
    n_passes: int
    weights: np.ndarray
    test_weights: np.ndarray

    def read(
        self, chosen: np.ndarray, of_each: list[np.ndarray]
    ) -> tuple[np.ndarray, list[TrainingSet]]: ...


def training_sets(
    place: Place,
    partition: Partition,
    penalty: L1,
    moments: tuple[ColumnMoments, ColumnMoments],
    max_iter: int,
) -> Sets:
    """The way that suits the rows; `moments` are those of `first_pass`."""
    columns, centre = moments
    fit_intercept = columns is centre
    with np.errstate(over="ignore"):
        far = columns.weight * columns.x_mean**2 > _FAR * columns.xx
    is_plain = penalty.box is None or penalty.box.is_orthant
    is_small = columns.n_values <= _MOST_VALUES * place.n_features
    if is_small and is_plain and not far.any():
        return _HeldSets(place, partition, penalty, fit_intercept, centre, max_iter)
    return _CellSets(place, partition, fit_intercept, centre, max_iter)


class _CellSets:
    """Moments of the chosen columns, cell by cell: those of further columns are summed alone."""

    at_once, keeps = 10, False

    def __init__(self, place, partition, fit_intercept, centre, max_iter):
        self._place, self._partition = place, partition
        self._fit_intercept, self._centre, self._max_iter = fit_intercept, centre, max_iter
        self._columns, self._cells = np.empty(0, dtype=np.intp), None
        self.n_passes = 0

    def read(self, chosen, of_each):
        known, order = np.isin(chosen, self._columns), np.argsort(self._columns)
        old, new = chosen[known], chosen[~known]
        chosen = np.concatenate([old, new])
        if self._cells is not None:
            old = order[np.searchsorted(self._columns[order], old)]
            self._cells = self._cells.of_columns(old)
        if self._cells is None or len(new):
            self.n_passes += 1
            args = chosen, len(new), self._centre.y_mean
            more = self._place.reduce(
                cells_of_columns, merge_cells, *args, partition=self._partition
            )
            self._cells = more if self._cells is None else self._cells.with_columns(more)
        self._columns = chosen
        train, test = (
            [union_of_cells(self._cells, *which) for which in of_kind]
            for of_kind in self._partition.sets()
        )
        self.weights, self.test_weights = (np.array(list(map(_weight, s))) for s in (train, test))
        settings = self._fit_intercept, self._centre.x_mean[chosen], self._max_iter
        return chosen, [_OfMoments(rows, chosen, *settings) for rows in train]


def _weight(rows):
    return 0.0 if rows is None else rows.weight


class _OfMoments:
    def __init__(self, rows, columns, fit_intercept, centre, max_iter):
        self._rows, self.columns, self._fit_intercept = rows, columns, fit_intercept
        self._centre, self._max_iter = centre, max_iter

    def solve(self, alphas, penalty, near):
        moments = self._rows.moments(self._fit_intercept)
        path = solve_path(moments, penalty, alphas, max_iter=self._max_iter, coef_init=near)
        return path.coefs[0]

    def level(self, coef):
        return intercept(self._rows, coef, self._fit_intercept) + self._centre @ coef


class _HeldSets:
    """The rows of all columns that have ever been chosen; each set takes those that it needs."""

    keeps = True

    def __init__(self, place, partition, penalty, fit_intercept, centre, max_iter):
        self._place, self._partition = place, partition
        # The columns of fewer alphas are foreseen better. To solve for all sets again takes longer
        # than a pass.
        self.at_once = 3 if partition.splits else 5
        self._centre, self._weights = centre, penalty.column_weights(place.n_features)
        self._settings = fit_intercept, max_iter, place.deadline
        self._held, self._sets = Held(), []
        self.n_passes = 0

    def read(self, chosen, of_each):
        held = self._held
        new = np.setdiff1d(chosen, held.columns)
        if len(new) or not self._sets:
            self.n_passes += 1
            first = not self._sets
            parts = self._place.reduce(read_columns, join_parts, new, first, partition=Positions())
            centre = self._centre
            held.take(parts, new, (centre.x_mean[new], centre.y_mean), self._weights[new])
            if first:
                n = len(held.y)
                train, test = (
                    [self._partition.counts_of_rows(which, n) for which in s]
                    for s in self._partition.sets()
                )
                self.weights, self.test_weights = (
                    np.array([counts @ held.weights for counts in s]) for s in (train, test)
                )
                self._sets = [_OfRows(held, counts, *self._settings) for counts in train]
        for rows, columns in zip(self._sets, of_each, strict=True):
            rows.grow(columns, self._weights)
        return held.columns, self._sets


class _OfRows:
    def __init__(self, held, counts, fit_intercept, max_iter, deadline):
        self._held, self._rows = held, HeldSet(held, counts, fit_intercept)
        self._support = Support()
        self._max_iter, self._deadline = max_iter, deadline

    @property
    def columns(self):
        return self._held.columns[self._rows.positions[self._rows.near]]

    def grow(self, columns, weights):
        self._rows.grow(columns)
        self._weights = weights[self._held.columns[self._rows.positions]]

    def solve(self, alphas, penalty, near):
        # With further columns it begins where the first of these alphas did: on the way down fewer
        # columns come and go than on the way back.
        if near is None:
            self._before = self._support.copy()
        else:
            self._support = self._before.copy()
        coefs = np.zeros((len(self._weights), len(alphas)))
        positions, weights = self._rows.positions, self._weights[:, np.newaxis]
        positive, moments = penalty.box is not None, None
        of_set = penalty.of(positions).alike()
        for i, alpha in enumerate(alphas):
            if time.perf_counter() >= self._deadline:
                raise TimeIsUp("the first alphas have not been solved for")
            at = penalty.at(alpha * self._rows.weight)
            coef = self._support.solve(self._rows, at.l1, at.l2, positive)
            if coef is None:
                moments = self._moments() if moments is None else moments
                start = coefs[:, [i - 1]] if near is None else near[positions][:, [i]] * weights
                path = solve_path(
                    moments, of_set, [alpha], max_iter=self._max_iter, coef_init=start
                )
                coef = path.coefs[0][:, 0]
            coefs[:, i] = coef
        found = np.zeros((len(self._held.columns), len(alphas)))
        found[positions] = coefs / weights
        return found

    def _moments(self):
        rows, every = self._rows, np.arange(len(self._weights))
        xy, yy = rows.xy[:, np.newaxis], np.array([rows.yy])
        gram = rows.products(every, every)
        gram[rows.squares == 0] = gram[:, rows.squares == 0] = 0.0
        return Moments(gram, xy, yy, rows.weight)

    def level(self, coef):
        return self._rows.level(coef[self._rows.positions] * self._weights[:, np.newaxis])
