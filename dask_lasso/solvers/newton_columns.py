"""The columns that Newton's method takes the quadratic of: all of them, or a working set.

With many columns a pass is at once a step on the set and a look at all columns: the residual
of the quadratic at its minimum, the dual point that certifies the estimate (`newton`), tells
which columns violate optimality. These join the set, and in the next pass they are in its
Gram matrix (`working_set`, where one pass does one of the two).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from ..places.place import Place, usable_pass
from ..problem.losses import Residual
from ..problem.moments import norms_about_zero
from ..problem.penalties import L1
from ..problem.softmax import Softmax
from ..rows.classes import ClassesLoss
from ..rows.losses import RowLoss
from ..rows.newton import NewtonPass, Points, Sums, losses_between, merge_newton, sample_of
from ..rows.newton_columns import columns_pass, on_columns, slopes_of_columns
from ..rows.statistics import Statistics
from .columns import first_pass, in_units
from .fit import Problem, Settings
from .joining import FEWEST, n_joining, violations
from .quadratic import coefficients, lower_bound, pass_of, times
from .sample import ENOUGH, SHARE, averaged, best_constant, first_estimate
from .width import MAX_MOMENTS, check_width, is_huge, is_wide

# How many times as many rows as columns have a curvature that is like that of all.
_ENOUGH = 100
# Columns without a penalty, all of which are in the set.
_MOST_FREE = 2**10


class Columns(Protocol):
    """What Newton's method solves for, and how it is read.

    Attributes
    ----------
    problem : Problem
        Of the columns that are solved for.
    n_passes : int
        Over the rows, that were needed for that.
    is_complete, is_full : bool
        Whether, after `lower_bound`, no other column violates optimality; some do, and no more
        can be solved for.

    Notes
    -----
    `first` is an estimate, statistics there for a weight of one, and the null loss, each from a
    share of the rows and if there is any; `at` goes over to another alpha; `read` is a pass, and
    `losses_between` one that looks at the loss alone. `lower_bound` is of the dual of all columns,
    as `coefficients` are. `renew` lets columns join and leave: it makes of an array for the columns
    until now one for those from now on, or is None.
    """

    problem: Problem
    n_passes: int
    is_complete: bool
    is_full: bool

    def first(self) -> tuple[np.ndarray, list[Statistics], np.ndarray | None]: ...
    def at(self, alpha: float) -> None: ...
    def read(self, points: Points, light: bool) -> NewtonPass: ...
    def losses_between(
        self, beta: np.ndarray, other: np.ndarray, shares: np.ndarray
    ) -> np.ndarray: ...
    def lower_bound(
        self,
        found: NewtonPass,
        beta: np.ndarray,
        at_zero: np.ndarray,
        null_loss: np.ndarray,
        of_rows: Statistics,
    ) -> np.ndarray: ...
    def coefficients(self, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...
    def renew(self, points: Points, light: bool) -> Callable | None: ...


class AllColumns:
    """All of them: `Columns`."""

    is_complete, is_full = True, False

    def __init__(self, place: Place, problem: Problem, settings: Settings) -> None:
        self._place, self._coef_init = place, settings.coef_init
        self.n_passes = int(problem.penalty.standardize)
        self.problem = in_units(place, problem)

    def first(self) -> tuple[np.ndarray, list[Statistics], np.ndarray | None]:
        args = self.problem, self._coef_init
        found = self._place.sample(first_estimate, averaged, *args, share=SHARE, enough=ENOUGH)
        if found is None:  # a defect, or no rows: the first pass tells
            k, loss = self._place.n_features, self.problem.loss
            d, m = k + self.problem.fit_intercept, self._place.n_targets
            d = loss.n_columns * loss.n_classes if isinstance(loss, Softmax) else d
            return np.zeros((d, m)), [], None
        # Their curvature does for a first, light pass, if they are of enough rows.
        are_enough = found.n_rows >= _ENOUGH * len(found.beta)
        of_one = [times(1 / found.weight, s) for s in found.statistics if are_enough]
        return found.beta, of_one, found.null

    def at(self, alpha: float) -> None:
        self.problem = self.problem._replace(penalty=self.problem.l1_penalty.at(alpha))

    def read(self, points: Points, light: bool) -> NewtonPass:
        loss = self.problem.loss
        return usable_pass(self._place, pass_of(loss), merge_newton, loss, points, light)

    def losses_between(self, beta: np.ndarray, other: np.ndarray, shares: np.ndarray) -> np.ndarray:
        args = _summed(self.problem), beta, other, shares
        return self._place.reduce(losses_between, sum, *args)

    def lower_bound(
        self,
        found: NewtonPass,
        beta: np.ndarray,
        at_zero: np.ndarray,
        null_loss: np.ndarray,
        of_rows: Statistics,
    ) -> np.ndarray:
        columns = of_rows.x_mean, of_rows.norms
        return lower_bound(found, beta, self.problem, at_zero, null_loss, columns, of_rows)

    def coefficients(self, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return coefficients(beta, self.problem)

    def renew(self, points: Points, light: bool) -> Callable | None:
        return None


class WorkingColumns:
    """A working set: `Columns` of a penalty that `suits`.

    Of several classes, `problem` is of a `Softmax` about zero, and of the penalty of one class.
    """

    def __init__(self, place: Place, problem: Problem, settings: Settings) -> None:
        self._place, self._coef_init = place, settings.coef_init
        self._penalty, self._loss = problem.l1_penalty, problem.loss
        self._fit_intercept = problem.fit_intercept
        n_classes = problem.loss.n_classes if isinstance(problem.loss, Softmax) else 1
        self._most_of_all = MAX_MOMENTS // n_classes
        self._most = max(FEWEST, n_joining(place.n_features) // n_classes)
        self.n_passes, self.is_complete, self.is_full = 1, False, False
        self._become(np.empty(0, dtype=np.intp))

    def first(self) -> tuple[np.ndarray, list[Statistics], np.ndarray | None]:
        """The model without coefficients, but for those to start from; and a look at all columns.

        The working set are the columns that violate its optimality most.
        """
        coef: Any = None
        if self._coef_init is not None:
            coef = self._penalty.clip(self._coef_init)
            self._become(np.flatnonzero(coef.any(axis=1)))
            coef = coef[self._set]
        args = self._set, self._of(self._set[:0]), coef
        found = self._place.sample(best_constant, averaged, *args, share=SHARE, enough=ENOUGH)
        by_column = self._zeros(len(self._set))
        if coef is not None:
            by_column[: len(coef)] = coef
        if found is not None and self._fit_intercept:
            by_column[-1] = found.beta.T[0] if isinstance(self._loss, Softmax) else found.beta[-1]
        beta = _as_beta(by_column, self.problem)
        moments, centred = first_pass(
            self._place,
            self._fit_intercept,
            slopes_of_columns,
            self.problem.loss,
            self._set,
            beta,
        )
        self._penalty = self._penalty.in_units(moments.xx, moments.weight)
        self._x_mean, self._varies = moments.x_mean, centred.xx > 0
        self._spreads = np.sqrt(centred.xx)
        self._norms = norms_about_zero(moments.xx, moments.x_mean, moments.weight)
        if isinstance(self._loss, Softmax) and self._fit_intercept:
            self._loss = replace(self._loss, shift=self._x_mean)
            by_column[-1] += self._x_mean[self._set] @ by_column[:-1]
            beta = _as_beta(by_column, self.problem)
        self._look(centred.xy, centred.weight, np.sqrt(centred.yy))
        room = max(self._most_of_all - len(self._set), 0)
        new = self._violations.joining(self._may_join, min(self._most, room))
        free = np.flatnonzero(self._penalty.column_weights(len(self._varies)) == 0)
        move = self._become(np.union1d(np.union1d(self._set, new), free))
        return move(beta), [], None if found is None else found.null

    def at(self, alpha: float) -> None:
        self._penalty = self._penalty.at(alpha)
        self.problem = self._of(self._set)
        self._look(*self._seen)

    def read(self, points: Points, light: bool) -> NewtonPass:
        self.is_complete = self._is_known = False
        args = self.problem.loss, points, light, self._set
        return usable_pass(self._place, columns_pass, merge_newton, *args)

    def losses_between(self, beta: np.ndarray, other: np.ndarray, shares: np.ndarray) -> np.ndarray:
        args = self._set, losses_between, _summed(self.problem), beta, other, shares
        return self._place.reduce(on_columns, sum, *args)

    def lower_bound(
        self,
        found: NewtonPass,
        beta: np.ndarray,
        at_zero: np.ndarray,
        null_loss: np.ndarray,
        of_rows: Statistics,
    ) -> np.ndarray:
        theta, correlation = found.dual
        if self._fit_intercept:
            correlation -= np.outer(self._x_mean, theta)
            # A column without variation has no correlation but rounding.
            correlation[~self._varies] = 0.0
        every, by_column = self._of(None), self._spread(beta)
        if self._fit_intercept:  # of columns about their means, too
            by_column[-1] += self._x_mean @ by_column[:-1]
        norms = self._norms
        if isinstance(self._loss, Softmax):
            if self._fit_intercept:
                norms = np.append(norms, np.sqrt(found.weight))
            dual = Sums(np.zeros(1), _as_beta(np.vstack([correlation, theta])[: len(norms)], every))
            norms = np.tile(norms, self._loss.n_classes)
        else:
            dual = Sums(theta, correlation)
        at = found._replace(dual=dual), _as_beta(by_column, every), every
        bound = lower_bound(*at, at_zero, null_loss, (0.0, norms), of_rows, self._places())
        self._look(correlation, found.weight, np.sqrt(found.squares))
        n_active = int(np.count_nonzero(by_column[: len(self._varies)].any(axis=1)))
        self.is_full = not self.is_complete and n_active > self._most_of_all - FEWEST
        return bound

    def coefficients(self, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return coefficients(_as_beta(self._spread(beta), self._of(None)), self._of(None))

    def renew(self, points: Points, light: bool) -> Callable | None:
        if not self._is_known or (light and self.is_complete):
            return None
        n = len(self._set)
        is_active = self._penalty.of(self._set).column_weights(n) == 0
        for beta in points:
            if beta is not None:
                is_active |= _by_column(beta, self.problem)[:n].any(axis=1)
        stay, n_active = self._violations.staying(self._set, is_active), np.count_nonzero(is_active)
        if np.count_nonzero(stay) > self._most_of_all - FEWEST:
            stay = is_active
        new = self._set[:0]
        if not self.is_complete:
            most = min(max(self._most, n_active), self._most_of_all - np.count_nonzero(stay))
            new = self._violations.joining(self._may_join, most)
        if stay.all() and len(new) == 0:
            return None
        return self._become(np.concatenate([self._set[stay], new]))

    # -- the set -------------------------------------------------------------------------

    def _become(self, columns):
        """Let the set be these columns; a function of arrays for the old, to those for the new."""
        before = getattr(self, "problem", None)
        old = getattr(self, "_set", columns)
        self._set, self.problem = columns, self._of(columns)
        _, at_new, at_old = np.intersect1d(columns, old, return_indices=True)

        def move(beta):
            by_column, moved = _by_column(beta, before), self._zeros(len(columns))
            moved[at_new] = by_column[at_old]
            moved[len(columns) :] = by_column[len(old) :]
            return _as_beta(moved, self.problem)

        return move

    def _of(self, columns):
        """The problem of some columns, or of all."""
        penalty, loss = self._penalty, self._loss
        if columns is not None:
            penalty = penalty.of(columns)
        if not isinstance(loss, Softmax):
            return Problem(penalty, self._fit_intercept, loss)
        if columns is not None:
            loss = replace(loss, shift=loss.shift[columns])
        return Problem(loss.penalty(penalty), False, loss)

    def _places(self):
        """Where coefficients of columns of the set, among those of all, are in its vector."""
        n, is_class = len(self._set), isinstance(self._loss, Softmax)
        places = np.zeros(self._place.n_features, dtype=np.intp)
        places[self._set] = np.arange(n)
        if not is_class:
            return places
        if self._fit_intercept:
            places, n = np.append(places, n), n + 1
        return np.concatenate([places + n * of_class for of_class in range(self._loss.n_classes)])

    def _zeros(self, n_columns):
        """Coefficients of so many columns, the intercepts below."""
        loss = self._loss
        width = loss.n_classes if isinstance(loss, Softmax) else self._place.n_targets
        return np.zeros((n_columns + self._fit_intercept, width))

    def _spread(self, beta):
        """Coefficients of all columns, of those of the set."""
        k, by_column = self._place.n_features, _by_column(beta, self.problem)
        of_all = self._zeros(k)
        of_all[self._set] = by_column[: len(self._set)]
        of_all[k:] = by_column[len(self._set) :]
        return of_all

    def _look(self, correlation, n, size):
        """See which columns violate optimality, by their correlations (k, p) with a dual point."""
        self._seen = correlation, n, size
        threshold = n * self._penalty.l1
        if self._penalty.weights is not None:
            threshold = threshold * self._penalty.weights[:, np.newaxis]
        pulls = self._penalty.at_zero(correlation)
        self._violations = violations(pulls, threshold, self._spreads, size)
        self._may_join = np.array(self._varies)
        self._may_join[self._set] = False
        self.is_complete = not (self._violations.outside & self._may_join).any()
        self._is_known = True


def _by_column(beta, problem):
    """Coefficients with a row for each column, and one for intercepts, of those of a problem."""
    return problem.loss.by_class(beta) if isinstance(problem.loss, Softmax) else beta


def _as_beta(by_column, problem):
    """Inverse of `_by_column`."""
    return problem.loss.as_vector(by_column) if isinstance(problem.loss, Softmax) else by_column


def _summed(problem):
    """The loss, as one that is summed over rows."""
    if isinstance(problem.loss, Softmax):
        return ClassesLoss(problem.loss)
    return RowLoss(problem.loss, problem.fit_intercept)


def suits(penalty: L1) -> bool:
    """Whether a penalty leaves few columns a coefficient: one on nearly all, with an l1 term."""
    n_free = 0 if penalty.weights is None else int((penalty.weights == 0).sum())
    return bool(
        np.all(np.asarray(penalty.l1) > 0) and not penalty.adaptive and n_free <= _MOST_FREE
    )


def takes_sets(place: Place, problem: Problem, n_fits: int = 1) -> bool:
    """Whether a fit, one of so many side by side, is through a working set of the columns."""
    if isinstance(problem.loss, Residual):
        # Steps of Huber's loss, whose curvature comes and goes, are many beside a changing set.
        is_too_wide = is_huge(place)
    else:
        is_too_wide = is_wide(place, getattr(problem.loss, "n_classes", 1), n_fits)
    return is_too_wide and suits(problem.l1_penalty)


def columns_of(
    place: Place, problem: Problem, settings: Settings, n_fits: int = 1
) -> AllColumns | WorkingColumns:
    """What suits the rows, the problem and other fits beside; a `Softmax` is of no columns yet."""
    loss, n_classes = problem.loss, 1
    if isinstance(loss, Softmax):
        n_classes, loss = loss.n_classes, replace(loss, shift=np.zeros(place.n_features))
    if takes_sets(place, problem, n_fits):
        return WorkingColumns(place, problem._replace(loss=loss), settings)
    check_width(place, n_classes)
    if not isinstance(loss, Softmax):
        return AllColumns(place, problem, settings)
    n_before, problem = int(problem.penalty.standardize), in_units(place, problem)
    if problem.fit_intercept:
        of_sample = place.sample(_weighted_mean, _added, share=SHARE, enough=ENOUGH)
        if of_sample is not None:
            loss = replace(loss, shift=of_sample[1] / of_sample[0])
    inner = Problem(loss.penalty(problem.l1_penalty), False, loss)
    columns = AllColumns(place, inner, settings)
    columns.n_passes += n_before
    return columns


def _weighted_mean(chunks, share: float):
    """The weight of the rows of a share of some chunks, and that times their mean."""
    sample = sample_of(chunks, share, ENOUGH)
    if sample is None:
        return None
    weights = np.ones(sample.n_rows) if sample.sample_weight is None else sample.sample_weight
    total = sample.X.T @ weights
    return (weights.sum(), total) if weights.any() and np.isfinite(total).all() else None


def _added(parts):
    parts = [part for part in parts if part is not None]
    return tuple(map(sum, zip(*parts, strict=True))) if parts else None
