"""What one pass over rows with many columns computes.

Two kinds of pass. The first takes the moments of every column by itself (`columns`):
no k x k matrix, vectors of length k alone. Each later one (`residuals`) correlates the
residual of given coefficients with every column, and on the way takes the Gram rows of
the columns that join the working set. Results of disjoint rows are merged; a sparse
chunk is never made dense.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy import sparse

from . import _statistics
from ._statistics import Defect

# Values in a tile that is worked on in a core's second-level cache (1 MiB).
_TILE_ITEMS = 2**17
# Columns of such a tile while all columns are gone through.
_TILE_COLUMNS = 1024
# Rows whose mean is near enough to the column means to lose no digits about it.
_SHIFT_ROWS = 16


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
    defect: Defect | None = None


class Request(NamedTuple):
    """What a pass over the rows is asked for.

    Attributes
    ----------
    columns : ndarray of int of shape (c,)
        Columns with a coefficient, then the columns that are new in the working set.
    x_mean : ndarray of shape (c,)
        What to centre them about; zero without an intercept.
    y_mean : ndarray of shape (m,)
    coef : ndarray of shape (c - n_new, m) or None
        None where no residual is asked for.
    """

    columns: np.ndarray
    x_mean: np.ndarray
    y_mean: np.ndarray
    coef: np.ndarray | None

    @property
    def n_old(self) -> int:
        return 0 if self.coef is None else len(self.coef)


class Residuals(NamedTuple):
    """What a pass found; with weights, all sums are weighted.

    Attributes
    ----------
    correlations : ndarray of shape (k, m) or None
        ``X^T r``, X not centred.
    total : ndarray of shape (m,)
        Sum of r.
    squares : ndarray of shape (m,)
        ``r.r``
    with_y : ndarray of shape (m,)
        ``r.(y - y_mean)``
    gram : ndarray or sparse of shape (n_new, c)
        Products of the new columns with all of `Request.columns`: of dense chunks
        centred, of sparse ones not.
    sums : ndarray of shape (c,)
    weight : float
        Column sums and weight of the rows whose products are not centred.
    """

    correlations: np.ndarray | None
    total: np.ndarray
    squares: np.ndarray
    with_y: np.ndarray
    gram: np.ndarray
    sums: np.ndarray
    weight: float


def columns(X, y, sample_weight=None) -> ColumnMoments:
    """Moments of the columns of one chunk.

    Parameters
    ----------
    X : ndarray or SciPy sparse of shape (n, k)
    y : ndarray of shape (n,) or (n, m)
    sample_weight : ndarray of shape (n,), optional

    Returns
    -------
    ColumnMoments
        With a `Defect` instead of an error where the rows cannot be used.
    """
    X, y, sample_weight = _arrays(X, y, sample_weight)
    defect = _statistics._lengths_defect(X, y, sample_weight)
    if defect is None:
        with np.errstate(invalid="ignore", over="ignore"):
            take = _sparse_columns if sparse.issparse(X) else _dense_columns
            found = take(X, y, np.ones(len(y)) if sample_weight is None else sample_weight)
        finite = all(np.isfinite(part).all() for part in (found.xx, found.xy, found.yy))
        if finite and (sample_weight is None or (sample_weight >= 0).all()):
            return found
        defect = _statistics._value_defect(X, y, sample_weight)
    nothing = np.empty(0)
    return ColumnMoments(
        X.shape[0], 1, 0.0, nothing, nothing, nothing, nothing, nothing, defect=defect
    )


def _dense_columns(X, y, weights) -> ColumnMoments:
    n, k = X.shape
    weight = float(weights.sum())
    scale = np.sqrt(weights)[:, np.newaxis]
    y_shift = _shift(y)
    y = y - y_shift
    y_mean = weights @ y / (weight or 1.0)
    y_centred = scale * (y - y_mean)
    sides = np.hstack([scale, y_centred])
    shift = _shift(X)
    sums = np.zeros((sides.shape[1], k))
    xx = np.zeros(k)
    width = min(k, _TILE_COLUMNS)
    height = max(1, min(n, _TILE_ITEMS // width))
    buffer = np.empty((height, width))
    for first in range(0, k, width):
        block = slice(first, min(first + width, k))
        for start in range(0, n, height):
            rows = slice(start, min(start + height, n))
            tile = buffer[: rows.stop - start, : block.stop - first]
            np.subtract(X[rows, block], shift[block], out=tile)
            if weight != n:
                tile *= scale[rows]
            sums[:, block] += sides[rows].T @ tile
            np.multiply(tile, tile, out=tile)
            xx[block] += tile.sum(axis=0)
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
    )


def _sparse_columns(X, y, weights) -> ColumnMoments:
    weight = float(weights.sum())
    y_shift = _shift(y)
    y = y - y_shift
    y_mean = weights @ y / (weight or 1.0)
    y_centred = y - y_mean
    weighted_y = weights[:, np.newaxis] * y_centred
    sums = X.T @ np.column_stack([weights, weighted_y])
    mean = sums[:, 0] / (weight or 1.0)
    # Centring is implicit: a sparse column's mean is not large against its spread.
    xx = X.power(2).T @ weights - weight * mean**2
    return ColumnMoments(
        n_rows=X.shape[0],
        n_chunks=1,
        weight=weight,
        x_mean=mean,
        y_mean=y_shift + y_mean,
        xx=np.maximum(xx, 0.0, out=xx),
        xy=sums[:, 1:] - np.outer(mean, weighted_y.sum(axis=0)),
        yy=np.einsum("it,it->t", weighted_y, y_centred),
    )


def merge_columns(parts: Iterable[ColumnMoments]) -> ColumnMoments:
    """Moments of the union of disjoint rows: Chan, Golub & LeVeque (1983, eq. 2.1)."""
    parts = list(parts)
    merged = parts[0]
    for part in parts[1:]:
        merged = _merge_two(merged, part)
    return merged


def _merge_two(a, b) -> ColumnMoments:
    counts = dict(n_rows=a.n_rows + b.n_rows, n_chunks=a.n_chunks + b.n_chunks)
    if a.defect is not None:
        return a._replace(**counts)
    if b.defect is not None:
        defect = b.defect._replace(row=b.defect.row + a.n_rows, chunk=b.defect.chunk + a.n_chunks)
        return b._replace(**counts, defect=defect)
    if a.weight == 0 or b.weight == 0:
        return (a if b.weight == 0 else b)._replace(**counts)
    weight = a.weight + b.weight
    dx, dy = b.x_mean - a.x_mean, b.y_mean - a.y_mean
    both = a.weight * b.weight / weight
    return ColumnMoments(
        **counts,
        weight=weight,
        x_mean=a.x_mean + b.weight / weight * dx,
        y_mean=a.y_mean + b.weight / weight * dy,
        xx=a.xx + b.xx + both * dx**2,
        xy=a.xy + b.xy + both * np.outer(dx, dy),
        yy=a.yy + b.yy + both * dy**2,
    )


def residuals(X, y, sample_weight, request: Request) -> Residuals:
    """Answer a `Request` on one chunk."""
    X, y, sample_weight = _arrays(X, y, sample_weight)
    y = y - request.y_mean
    weights = None if sample_weight is None else sample_weight[:, np.newaxis]
    take = _sparse_residuals if sparse.issparse(X) else _dense_residuals
    r, *products = take(X, y, weights, request)
    if request.coef is None:
        zero = np.zeros(y.shape[1])
        return Residuals(None, zero, zero, zero, *products)
    weighted = r if weights is None else weights * r
    return Residuals(
        _correlate(X, weighted),
        weighted.sum(axis=0),
        *(np.einsum("it,it->t", weighted, other) for other in (r, y)),
        *products,
    )


def _dense_residuals(X, y, weights, request):
    """Residual of the chunk, and its Gram rows, from one gather of the columns."""
    n, c, old = X.shape[0], len(request.columns), request.n_old
    r = y.copy()
    gram = np.zeros((c - old, c))
    height = max(256, 8 * _TILE_ITEMS // max(1, c))
    for start in range(0, n, height):
        rows = slice(start, min(start + height, n))
        tile = np.take(X[rows], request.columns, axis=1) - request.x_mean
        if old:
            r[rows] -= tile[:, :old] @ request.coef
        if old < c:
            if weights is not None:
                tile *= np.sqrt(weights[rows])
            # The same array twice is one half of the work (syrk).
            gram += (tile[:, old:] if old else tile).T @ tile
    return r, gram, np.zeros(c), 0.0


def _sparse_residuals(X, y, weights, request):
    old = request.n_old
    chosen = X[:, request.columns]
    r = y
    if old:
        r = y - (chosen[:, :old] @ request.coef - request.x_mean[:old] @ request.coef)
    weights = np.ones(len(y)) if weights is None else weights[:, 0]
    weighted = sparse.diags_array(weights) @ chosen
    gram = sparse.csr_array(chosen[:, old:].T @ weighted)
    if gram.nnz > gram.shape[0] * gram.shape[1] // 4:
        gram = gram.toarray()
    return r, gram, chosen.T @ weights, float(weights.sum())


def _correlate(X, r):
    if sparse.issparse(X) or X.dtype == np.float64:
        return X.T @ r
    found = np.zeros((X.shape[1], r.shape[1]))
    height = max(1, _TILE_ITEMS // X.shape[1])
    for start in range(0, len(r), height):
        tile = X[start : start + height].astype(np.float64)
        found += tile.T @ r[start : start + height]
    return found


def merge_residuals(parts: Iterable[Residuals]) -> Residuals:
    """What a pass over the union of disjoint rows finds."""
    parts = list(parts)
    merged = parts[0]
    for part in parts[1:]:
        correlations = None
        if part.correlations is not None:
            correlations = merged.correlations + part.correlations
        merged = Residuals(
            correlations, *(a + b for a, b in zip(merged[1:], part[1:], strict=True))
        )
    return merged


def _arrays(X, y, sample_weight):
    """One chunk's X as it is if dense, as CSR or CSC if sparse; y as (n, m) of float64."""
    if hasattr(X, "to_scipy_sparse"):  # sparse.COO and sparse.GCXS
        X = X.to_scipy_sparse()
    if not sparse.issparse(X):
        X = np.asarray(X)
    elif X.format not in ("csr", "csc"):
        X = X.tocsr()
    y = np.asarray(y, dtype=np.float64)
    if y.ndim == 1:
        y = y[:, np.newaxis]
    if sample_weight is not None:
        sample_weight = np.asarray(sample_weight, dtype=np.float64).reshape(-1)
    return X, y, sample_weight


def _shift(A):
    """A point near the column means, from few rows, since there are many columns."""
    sample = A[:: max(1, A.shape[0] // _SHIFT_ROWS)]
    return _statistics._shift(sample, np.float64)
