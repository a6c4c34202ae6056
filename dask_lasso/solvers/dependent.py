"""Unpenalised columns that depend on each other but for little, seen once more.

How much a combination of columns varies is lost in their moments where that is less than
1e-7 of what they vary by themselves: squares of it are less than rounding. In the rows it is
there. Columns without a penalty may be exchanged for combinations of them, so a second pass
takes the moments of those that the first one has found to be all but zero, each in its own
units, and of those that are not.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..places.place import Place, usable
from ..places.waiting import TimeIsUp
from ..problem.certificate import certify
from ..problem.gram import solve
from ..problem.linear import LeastSquares
from ..problem.moments import Moments, intercept
from ..problem.penalties import L1
from ..rows.mixed import Mixing, mixed_statistics
from .fit import AnyPenalty, Fit, Settings

_EPS = np.finfo(np.float64).eps
# Variation of a combination, in units of the rounding of what it is of, that is none.
_NONE = 4.0
# Share of a column, squared, that is lost in rounding where the rest is a combination of others.
_LITTLE = 1e-8


def look_again(
    place: Place, found: Fit, penalty: AnyPenalty, fit_intercept: bool, settings: Settings
) -> Fit:
    """The same fit; where its gap is due to columns that nearly depend, one of another pass."""
    statistics: Any = found.statistics
    if not (_is_above(found, settings.tol) and isinstance(penalty, L1)):
        return found
    moments = statistics.moments(fit_intercept)
    is_free = _unpenalised(penalty, len(moments.gram))
    if penalty.box is not None:
        is_free &= ~penalty.box.bounded
    mixtures = _mixtures(moments, is_free)
    if mixtures is None:
        return found
    into, back = mixtures
    mixing = Mixing(statistics.x_mean * fit_intercept, into)
    try:
        again = usable(place.merged_statistics(partial(mixed_statistics, mixing)), place)
    except TimeIsUp:
        return found._replace(stopped_by="max_time")
    sizes = np.sqrt((into**2).T @ moments.sizes**2)
    mixed = _known(again.moments(fit_intercept), sizes)
    coef = into @ solve(mixed, penalty, max_iter=settings.max_iter).coef
    coef = penalty.rounded(coef, len(coef), settings.dtype)
    of_mixed = back @ coef
    gap = certify(mixed, of_mixed, penalty)[1]
    # Where large coefficients cancel, what they are of mixed columns is known to their rounding.
    gap += (4 * _EPS * (moments.norms @ np.abs(coef))) ** 2 / moments.weight
    better = gap < found.estimate.gap
    coef, gap = np.where(better, coef, found.estimate.coef), np.minimum(gap, found.estimate.gap)
    best = intercept(statistics, coef, fit_intercept)
    estimate = found.estimate._replace(coef=coef, intercept=best, gap=gap)
    return found._replace(estimate=estimate, n_passes=found.n_passes + 1)


def blamed(found: Fit, penalty: AnyPenalty, fit_intercept: bool, tol: float) -> Fit:
    """The same fit; where its gap is due to columns that nearly depend, it says so."""
    if not (_is_above(found, tol) and isinstance(penalty, L1)):
        return found
    statistics: Any = found.statistics
    moments = statistics.moments(fit_intercept)
    free = moments.of(np.flatnonzero(_unpenalised(penalty, len(moments.gram))))
    # Of columns far from zero, too, which differ by less than digits tell of their means.
    is_regular = all(
        LeastSquares(of.gram, of.x_mean, of.weight).is_regular for of in (free, free.about_zero())
    )
    return found if is_regular else found._replace(stopped_by="dependence")


def _is_above(found, tol):
    above = found.estimate.gap > tol * found.null_loss
    return found.converged and found.stopped_by is None and above.any()


def _unpenalised(penalty, k):
    return np.full(k, True) if penalty.alpha == 0 else penalty.column_weights(k) == 0


def _mixtures(moments, is_free):
    """A matrix that takes coefficients of mixed columns to those of all, and its inverse.

    Of the unpenalised columns it makes combinations that do not depend, and from the others
    takes their regressions on these. None where there is nothing to be gained.
    """
    free, rest = np.flatnonzero(is_free), np.flatnonzero(~is_free)
    of_free, of_rest = moments.of(free), moments.of(rest)
    squares = LeastSquares(of_free.gram, of_free.x_mean, moments.weight)
    cross = moments.gram[np.ix_(free, rest)]
    on_free = squares.solve(cross, of_rest.x_mean)
    left = np.diagonal(of_rest.gram) - 2 * (on_free * cross).sum(axis=0)
    left += (on_free * (of_free.gram @ on_free)).sum(axis=0)
    has_all = squares.is_regular and (left >= _LITTLE * np.diagonal(of_rest.gram)).all()
    if not len(free) or has_all:
        return None
    into, back = np.eye(len(is_free)), np.eye(len(is_free))
    into[np.ix_(free, free)], back[np.ix_(free, free)] = squares.directions
    into[np.ix_(free, rest)] = -on_free
    back[np.ix_(free, rest)] = back[np.ix_(free, free)] @ on_free
    return into, back


def _known(problem: Moments, sizes: np.ndarray) -> Moments:
    """Moments of columns that were made of others of these sizes; rounding is not variation."""
    none = problem.norms <= _NONE * _EPS * sizes
    gram, xy = problem.gram.copy(), problem.xy.copy()
    gram[none] = gram[:, none] = xy[none] = 0.0
    x_mean = None if problem.x_mean is None else np.where(none, 0.0, problem.x_mean)
    beside = np.maximum(sizes**2 - np.diagonal(gram), 0.0) / problem.weight
    return problem._replace(gram=gram, xy=xy, x_mean=x_mean, x_taken=np.sqrt(beside))
