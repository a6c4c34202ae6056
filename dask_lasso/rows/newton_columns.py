"""Passes of Newton's method over rows with many columns, of which a working set is solved for.

The quadratic is of the set's columns alone, and its Gram matrix too; what all columns are
needed for is the certificate: one product with the dual point. Sparse chunks are never made
dense, and of dense ones the set's columns are copied a slab of rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from scipy import sparse

from ..problem.losses import Certified
from ..problem.softmax import Softmax
from .chunk import Chunk, to_host
from .classes import classes_duals, classes_pass, classes_slopes, unseen
from .columns import ColumnMoments, column_moments, merge_columns
from .needs import Needs, Targets, Vectors, needs, of_first
from .newton import (
    NewtonPass,
    Points,
    Sums,
    duals,
    merge_newton,
    newton_pass,
    outside,
    slopes,
    working_rows,
)
from .passes import correlate, take_columns, take_sparse
from .raw import raw_rows
from .statistics import Statistics, merge_statistics, statistics_of_chunk, value_defect
from .tiles import BUFFER_ITEMS

# Slopes whose squares, and products with columns, can be summed.
_LARGEST = np.finfo(np.float64).max ** 0.25


def of_columns(chunk: Chunk, columns: np.ndarray) -> Chunk:
    """The same rows, of these columns: NumPy's, or sparse."""
    if chunk.defect is not None:
        return chunk
    if sparse.issparse(chunk.X):
        return chunk._replace(X=take_sparse(chunk.X, columns))
    return chunk._replace(X=to_host(take_columns(chunk.X, columns)))


@needs(of_first)
def on_columns(chunks: Iterable[Chunk], columns: np.ndarray, task: Callable, *args: Any) -> Any:
    """``task(chunks, *args)`` of these columns alone."""
    return task((of_columns(chunk, columns) for chunk in chunks), *args)


def rows_of_slopes(
    chunks: Iterable[Chunk], loss: Certified | Softmax, columns: np.ndarray, beta: np.ndarray
) -> tuple[ColumnMoments, list]:
    """`Needs.rows` of `slopes_of_columns`: of no columns, but what is wrong with rows."""
    parts, beside = [], []
    for chunk in chunks:
        slopes = _with_slopes(chunk, loss, columns, beta, with_features=False)
        if slopes.defect is None:
            slopes = slopes._replace(X=np.zeros((chunk.n_rows, 0)))
        parts.append(column_moments([slopes]))
        is_usable = parts[-1].defect is None
        beside.append((Targets(slopes.y, slopes.sample_weight) if is_usable else None,))
    return merge_columns(parts), beside


def _with_moments(found: ColumnMoments, every: list) -> ColumnMoments:
    return every[0]._replace(n_rows=found.n_rows, n_chunks=found.n_chunks)


@needs(
    lambda loss, columns, beta: Needs(
        columns, lambda at: (loss, at, beta), rows_of_slopes, _with_moments
    )
)
def slopes_of_columns(
    chunks: Iterable[Chunk], loss: Certified | Softmax, columns: np.ndarray, beta: np.ndarray
) -> ColumnMoments:
    """Moments of every column, and in place of y minus the loss' derivative at an estimate.

    The estimate `beta` is of `columns`, with an intercept below if there is one.
    """
    return column_moments(_with_slopes(chunk, loss, columns, beta) for chunk in chunks)


def _with_slopes(chunk, loss, columns, beta, with_features=True):
    is_of_classes = isinstance(loss, Softmax)
    defect = chunk.defect or (unseen if is_of_classes else outside)(chunk, loss)
    if defect is None and not np.isfinite(chunk.y).all():
        X = to_host(chunk.X) if with_features else np.zeros((chunk.n_rows, 0))
        defect = value_defect(X, chunk.y, chunk.sample_weight)
    if defect is not None:
        return chunk._replace(defect=defect)
    rows = raw_rows(of_columns(chunk, columns))
    of_rows: Callable = classes_slopes if is_of_classes else slopes
    with np.errstate(over="ignore", invalid="ignore"):
        theta = of_rows(rows, loss, beta)
    # It is where columns are looked for; an estimate too far out says nothing of its rows.
    return chunk._replace(y=np.where(np.abs(theta) <= _LARGEST, theta, 0.0))


