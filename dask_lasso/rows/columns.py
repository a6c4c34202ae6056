"""The first pass over rows with many columns: the moments of every column by itself.

No k x k matrix, vectors of length k alone, summed over chunks in place where these are
sparse: the vectors may be longer than a chunk.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from .chunk import Chunk, Defect, namespace, to_device, to_host
from .merging import merge_counts, merge_means
from .needs import Needs, needs
from .sparse_rows import add_in_place
from .statistics import FAR, are_far, some_rows, value_defect
from .tiles import CACHE_ITEMS, aligned, on_device

# Columns whose products are added while they are in the cache.
_BLOCK = 4096
# Columns of a tile while all columns are gone through.
_TILE_COLUMNS = 1024
# Rows that tell whether a column is far from zero.
_SHIFT_ROWS = 4


class ColumnMoments(NamedTuple):
    """Weighted first and centred second moments of every column by itself.

    Attributes
    ----------
    n_rows, n_chunks : int
    weight : float
    x_mean : ndarray of shape (k,)
    y_mean : ndarray of shape (m,)
    xx : ndarray of shape (k,)
    xy : ndarray of shape (k, m)
    yy : ndarray of shape (m,)
    n_values : int
        Of X that are stored: all of dense rows.
    defect : Defect or None
        If not None, the moments mean nothing.
    """

    n_rows: int
    n_chunks: int
    weight: float
    x_mean: np.ndarray
    y_mean: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray
    n_values: int = 0
    defect: Defect | None = None


@needs(lambda: Needs(None))
def column_moments(chunks: Iterable[Chunk], first: int = 0) -> ColumnMoments:
    """Moments of the columns of some chunks.

    Parameters
    ----------
    chunks : iterable of Chunk
    first : int
        The number of their first column, which a defect names.

    Returns
    -------
    ColumnMoments
        With a `Defect` instead of an error where the rows cannot be used.
    """
    parts, sums = [], None
    for chunk in chunks:
        defect = chunk.defect
        if defect is None:
            X, y, sample_weight = chunk.arrays()
            with np.errstate(invalid="ignore", over="ignore"):
                if sparse.issparse(X):
                    if sums is not None and not sums.suits(y, sample_weight):
                        parts.append(sums.moments())
                        sums = None
                    sums = sums or _SparseSums(X.shape[1], y.shape[1])
                    finite = sums.add(X, y, sample_weight)
                else:
                    parts.append(_dense_columns(X, y, sample_weight))
                    finite = all(np.isfinite(part).all() for part in parts[-1][5:8])
            if finite and (sample_weight is None or (sample_weight >= 0).all()):
                continue
            defect = value_defect(to_host(X), y, sample_weight, first)
        none = np.empty(0)
        return ColumnMoments(chunk.n_rows, 1, 0.0, none, none, none, none, none, defect=defect)
    if sums is not None:
        parts.append(sums.moments())
    return merge_columns(parts)


def _dense_columns(X, y, sample_weight) -> ColumnMoments:
    n = X.shape[0]
    weights = np.ones(n) if sample_weight is None else sample_weight
    weight = float(weights.sum())
    scale = np.sqrt(weights)[:, np.newaxis]
    y_shift = _values_far_from_zero(y, sample_weight)
    y = y - y_shift
    y_mean = weights @ y / (weight or 1.0)
    y_centred = scale * (y - y_mean)
    sides = np.vstack([scale.T, y_centred.T])
    shift = _values_far_from_zero(X, sample_weight)
    sums_of = _sums_of_columns if namespace(X) is None else _sums_of_columns_on_device
    times = None if sample_weight is None else scale
    sums, xx = sums_of(X, shift, sides, times)
    mean = sums[0] / (weight or 1.0)
    if are_far(shift + mean, shift, weight, xx - weight * mean**2):
        shift = shift + mean  # few rows that are far from the rest misled
        sums, xx = sums_of(X, shift, sides, times)
        mean = sums[0] / (weight or 1.0)
    xx -= weight * mean**2
    return ColumnMoments(
        n_rows=n,
        n_chunks=1,
        weight=weight,
        x_mean=shift + mean,
        y_mean=y_shift + y_mean,
        xx=np.maximum(xx, 0.0, out=xx),
        # The weighted sum of the centred y is zero up to rounding, so X needs no centring;
        # what rounding left is taken off.
        xy=sums[1:].T - np.outer(mean, (scale * y_centred).sum(axis=0)),
        yy=np.einsum("it,it->t", y_centred, y_centred),
        n_values=n * X.shape[1],
    )


def _sums_of_columns(X, shift, sides, scale):
    """Products of rows of `sides` with shifted and scaled X, and of X's columns with themselves."""
    n, k = X.shape
    sums = np.zeros((len(sides), k))
    xx = np.zeros(k)
    width = max(1, min(k, _TILE_COLUMNS))
    height = max(1, min(n, CACHE_ITEMS // width))
    as_bytes, shifted = np.empty(height * width, dtype=X.dtype), np.empty((height, width))
    for first in range(0, k, width):
        block = slice(first, min(first + width, k))
        as_it_is = scale is None and X.dtype == np.float64 and not shift[block].any()
        for start in range(0, n, height):
            rows = slice(start, min(start + height, n))
            tile = aligned(X, rows, block, as_bytes)
            if not as_it_is:
                out = shifted[: rows.stop - start, : block.stop - first]
                tile = np.subtract(tile, shift[block], out=out)
            if scale is not None:
                tile *= scale[rows]
            for total, side in zip(sums, sides, strict=True):  # faster than a product of so few
                total[block] += side[rows] @ tile
            xx[block] += np.einsum("ij,ij->j", tile, tile)
    return sums, xx


def _sums_of_columns_on_device(X, shift, sides, scale):
    """`_sums_of_columns` of an X of another library, where it is."""
    xp = namespace(X)
    k = X.shape[1]
    sums, xx = np.zeros((len(sides), k)), np.zeros(k)
    for rows, tile in on_device(X):
        tile = tile - to_device(shift, X)
        if scale is not None:
            tile = tile * to_device(scale[rows], X)
        sums += to_host(to_device(np.ascontiguousarray(sides[:, rows]), X) @ tile)
        xx += to_host(xp.sum(tile * tile, axis=0))
    return sums, xx


class _SparseSums:
    """Sums over the rows of sparse chunks, of which the moments of every column follow.

    Centring is implicit, for a sparse column's mean is rarely large against its spread. Where
    it is, nearly all of the column is stored, and sums are about a point near the mean.
    That is of the first rows that weigh.
    """

    def __init__(self, k, m):
        self._n_rows = self._n_chunks = self._n_values = 0
        # Weighted sums of x, of x squared, and of x y.
        self._x, self._xx, self._xy = np.zeros(k), np.zeros(k), np.zeros((m, k))
        self._first_weight = self._weight = 0.0
        self._y, self._yy = np.zeros(m), np.zeros((m, m))

    def suits(self, y, sample_weight) -> bool:
        """Whether sums do for a chunk too: not if rows of far less weight chose their point."""
        weight = len(y) if sample_weight is None else sample_weight.sum()
        return not self._weight or self._weight + weight <= FAR * self._first_weight

    def _look(self, X, y, sample_weight):
        """See of some rows about which point the sums are to be."""
        self._y_shift = _values_far_from_zero(y, sample_weight)
        shift = _stored_far_from_zero(X, sample_weight)
        self._far = np.flatnonzero(shift)
        self._shift = shift[self._far]

    def add(self, X, y, sample_weight) -> bool:
        """Add a chunk's rows; False where a value is not finite."""
        if not self._weight:  # rows that weigh nothing tell nothing
            self._look(X, y, sample_weight)
        weights = np.ones(len(y)) if sample_weight is None else sample_weight
        y = y - self._y_shift
        weighted = weights[:, np.newaxis] * y
        squares = np.square(X.data, dtype=np.float64)
        squared = type(X)((squares, X.indices, X.indptr), shape=X.shape)
        far = self._far
        before = [sums[..., far].copy() for sums in (self._x, self._xx, self._xy)]
        add_product(X, weights, self._x)
        for xy, column in zip(self._xy, weighted.T, strict=True):
            add_product(X, column, xy)
        add_product(squared, weights, self._xx)
        if len(far):
            values = X[:, far].toarray() - self._shift
            self._x[far] = before[0] + weights @ values
            self._xx[far] = before[1] + weights @ values**2
            self._xy[:, far] = before[2] + weighted.T @ values
        weight = float(weights.sum())
        self._first_weight = self._first_weight if self._weight else weight
        self._weight += weight
        self._y += weighted.sum(axis=0)
        self._yy += weighted.T @ y
        self._n_rows += len(y)
        self._n_chunks += 1
        self._n_values += X.nnz
        return bool(np.isfinite(squared.data.sum() + self._yy.sum()))

    def moments(self) -> ColumnMoments:
        weight = self._weight
        mean, y_mean = self._x / (weight or 1.0), self._y / (weight or 1.0)
        xx = self._xx - weight * mean**2
        # Rounding is not variation.
        xx[xx <= 1e-13 * self._xx] = 0.0
        xy = self._xy.T - np.outer(mean, self._y)
        mean[self._far] += self._shift
        return ColumnMoments(
            n_rows=self._n_rows,
            n_chunks=self._n_chunks,
            weight=weight,
            x_mean=mean,
            y_mean=self._y_shift + y_mean,
            xx=xx,
            xy=xy,
            yy=np.diagonal(self._yy) - weight * y_mean**2,
            n_values=self._n_values,
        )


def _stored_far_from_zero(X, sample_weight) -> np.ndarray:
    """`_values_far_from_zero` of a sparse chunk, without making its rows dense."""
    shift = np.zeros(X.shape[1])
    if X.shape[0] == 0:
        return shift
    sample = sparse.csc_array(some_rows(X, sample_weight, _SHIFT_ROWS))
    stored = np.flatnonzero(np.diff(sample.indptr) == sample.shape[0])
    shift[stored] = _values_far_from_zero(sample[:, stored].toarray(), None)
    return shift


def _values_far_from_zero(A, sample_weight):
    """A point to take the moments about: a row's value in columns that are far from zero.

    Against how few rows lie apart, since there are many columns; zero elsewhere, which
    loses two digits at most.
    """
    sample = some_rows(A, sample_weight, _SHIFT_ROWS).astype(np.float64)
    if sample.shape[0] == 0:
        return np.zeros(A.shape[1])
    with np.errstate(invalid="ignore", over="ignore"):
        spread = np.abs(sample - sample[0]).max(axis=0)
        return np.where(np.abs(sample[0]) > 10 * spread, sample[0], 0.0)


def merge_columns(parts: Iterable[ColumnMoments]) -> ColumnMoments:
    """Moments of the union of disjoint rows; of two at a time, since they may be long."""
    return reduce(_merge_two, parts)


def _merge_two(*parts) -> ColumnMoments:
    counts = merge_counts(parts)
    if counts["defect"] is not None:
        return parts[0]._replace(**counts)
    means, (a, b) = merge_means(parts), parts
    with np.errstate(over="ignore", invalid="ignore"):
        xx = np.einsum("ij,ij->j", means.x_off, means.x_off)
        xy = means.x_off.T @ means.y_off
        yy = np.einsum("ij,ij->j", means.y_off, means.y_off)
    return ColumnMoments(
        **counts,
        weight=means.weight,
        x_mean=means.x_mean,
        y_mean=means.y_mean,
        xx=a.xx + b.xx + xx,
        xy=a.xy + b.xy + xy,
        yy=a.yy + b.yy + yy,
        n_values=a.n_values + b.n_values,
    )


def add_product(X: Any, r: np.ndarray, into: np.ndarray, product: np.ndarray | None = None) -> None:
    """Add ``X^T r`` to `into`, by way of `block_of_product`, which many tiles may share."""
    if r.ndim == 2 and r.shape[1] == 1:  # half the time of a product of matrices
        r, into = r[:, 0], into[:, 0]
    if sparse.issparse(X) and r.ndim == 1 and into.flags.c_contiguous:
        add_in_place(X, r, into)
    elif into.ndim == 2 and not sparse.issparse(X):
        # Added while it is in the cache: what is as long as a row is not gone through twice.
        by_row, sums = np.ascontiguousarray(r.T), into.T
        product = block_of_product(X.shape[1], r) if product is None else product
        for start in range(0, X.shape[1], _BLOCK):
            some = slice(start, min(start + _BLOCK, X.shape[1]))
            sums[:, some] += np.matmul(by_row, X[:, some], out=product[:, : some.stop - start])
    else:
        into += X.T @ r


def block_of_product(k: int, r: np.ndarray) -> np.ndarray:
    """Where part of the product of k columns with r (n, p) comes to lie.

    A new one for each tile is new pages each time on workers, which cost as much as the product.
    """
    return np.empty((r.shape[1], min(k, _BLOCK)))
