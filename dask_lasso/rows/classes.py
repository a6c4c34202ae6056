"""A pass of Newton's method over rows of several classes.

What `newton_pass` is for losses of one linear predictor, for the softmax of K: the quadratic of a
row has the curvature ``diag(p) - p p^T``, with p its probabilities (Böhning 1992), and that of
rows is a Gram matrix of all pairs of classes and columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import softmax, xlogy

from ..problem.softmax import Softmax
from .chunk import Chunk, Defect
from .newton import NewtonPass, Points, Sums, is_finite, merge_newton
from .raw import Rows, raw_rows
from .statistics import Statistics, value_defect
from .tiles import BUFFER_ITEMS

# What keeps the Gram matrix definite, relatively: coefficients of all classes can move together.
_TOGETHER = 1e-6


def classes_pass(
    chunks: Iterable[Chunk], loss: Softmax, points: Points, light: bool = False
) -> NewtonPass:
    """The loss of some chunks, and its quadratic; as `newton_pass`, of codes of classes."""
    return merge_newton(_of_chunk(chunk, loss, points, light) for chunk in chunks)


def classes_slopes(rows: Rows, loss: Softmax, beta: np.ndarray) -> np.ndarray:
    """Minus the derivative (n, K) of the loss in some rows, not weighted."""
    found = []
    for X, codes, _ in _tiles(rows, loss):
        _, p = _loss_and_probabilities(X @ loss.by_class(beta), codes)
        found.append(_less(p, codes))
    return np.concatenate(found) if found else np.empty((0, loss.n_classes))


def classes_duals(rows: Rows, loss: Softmax, points: Points) -> np.ndarray:
    """The dual point (n, K) of a pass, times the weights of the rows."""
    found = [
        weight[:, np.newaxis] * _less(_dual_probabilities(X, loss, points, codes), codes)
        for X, codes, weight in _tiles(rows, loss)
    ]
    return np.concatenate(found) if found else np.empty((0, loss.n_classes))


@dataclass(frozen=True)
class ClassesLoss:
    """The loss of every row, summed; as `RowLoss`."""

    loss: Softmax

    def values_between(
        self, beta: np.ndarray, other: np.ndarray, shares: np.ndarray, rows: Rows
    ) -> np.ndarray:
        """The loss (s, 1) at points that are these shares of the way from `beta` to `other`."""
        found = np.zeros((len(shares), 1))
        for X, codes, weight in _tiles(rows, self.loss):
            eta, step = (X @ self.loss.by_class(of) for of in (beta, other - beta))
            for values, share in zip(found, shares, strict=True):
                at, _ = _loss_and_probabilities(eta + share * step, codes)
                values += weight @ at
        return found


def _of_chunk(chunk, loss, points, light):
    n = chunk.n_rows
    if chunk.defect is not None or n == 0:
        return NewtonPass(n, 1, chunk.defect)
    rows = raw_rows(chunk)
    if not is_finite(rows) or (rows.weight is not None and not (rows.weight >= 0).all()):
        return NewtonPass(n, 1, value_defect(rows.X, rows.y, chunk.sample_weight))
    defect = unseen(chunk, loss)
    if defect is not None:
        return NewtonPass(n, 1, defect)
    with np.errstate(over="ignore", invalid="ignore"):
        found = _sums(rows, loss, points, light)
    if not np.isfinite(found.loss).all():
        return NewtonPass(n, 1, weight=found.weight, loss=np.array([np.inf]))
    if found.statistics and not np.isfinite(found.statistics[0].sxx).all():
        return NewtonPass(n, 1, value_defect(rows.X, rows.y, chunk.sample_weight))
    return found


def unseen(chunk: Chunk, loss: Softmax) -> Defect | None:
    """The first label that is of no class."""
    is_other = chunk.y[:, 0] >= loss.n_classes
    if not is_other.any():
        return None
    problem = "has a label that was not there when its classes were counted"
    return Defect("y", problem, int(np.argmax(is_other)), 0)


def _sums(rows, loss, points, light):
    d, K = loss.n_columns, loss.n_classes
    weights, counts, of_row, squares, conjugate = 0.0, np.zeros(K), 0.0, 0.0, 0.0
    misfit = 0.0
    slope, dual = np.zeros((d, K)), np.zeros((d, K))
    gram = None if light else np.zeros((d * K, d * K))
    for X, codes, weight in _tiles(rows, loss):
        value, p = _loss_and_probabilities(X @ loss.by_class(points.beta), codes)
        theta = _less(p, codes)
        weights += float(weight.sum())
        counts += np.bincount(codes, weights=weight, minlength=K)
        of_row += weight @ value
        squares += weight @ (theta**2).sum(axis=1)
        misfit += weight @ np.expm1(np.minimum(value, 300.0))
        slope += X.T @ (weight[:, np.newaxis] * theta)
        if gram is not None:
            _add_gram(gram, X, p, weight)
        if points.before is not None:
            other = _dual_probabilities(X, loss, points, codes)
            conjugate += weight @ xlogy(other, other).sum(axis=1)
            dual += X.T @ (weight[:, np.newaxis] * _less(other, codes))
    found = NewtonPass(
        len(rows.y),
        1,
        weight=weights,
        y=counts,
        loss=np.array([of_row]),
        squares=np.array([squares]),
        slope=Sums(np.zeros(1), loss.as_vector(slope)),
        at_zero=np.zeros(1),
    )
    if points.before is not None:
        of_dual = Sums(np.zeros(1), loss.as_vector(dual))
        conjugate = np.where(np.isnan(conjugate), np.inf, conjugate)
        found = found._replace(dual=of_dual, conjugate=np.array([conjugate]), at_zero=None)
    if light:
        return found
    return found._replace(statistics=(_statistics(gram, found, misfit, loss),))


def _statistics(gram, found, misfit, loss):
    """The quadratic as weighted statistics of a column for each class and feature."""
    d, K = loss.n_columns, loss.n_classes
    blocks = gram.reshape(K, d, K, d)
    own = np.einsum("cjcj->j", blocks) / K
    index = np.arange(d)
    blocks[:, index, :, index] += (_TOGETHER * own / K)[:, np.newaxis, np.newaxis]
    zeros = np.zeros(d * K)
    return Statistics(
        found.n_rows,
        1,
        weight=found.weight,
        x_mean=zeros,
        y_mean=np.zeros(1),
        sxx=gram,
        sxy=found.slope.x_theta,
        syy=np.array([misfit]),
        n_weighted=found.n_rows,
    )


def _less(p, codes):
    """One in the class of a row and zero elsewhere, less probabilities, without cancellation."""
    found, rows = -p, np.arange(len(codes))
    found[rows, codes] = 0.0
    found[rows, codes] = -found.sum(axis=1)
    return found


def _loss_and_probabilities(eta, codes):
    """The loss (n,) and the probabilities (n, K) of rows."""
    others = eta - eta[np.arange(len(codes)), codes][:, np.newaxis]
    others[np.arange(len(codes)), codes] = -np.inf
    # log(1 + the sum of exp(others)), to its own digits where it is small.
    top = np.maximum(others.max(axis=1), 0.0)
    total = np.exp(others - top[:, np.newaxis]).sum(axis=1)
    return top + np.log1p(total + np.expm1(-top)), softmax(eta, axis=1)


def _dual_probabilities(X, loss, points, codes):
    """Where the quadratic has its minimum, the probabilities (n, K) that its slopes are of.

    With D the step of the linear predictor from `before`, ``p + q (D - q.D)``, q at `curved`:
    they sum to one, and none is negative once steps are short.
    """
    before, minimum = (loss.by_class(of) for of in (points.before, points.minimum))
    _, p = _loss_and_probabilities(X @ before, codes)
    q = p
    if not np.array_equal(points.before, points.curved):
        _, q = _loss_and_probabilities(X @ loss.by_class(points.curved), codes)
    step = X @ (minimum - before)
    return p + q * (step - (q * step).sum(axis=1, keepdims=True))


def _add_gram(gram, X, p, weight):
    """Add ``sum_i (diag(p_i) - p_i p_i^T) x (x_i x_i^T)``."""
    d, K = X.shape[1], p.shape[1]
    X = np.sqrt(weight)[:, np.newaxis] * X
    products = np.empty((len(X), K * d))
    blocks = [slice(c * d, (c + 1) * d) for c in range(K)]
    for c, block in enumerate(blocks):
        np.multiply(X, p[:, [c]], out=products[:, block])
    between = products.T @ products
    top = np.arange(len(p)), p.argmax(axis=1)
    beside = 1 - p
    beside[top] = _less(p, top[1])[top]
    for c, block in enumerate(blocks):  # p - p^2 is no difference of sums
        between[block, block] = -(X.T @ (products[:, block] * beside[:, [c]]))
    gram -= between


def _tiles(rows: Rows, loss: Softmax) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Tiles of rows: X (n, d) about the shift with ones, codes and weights (n,)."""
    n, k = rows.X.shape
    height = max(256, BUFFER_ITEMS // 4 // max(1, loss.n_columns * loss.n_classes))
    for start in range(0, n, height):
        tile = slice(start, min(start + height, n))
        values: Any = rows.X[tile]
        X = np.ones((tile.stop - start, loss.n_columns))
        X[:, :k] = values.toarray() if sparse.issparse(values) else values
        X[:, :k] -= loss.shift
        codes = rows.y[tile, 0].astype(np.intp)
        yield X, codes, np.ones(len(X)) if rows.weight is None else rows.weight[tile, 0]