def rows_of_columns_pass(
    chunks: Iterable[Chunk], loss: Any, points: Points, light: bool, columns: np.ndarray
) -> tuple[NewtonPass, list]:
    """`Needs.rows` of `columns_pass`."""
    duals_of_chunks: list[list[np.ndarray]] = []

    def begun():
        for chunk in chunks:
            duals_of_chunks.append([])
            yield chunk

    def keep(X, theta):
        duals_of_chunks[-1].append(theta)

    found = _pass(begun(), (loss, points, light, columns), keep)
    is_usable = found.defect is None and (found.loss is None or np.isfinite(found.loss).all())
    if not is_usable or points.before is None:
        return found, [(None,)] * len(duals_of_chunks)
    p = loss.n_classes if isinstance(loss, Softmax) else points.beta.shape[1]
    none = np.empty((0, p))
    return found, [(Vectors(np.concatenate([none, *of])),) for of in duals_of_chunks]


def _with_dual(found: NewtonPass, every: list) -> NewtonPass:
    return found if found.dual is None else found._replace(dual=Sums(found.dual.theta, every[0]))


@needs(
    lambda loss, points, light, columns: Needs(
        columns, lambda at: (loss, points, light, at), rows_of_columns_pass, _with_dual
    )
)
def columns_pass(
    chunks: Iterable[Chunk],
    loss: Any,  # of a row, or Softmax
    points: Points,
    light: bool,
    columns: np.ndarray,
) -> NewtonPass:
    """`newton_pass` or `classes_pass` of some columns; but the dual's sums are of all of them."""
    products: list[np.ndarray] = []

    def add(X, theta):
        if not products:
            products.append(np.zeros((X.shape[1], theta.shape[1])))
        correlate(X, theta, products[0])

    found = _pass(chunks, (loss, points, light, columns), add)
    return _with_dual(found, products)


def _pass(chunks, args, on_dual):
    """A pass of some columns; ``on_dual(X, theta)`` is called for some rows after the other."""
    loss, points, light, columns = args
    is_of_classes = isinstance(loss, Softmax)
    task: Callable = classes_pass if is_of_classes else newton_pass
    of_rows: Callable = classes_duals if is_of_classes else duals
    parts: list[NewtonPass] = []
    held: list[list[Chunk]] = []
    statistics: tuple[Statistics, ...] = ()
    dual: Any = None
    for chunk in chunks:
        # A Gram matrix of sparse columns costs more than their rows: one for all chunks.
        later = sparse.issparse(chunk.X) and not (light or is_of_classes)
        of_slabs = []
        for rows, few in _slabs(chunk, columns):
            part = task([few], loss, points, light or later)
            statistics = _added(statistics, part.statistics)
            of_slabs.append(part._replace(statistics=()))
            if part.loss is None or not np.isfinite(part.loss).all():
                continue
            if points.before is not None:
                with np.errstate(over="ignore", invalid="ignore"):
                    theta = of_rows(raw_rows(few), loss, points)
                total = theta.sum(axis=0)
                dual = Sums(total if dual is None else dual.theta + total, 0.0)
                on_dual(chunk.X if rows is None else chunk.X[rows, :], theta)
            if later:
                held.append(working_rows(few, loss, points.beta))
        parts.append(merge_newton(of_slabs)._replace(n_chunks=1))
    found = merge_newton(parts)
    if found.loss is None or not np.isfinite(found.loss).all():
        return found
    if held:
        joined = [_joined(of_target) for of_target in zip(*held, strict=True)]
        statistics = _added(statistics, tuple(map(statistics_of_chunk, joined)))
    return found._replace(statistics=statistics, dual=dual)


def _added(old, new):
    """Statistics of the union of disjoint rows, of each target; of none, what there is."""
    if not (old and new):
        return old or new
    return tuple(merge_statistics(pair) for pair in zip(old, new, strict=True))


def _slabs(chunk: Chunk, columns: np.ndarray) -> Iterator[tuple[slice | None, Chunk]]:
    """The chosen columns of a chunk: of all rows where it is sparse, else of some at a time."""
    n, step = chunk.n_rows, max(1, BUFFER_ITEMS // max(1, len(columns)))
    if chunk.defect is not None or sparse.issparse(chunk.X) or n <= step:
        yield None, of_columns(chunk, columns)
        return
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        yield rows, of_columns(chunk.rows(rows), columns)


def _joined(chunks):
    """Sparse chunks as one."""
    X = sparse.csr_array(sparse.vstack([chunk.X for chunk in chunks]))
    y = np.vstack([chunk.y for chunk in chunks])
    return Chunk(X, y, np.concatenate([chunk.sample_weight for chunk in chunks]), len(y))
