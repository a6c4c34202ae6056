"""Scores of cross-validations: from what a pass knows, or from the predictors of held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy import sparse

from ..places.place import Place
from ..rows.cells import Partition
from ..rows.held_out import Linear, held_out, merge_held_out

# Bytes of linear predictors that come to this process, at most.
MOST_BYTES = 2**31


class Score(Protocol):
    """What is the larger the better, in place of minus the mean error on test sets.

    Attributes
    ----------
    of_errors : callable or None
        Of mean errors on test sets and, from statistics, of the variance of y there; None where
        the score is no function of them.
    """

    name: str
    of_errors: Callable[[np.ndarray, np.ndarray | None], np.ndarray] | None

    def of_rows(self, eta: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> float: ...


class Point(NamedTuple):
    """The models of a split: coefficients (k, p), an array or sparse, and intercepts (p,)."""

    coefs: np.ndarray | sparse.csc_array
    intercepts: np.ndarray


def joined_points(points: Sequence[Point]) -> Point:
    """The models of several as one."""
    coefs, intercepts = zip(*points, strict=True)
    stack = sparse.hstack if sparse.issparse(coefs[0]) else np.hstack
    return Point(stack(coefs), np.concatenate(intercepts))


def scores_of_rows(
    place: Place, partition: Partition, models: list[Point], score: Score, n_joined: int = 1
) -> np.ndarray:
    """Scores (m, p, n_splits), in one pass.

    Parameters
    ----------
    models : list of Point
        Of each split; of p models for each of m targets, one target after the other.
    n_joined : int
        As many targets as have one score; m is how many scores there are.
    """
    tests = [(which[0], partition.counts(which)) for which in partition.sets()[1][1:]]
    n_points = len(models[0].intercepts)
    n_rows = sum(partition.n_rows_of(which, int(place.n_rows)) for which in tests)
    if 8 * n_rows * n_points > MOST_BYTES:
        raise ValueError(
            f"scoring={score.name!r} is of the predictions of all held-out rows at once, and"
            f" {n_rows} of them at {n_points} points of the path take more than"
            f" {MOST_BYTES // 2**20} MiB: use fewer alphas, a cv that holds out fewer rows, or a"
            " score that takes no such pass (None, 'r2', 'neg_mean_squared_error')."
        )
    linears = []
    for coefs, intercepts in models:
        columns = np.unique(coefs.nonzero()[0])
        coef: Any = sparse.csr_array(coefs) if sparse.issparse(coefs) else coefs
        coef = coef[columns]
        coef = coef.toarray() if sparse.issparse(coef) else coef
        linears.append(Linear(columns, coef, intercepts))
    found = place.reduce(held_out, merge_held_out, linears, tests, partition=partition)
    m = place.n_targets // n_joined
    p = n_points // place.n_targets
    scores = np.empty((m, p, len(tests)))
    for split, parts in enumerate(found):
        eta, y = (np.concatenate([getattr(part, name) for part in parts]) for name in ("eta", "y"))
        has_weight = parts[0].weight is not None
        weight = np.concatenate([part.weight for part in parts]) if has_weight else None
        eta, y = eta.reshape(len(y), m, n_joined, p), y.reshape(len(y), m, n_joined)
        for target, point in np.ndindex(m, p):
            scores[target, point, split] = score.of_rows(
                eta[:, target, :, point], y[:, target], weight
            )
    return scores
