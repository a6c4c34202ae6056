"""Paths of losses that are no parabola, for every training set at once.

The alphas are taken a few at a time, from the largest down. The curvature is taken once for
each few, cell by cell, at the solution of all rows: so a training set's is a union of cells,
near enough to its own for a step of Newton's method (`newton`) with the slope of each point,
of which a pass over the rows finds those of all sets and alphas. The steps are quasi-Newton's,
and each gains a digit or more; when they are short a last pass certifies the points, by the
residual of the quadratic at its minimum, as in `newton`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
from scipy import sparse

from ..places.place import Place, usable
from ..problem.grid import alpha_grid
from ..problem.losses import Certified, Mean
from ..problem.penalties import L1
from ..rows.cells import Partition, merge_cells, union_of_cells
from ..rows.newton import NewtonPass, Points, Sums, merge_newton, newton_pass
from ..rows.newton_path import (
    PathPoints,
    Sets,
    SetSums,
    curvatures,
    merge_each,
    own_curvatures,
    path_pass,
    set_sums,
)
from ..rows.passes import merge_sums
from ..rows.statistics import Statistics
from . import newton
from .columns import in_units
from .fit import Problem, Settings
from .quadratic import lower_bound, step, times
from .scoring import Point
from .working_set_path import Paths

# Alphas at once; fewer where there are many sets, or where all slopes would be many values.
_AT_ONCE, _MOST_POINTS, _MOST_VALUES = 10, 512, 2**24
# Decrements, relative to the null loss, after which the next point is certified: one digit of
# coefficients more than the root of it.
_SETTLED = 1e-12
# Slopes that are read for a few alphas, at most; from which on a point has the curvature of its
# own place if its decrement falls by less than this factor.
_MOST_READ, _PATIENCE, _SLOW = 100, 3, 0.1
# Curvature of a row, relative to the mean one of the null model, below which it says nothing.
_LEAST = 1e-6
# By how much more than the smallest such alpha the grid begins at, for rounding.
ROUNDING = 1e-8
# An alpha at which every coefficient is zero.
ALL_ZERO = 1e200


def sets_of(place: Place, partition: Partition, problem: Problem) -> tuple[Sets, SetSums]:
    """The training and test sets of splits, and how large they are: a pass.

    Raises
    ------
    ValueError
        Where one has no rows, or no best intercept.
    """
    train, test = ([(of[0], partition.counts(of)) for of in sets] for sets in partition.sets())
    sets, loss = Sets(train, test), problem.loss
    size = place.reduce(set_sums, merge_sums, loss, sets, partition=partition)
    for which, weights in (("training", size.weight), ("test", size.test_weight[1:])):
        if not (weights > 0).all():
            split = int(np.argmin(weights > 0)) - (which == "training")
            raise ValueError(
                f"The {which} set of split {split} has no rows, or none with a positive"
                " weight: use another cv."
            )
    if problem.fit_intercept and hasattr(loss, "is_endless"):
        is_endless = np.ravel(loss.is_endless(size.y / size.weight))
        if is_endless.any():
            raise ValueError(
                f"In the training set of split {np.argmax(is_endless) - 1} the best intercept"
                f" is infinite, for {cast(Mean, loss).endless}: use another cv, with shuffled rows"
                " or (of classes) stratified, or fit_intercept=False."
            )
    return sets, size


class NewtonPath:
    """Solver of paths for a loss that has what `newton` needs.

    Parameters
    ----------
    place : Place
    partition : Partition
        Its splits are solved for as well as all rows.
    problem : Problem
    settings : Settings

    Attributes
    ----------
    n_passes, n_updates : int
        How often the rows were read; steps, of one alpha and training set each.
    penalty : L1
        In the units of the columns.
    statistics : NewtonPass
        Of all rows, at the null model.
    null_loss : ndarray of shape (1,)
        What `tol` is relative to.
    """

    def __init__(
        self, place: Place, partition: Partition, problem: Problem, settings: Settings
    ) -> None:
        self._place, self._partition = place, partition
        self._problem, self._settings = in_units(place, problem), settings
        self.penalty = self._problem.l1_penalty
        self._loss = cast(Certified, problem.loss)
        self.n_passes, self.n_updates = int(problem.penalty.standardize) + 1, 0
        self._fit_null()
        self._sets, self._size = sets_of(place, partition, problem)

    def _fit_null(self):
        """The model without coefficients, but for those that are not penalised."""
        problem = self._problem._replace(penalty=self.penalty.at(ALL_ZERO))
        null = newton.fit(self._place, problem, self._settings, lambda row, estimate: False)
        self.null_loss = null.null_loss
        intercept = [null.estimate.intercept] if problem.fit_intercept else []
        self._null = np.vstack([null.estimate.coef, *intercept])
        found = self._place.reduce(
            newton_pass, merge_newton, self._loss, Points(self._null, beta=self._null)
        )
        self.n_passes += null.n_passes + 1
        self.statistics = usable(found, self._place)
        (self._at_null,) = found.statistics
        self._least = _LEAST * self._at_null.weight / found.weight

    def deviances(self, path: Paths, penalty: L1) -> np.ndarray:
        """Mean deviances (n_alphas,) on all rows; `penalty` is that of the path."""
        losses = path.objectives[0] - penalty.value(path.coefs.toarray())
        return 2 * (losses + self._size.at_zero[0] / self._size.weight[0])

    def _read(self, task, *args, merge=merge_sums):
        self.n_passes += 1
        return self._place.reduce(task, merge, *args, partition=self._partition)

    def grid(self, penalty: L1, eps: float, n_alphas: int) -> np.ndarray:
        """A grid of alphas down from the smallest at which every coefficient is zero."""
        moments = self._at_null.moments(self._problem.fit_intercept)
        grid = alpha_grid(moments, penalty, eps=eps, n_alphas=n_alphas)
        # Of a mean over the rows; the null model is known up to rounding.
        return grid * (moments.weight / self._size.weight[0] * (1 + ROUNDING))

    def run(self, alphas: np.ndarray, penalty: L1) -> Iterator[Paths]:
        """Solve for falling `alphas`, of a penalty with this l1_ratio, a few at a time."""
        k, n_sets = self._place.n_features, len(self._size.weight)
        few = max(1, min(_AT_ONCE, _MOST_POINTS // n_sets, _MOST_VALUES // (k * n_sets)))
        state = self._begin()
        for start in range(0, len(alphas), few):
            state = state.at(alphas[start : start + few])
            self._solve(state, penalty)
            yield self._paths(state)

    def _begin(self):
        """The null model on every set, for which its intercept is not the best yet."""
        of_set = np.arange(len(self._size.weight))
        beta = np.repeat(self._null, len(of_set), axis=1)
        state = _State(np.full(len(of_set), np.inf), of_set, beta)
        self._renew(state, self._null)
        state.slopes = self._slopes(state, of_set)
        return state

    def _renew(self, state, curved):
        """Take the curvature anew, of all points at one reference: a pass."""
        cells = self._read(curvatures, self._loss, curved, self._least, merge=merge_cells)
        of_sets = [union_of_cells(cells, *which) for which in self._partition.sets()[0]]
        state.curved = np.repeat(curved, len(state.alphas), axis=1)
        state.factor[:] = 1.0
        state.quadratics = [of_sets[of_set] for of_set in state.of_set]

    def _renew_own(self, state, index):
        """The same of some points where they are, each of its own."""
        points = PathPoints(
            state.beta[:, index], state.of_set[index], state.beta[:, index], self._least
        )
        args = own_curvatures, self._loss, points, self._sets
        found = self._read(*args, merge=merge_each)
        state.curved[:, index], state.factor[index] = points.beta, 1.0
        for point, of_point in zip(index, found, strict=True):
            state.quadratics[point] = of_point

    def _slopes(self, state, index):
        """The slopes (k + 1, p) at some of the points: a pass."""
        points = PathPoints(
            state.beta[:, index], state.of_set[index], state.curved[:, :1], self._least
        )
        found = self._read(path_pass, self._loss, points, self._sets)
        return np.vstack([found.x_theta, found.theta])

    def _solve(self, state, penalty):
        """Move the points to the solutions, and certify them."""
        settled, allowed = _SETTLED * self.null_loss[0], self._settings.tol * self.null_loss[0]
        most_own = max(1, _MOST_VALUES // self._place.n_features**2)
        left, n_read = np.arange(len(state.alphas)), 0
        self._step(state, left, penalty)
        while True:
            moving = left[~(state.fall[left] <= settled)]
            if not len(moving) or n_read >= _MOST_READ:
                self._certify(state, left, penalty)
                left = left[~(state.gaps[left] <= allowed)]
                if not len(left) or n_read >= _MOST_READ:
                    return
                n_read += 1
                self._step(state, left, penalty)
                continue
            fall = state.fall[moving]
            state.move(moving)
            state.slopes[:, moving] = self._slopes(state, moving)
            n_read += 1
            # Of the quadratic that the step was of: a convex function's does not grow, unless
            # the curvature was too small for so long a step.
            self._step(state, moving, penalty)
            is_worse = ~(state.fall[moving] <= fall)
            state.take_back(moving[is_worse])
            self._step(state, moving[is_worse], penalty)
            middle = np.count_nonzero(state.of_set == 0) // 2
            is_slow = ~(state.fall[moving] <= _SLOW * fall) & ~is_worse
            if n_read == 1:
                self._renew(state, state.beta[:, [middle]])
                self._step(state, left, penalty)
            elif n_read >= _PATIENCE and is_slow.any():
                slow = moving[is_slow][:most_own]
                self._renew_own(state, slow)
                self._step(state, slow, penalty)

    def _step(self, state, index, penalty):
        """The minima of the quadratics of some points, and how much lower they are, about."""
        k = self._place.n_features
        for point in index:
            before, slope = state.beta[:, [point]], state.slopes[:, [point]]
            if not np.isfinite(slope).all():  # too far out for the loss
                state.fall[point] = np.inf
                continue
            weight = self._size.weight[state.of_set[point]]
            problem = self._problem._replace(penalty=penalty.at(state.alphas[point]))
            with np.errstate(over="ignore", invalid="ignore"):  # of a slope that is far out, too
                of_rows = state.statistics(point, weight * self.null_loss[0])
                new = step([of_rows], before, weight, problem, self._settings.max_iter)
                value = problem.l1_penalty.value
                fall = value(before[:k]) - value(new[:k])
                fall += (slope[: len(new)] * (new - before)).sum(axis=0) / weight
            state.after[:, [point]], state.fall[point] = new, np.abs(fall[0])
        self.n_updates += len(index)

    def _certify(self, state, index, penalty):
        """Go to the minima, and measure the gaps there: a pass."""
        k, null_loss = self._place.n_features, self.null_loss[0]
        of_set, curved = state.of_set[index], state.curved[:, index]
        if (curved == curved[:, :1]).all():
            curved = curved[:, :1]
        after, before = state.after[:, index], state.beta[:, index]
        points = PathPoints(after, of_set, curved, self._least, before, state.factor[index])
        found = self._read(path_pass, self._loss, points, self._sets)
        for column, point in enumerate(index):
            weight = self._size.weight[of_set[column]]
            at_zero = self._size.at_zero[of_set[column]]
            problem = self._problem._replace(penalty=penalty.at(state.alphas[point]))
            loss, squares, theta, conjugate = (
                sums[[column]] for sums in (found.loss, found.squares, found.dual, found.conjugate)
            )
            dual = Sums(theta, found.x_dual[:, [column]])
            at = NewtonPass(0, 0, None, weight, None, loss)
            at = at._replace(squares=squares, dual=dual, conjugate=conjugate)
            beta, of_rows = after[:, [column]], state.statistics(point, weight * null_loss)
            columns = of_rows.x_mean, of_rows.norms
            lower = lower_bound(at, beta, problem, at_zero, self.null_loss, columns, of_rows)
            objective = loss / weight + problem.l1_penalty.value(beta[:k])
            state.objectives[point] = objective[0]
            state.gaps[point] = np.maximum(objective - lower, 0.0)[0]
        state.move(index)
        state.slopes[:, index] = np.vstack([found.x_theta, found.theta])
        state.errors[index] = found.error

    def _paths(self, state):
        """What is known of the alphas of a state."""
        k, n_sets = self._place.n_features, len(self._size.weight)
        points = []
        for of_set in range(n_sets):
            beta = state.beta[:, state.of_set == of_set]
            intercepts = beta[k] if self._problem.fit_intercept else np.zeros(beta.shape[1])
            points.append(Point(sparse.csc_array(beta[:k]), intercepts))
        sums = state.errors.reshape(n_sets, -1)[1:].T + self._size.test_at_zero[1:]
        errors = 2 * sums / self._size.test_weight[1:]
        gaps, objectives = (v.reshape(n_sets, -1) for v in (state.gaps, state.objectives))
        return Paths(*points[0], gaps, errors, objectives, points[1:])


class _State:
    """Points of a path: coefficients (d, p) of p pairs of a training set and an alpha.

    Attributes
    ----------
    alphas, of_set : ndarray of shape (p,)
    beta, slopes : ndarray of shape (d, p), (k + 1, p)
        Sums of minus the loss' derivative: times the columns, and by itself.
    before : tuple of ndarray
        Both, where the last step began.
    curved : ndarray of shape (d, p)
        Where the curvature was taken.
    quadratics : list of Statistics
        Of each point, with that curvature.
    factor : ndarray of shape (p,)
        What the curvature is multiplied with, after steps that were too long.
    after, fall : ndarray of shape (d, p), (p,)
        The minima of the quadratics, and how much lower they are.
    gaps, objectives, errors : ndarray of shape (p,)
    """

    curved: np.ndarray
    quadratics: list[Statistics]
    slopes: np.ndarray
    before: tuple[np.ndarray, np.ndarray]

    def __init__(self, alphas, of_set, beta):
        self.alphas, self.of_set, self.beta, self.after = alphas, of_set, beta, beta.copy()
        p = len(alphas)
        self.factor, self.fall, self.gaps = np.ones(p), np.full(p, np.inf), np.full(p, np.inf)
        self.objectives, self.errors = np.full(p, np.nan), np.full(p, np.nan)

    def at(self, alphas: np.ndarray) -> _State:
        """Every set's last point at these alphas instead."""
        n, n_sets = len(alphas), self.of_set[-1] + 1
        last = np.repeat(np.arange(len(self.of_set)).reshape(n_sets, -1)[:, -1], n)
        new = _State(np.tile(alphas, n_sets), self.of_set[last], self.beta[:, last])
        new.slopes, new.curved = self.slopes[:, last], self.curved[:, last]
        new.quadratics = [self.quadratics[point] for point in last]
        new.before = new.beta.copy(), new.slopes.copy()
        return new

    def statistics(self, point: int, size: float) -> Statistics:
        """The quadratic at a point, with its slope.

        The squares of its response, for which a solver's tolerance is relative, are of a `size`
        beside those that the slope and the coefficients have.
        """
        of_set, factor = self.quadratics[point], self.factor[point]
        theta, x_theta = self.slopes[-1:, point], self.slopes[:-1, [point]]
        of_set = times(factor, of_set)
        sxy = x_theta - np.outer(of_set.x_mean, theta)
        coef = self.beta[: len(sxy), [point]]
        lost = ((2 * sxy + of_set.sxx @ coef) * coef).sum(axis=0)
        syy = size + np.maximum(-lost, 0.0)
        return of_set._replace(sxy=sxy, syy=syy, y_mean=theta / of_set.weight)

    def move(self, index: np.ndarray) -> None:
        """Go on to the minima, whose slopes are not known yet."""
        for values, before in zip((self.beta, self.slopes), self.before, strict=True):
            before[:, index] = values[:, index]
        self.beta[:, index] = self.after[:, index]

    def take_back(self, index: np.ndarray) -> None:
        """Go back to where the last step began, for a shorter one."""
        for values, before in zip((self.beta, self.slopes), self.before, strict=True):
            values[:, index] = before[:, index]
        self.factor[index] *= 4
