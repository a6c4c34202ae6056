"""A first estimate from a share of the rows, for fits that take passes over all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

import numpy as np

from ..problem.losses import Certified, Residual
from ..problem.softmax import Softmax
from ..rows.chunk import Chunk
from ..rows.losses import RowLoss
from ..rows.needs import needs, of_first
from ..rows.newton import Points, sample_of
from ..rows.newton_columns import of_columns
from ..rows.raw import raw_rows
from ..rows.statistics import Statistics, merge_statistics
from .fit import Problem
from .quadratic import objective_of, pass_of, step

# Share of the rows that the first estimate is from, at least so many rows of each thread.
SHARE, ENOUGH = 0.05, 1000
# Passes over them, and the change of the objective, relatively, that is small enough there.
_FIRST_PASSES, _FIRST_CHANGE = 20, 1e-4


class First(NamedTuple):
    """An estimate of some rows: coefficients (d, m), the null loss (m,), statistics there."""

    n_rows: int
    weight: float
    beta: np.ndarray
    null: np.ndarray
    statistics: tuple[Statistics, ...]


def first_estimate(
    chunks: Iterable[Chunk], problem: Problem, coef_init: np.ndarray | None, share: float
) -> First | None:
    """The estimate of a share of some chunks."""
    sample = sample_of(chunks, share, ENOUGH)
    start = _start(sample, problem, coef_init)
    if start is None:
        return None
    beta, null = start
    found, best, objective = None, np.zeros_like(beta), np.inf
    for _ in range(_FIRST_PASSES):
        at = pass_of(problem.loss)([sample], problem.loss, Points(beta, beta=beta))
        if at.defect is not None or at.weight == 0 or _is_too_large(at, problem):
            return None
        value = objective_of(at, beta, problem).sum()
        if not (np.isfinite(value) and value <= objective):
            beta = best + 0.25 * (beta - best)
            continue
        is_near = objective - value <= _FIRST_CHANGE * abs(value)
        found, best, objective = at, beta, value
        if is_near:
            break
        beta = step(found.statistics, beta, found.weight, problem, 1000)
    if found is None:
        return None
    return First(at.n_rows, at.weight, best, null, found.statistics)


def _is_too_large(at, problem) -> bool:
    """Whether squares about zero are needed, and cannot be summed: the first step tells."""
    with np.errstate(over="ignore"):
        squares = [of_rows.norms**2 for of_rows in at.statistics]
    return not (problem.fit_intercept or np.isfinite(squares).all())


@needs(of_first)
def best_constant(
    chunks: Iterable[Chunk],
    columns: np.ndarray,
    problem: Problem,
    coef: np.ndarray | None,
    share: float,
) -> First | None:
    """Of a share of some chunks the best intercepts, beside coefficients (c, m) of some columns.

    The problem is of no columns.
    """
    sample = sample_of((of_columns(chunk, columns) for chunk in chunks), share, ENOUGH)
    if sample is None:
        return None
    start = _start(of_columns(sample, columns[:0]), problem, None)
    if start is None:
        return None
    beta, null = start
    weights = sample.sample_weight
    if len(beta) and coef is not None:  # about right: the first step is to it
        eta = raw_rows(sample).X @ coef
        beta = beta - np.average(eta, axis=0, weights=weights).reshape(beta.shape)
    weight = float(sample.n_rows if weights is None else weights.sum())
    return First(sample.n_rows, weight, beta, null, ())


def _start(sample, problem: Problem, coef_init) -> tuple[np.ndarray, np.ndarray] | None:
    """Where a sample's fit begins, and its null loss; None where it is of no use."""
    if sample is None or (sample.sample_weight is not None and not sample.sample_weight.any()):
        return None
    weights = np.ones(sample.n_rows) if sample.sample_weight is None else sample.sample_weight
    if not all(np.isfinite(of).all() for of in (sample.y, weights)) or weights.min() < 0:
        return None  # the first pass tells
    loss = problem.loss
    if isinstance(loss, Softmax):
        counts = np.bincount(sample.y[:, 0].astype(np.intp), weights, loss.n_classes)
        if len(counts) > loss.n_classes or not counts.all():
            return None
        shares = counts / counts.sum()
        start = loss.start(shares, coef_init)
        return problem.l1_penalty.clip(start), loss.null_loss(shares)
    if hasattr(loss, "outside") and loss.outside(sample.y).any():
        return None
    with np.errstate(over="ignore"):
        y_mean = np.average(sample.y, axis=0, weights=weights)
    if isinstance(loss, Residual):  # which is to keep gross errors out
        y_mean = np.median(sample.y[weights > 0], axis=0)
    if not np.isfinite(y_mean).all():
        return None
    if hasattr(loss, "is_endless") and loss.is_endless(y_mean).any():
        return None  # it has no best intercept, and other samples may
    rows = RowLoss(cast(Certified, loss), problem.fit_intercept)
    of_constant = rows.start(raw_rows(sample), y_mean, None)
    beta = np.zeros((sample.X.shape[1] + problem.fit_intercept, sample.y.shape[1]))
    if problem.fit_intercept:
        beta[-1] = of_constant.eta
    if coef_init is not None:
        beta = _better(beta, problem.l1_penalty.clip(coef_init), rows, raw_rows(sample))
    return beta, of_constant.null / weights.sum()


def _better(constant, coef, loss, rows):
    """Of a `constant` (d, m) and of coefficients (k, m) what fits rows better."""
    beta = constant.copy()
    beta[: len(coef)] = coef
    with np.errstate(over="ignore", invalid="ignore"):
        if loss.fit_intercept:  # about right, of columns far from zero too
            weights = None if rows.weight is None else rows.weight[:, 0]
            beta[-1] -= np.average(rows.X @ coef, axis=0, weights=weights)
        value, of_constant = (loss.value_and_gradient(b, rows)[0] for b in (beta, constant))
    return beta if value <= of_constant else constant


def averaged(parts: Iterable[First | None]) -> First | None:
    """The average of estimates, and the statistics of them all; None where there are none."""
    found = [part for part in parts if part is not None]
    if not found:
        return None
    weight = sum(part.weight for part in found)
    return First(
        sum(part.n_rows for part in found),
        weight,
        np.sum([part.weight / weight * part.beta for part in found], axis=0),
        np.sum([part.weight / weight * part.null for part in found], axis=0),
        tuple(map(merge_statistics, zip(*(part.statistics for part in found), strict=True))),
    )
