"""Scores of cross-validations: from what a pass knows, or from the predictors of held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy import sparse

from ..places.place import Place
from ..rows.cells import Partition
from ..rows.held_out import HeldOut, Linear, held_out, mean_scores, merge_held_out
from ..rows.passes import merge_sums

# Bytes of linear predictors that come to this process, at most.
MOST_BYTES = 2**31


class Score(Protocol):
    """What is the larger the better, in place of minus the mean error on test sets.

    Attributes
    ----------
    of_errors : callable or None
        Of mean errors on test sets and, from statistics, of the variance of y there; None where
        the score is no function of them.
    is_mean : bool
        Whether it is a mean over rows.
    """

    name: str
    of_errors: Callable[[np.ndarray, np.ndarray | None], np.ndarray] | None
    is_mean: bool

    def of_rows(self, eta: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> float: ...


class Point(NamedTuple):
    """The models of a split: coefficients (k, p), an array or sparse, and intercepts (p,).

    Of K classes they are (K k, p), class by class, and (p, K).
    """

    coefs: np.ndarray | sparse.csc_array
    intercepts: np.ndarray


def joined_points(points: Sequence[Point]) -> Point:
    """The models of several as one."""
    coefs, intercepts = zip(*points, strict=True)
    stack = sparse.hstack if sparse.issparse(coefs[0]) else np.hstack
    return Point(stack(coefs), np.concatenate(intercepts))


def linear_of(model: Point, n_features: int) -> Linear:
    """The models in the columns that they are of; of classes, a model of one after the other."""
    coefs, intercepts = model
    n_classes, p = coefs.shape[0] // n_features, coefs.shape[1]
    if n_classes > 1:
        found = sparse.coo_array(coefs)
        of_class, column = np.divmod(found.row, n_features)
        at = column, of_class * p + found.col
        coefs = sparse.csr_array((found.data, at), shape=(n_features, n_classes * p))
    columns = np.unique(coefs.nonzero()[0])
    coef: Any = sparse.csr_array(coefs) if sparse.issparse(coefs) else coefs
    coef = coef[columns]
    coef = coef.toarray() if sparse.issparse(coef) else coef
    return Linear(columns, coef, np.ravel(intercepts.T))


def scores_of_rows(
    place: Place, partition: Partition, models: list[Point], score: Score, n_joined: int = 1
) -> np.ndarray:
    """Scores (m, p, n_splits), in one pass.

    Parameters
    ----------
    models : list of Point
        Of each split; of p models for each of m targets, one target after the other.
    n_joined : int
        As many targets, or classes, as have one score; m is how many scores there are.
    """
    tests = [(which[0], partition.counts(which)) for which in partition.sets()[1][1:]]
    linears = [linear_of(model, place.n_features) for model in models]
    n_points, n_scores = len(linears[0].intercepts), max(1, place.n_targets // n_joined)
    shape = n_scores, n_points // (n_scores * n_joined)
    of_part = partial(_scores, score=score, shape=(shape[0], n_joined, shape[1]))
    if score.is_mean:
        args = linears, tests, of_part, shape
        means = place.reduce(mean_scores, merge_sums, *args, partition=partition)
        return np.moveaxis(means.sums / means.weight, 0, -1)
    n_rows = sum(partition.n_rows_of(which, int(place.n_rows)) for which in tests)
    if 8 * n_rows * n_points > MOST_BYTES:
        raise ValueError(
            f"scoring={score.name!r} is of the predictions of all held-out rows at once, and"
            f" {n_rows} of them at {n_points} points of the path take more than"
            f" {MOST_BYTES // 2**20} MiB: use fewer alphas, a cv that holds out fewer rows, or a"
            " score that is a mean over rows."
        )
    found = place.reduce(held_out, merge_held_out, linears, tests, partition=partition)
    return np.stack([of_part(_joined(parts)) for parts in found], axis=-1)


def _joined(parts):
    eta, y = (np.concatenate([getattr(part, name) for part in parts]) for name in ("eta", "y"))
    has_weight = parts[0].weight is not None
    return HeldOut(eta, y, np.concatenate([p.weight for p in parts]) if has_weight else None)


def _scores(part, score, shape):
    """Scores (m, p) of rows, for a shape of (m, n_joined, p)."""
    m, _, p = shape
    eta, y = part.eta.reshape(len(part.y), *shape), part.y.reshape(len(part.y), m, -1)
    found = np.empty((m, p))
    for target, point in np.ndindex(m, p):
        found[target, point] = score.of_rows(eta[:, target, :, point], y[:, target], part.weight)
    return found
