"""Sufficient statistics of rows: all that the squared loss needs to know of a chunk.

Two things happen here and nowhere else: rows become `Statistics`, and `Statistics`
of disjoint rows are merged. Everything downstream (the exact finish, ADMM, the
certificate, cross-validation) sees only the result.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy import sparse

from ..problem.moments import Moments, is_rounding
from .chunk import Chunk, Defect, namespace, read, to_device, to_host

# The rows of a tile are shifted into a buffer before the Gram is taken. The buffer
# should stay in a core's second-level cache (2**17 float64 are 1 MiB) while k is small,
# have enough rows to pay for adding a k x k result while k is large, and never be large
# itself (2**23 float64 are 64 MiB).
_CACHE_ITEMS = 2**17
_BUFFER_ITEMS = 2**23
# The tiles of another device: large enough to keep it busy, a small part of its memory.
DEVICE_ITEMS = 2**26
# Targets below which a product with each by itself is faster than one with all.
_FEW_TARGETS = 4
# Squared distance of a mean from the point that the moments are taken about, in variances,
# beyond which the digits lost (its logarithm) are worth a second look at the chunk.
_FAR = 1e4


class Statistics(NamedTuple):
    """Weighted first and centred second moments of some rows.

    Attributes
    ----------
    n_rows, n_chunks : int
        Rows and chunks that went in, in the order of the data.
    weight : float
        Sum of the sample weights; ``n_rows`` without weights.
    x_mean : ndarray of shape (k,)
    y_mean : ndarray of shape (m,)
    sxx : ndarray of shape (k, k)
        ``sum_i s_i (x_i - x_mean)(x_i - x_mean)^T``.
    sxy : ndarray of shape (k, m)
    syy : ndarray of shape (m,)
        The diagonal only: targets are fitted one by one.
    defect : Defect or None
        If not None, the moments mean nothing.
    n_weighted : int
        Rows of positive weight.
    """

    n_rows: int
    n_chunks: int
    weight: float
    x_mean: np.ndarray
    y_mean: np.ndarray
    sxx: np.ndarray
    sxy: np.ndarray
    syy: np.ndarray
    defect: Defect | None = None
    n_weighted: int = 0

    @property
    def n_features(self) -> int:
        return self.sxx.shape[0]

    def moments(self, fit_intercept: bool) -> Moments:
        """The squared loss of the rows; the means count where no intercept takes them away."""
        sxx, sxy, syy, weight = self.sxx, self.sxy, self.syy, self.weight
        constant = is_rounding(np.diagonal(sxx), self.x_mean, weight)
        if constant.any():
            sxx, sxy = sxx.copy(), sxy.copy()
            sxx[constant] = sxx[:, constant] = sxy[constant] = 0.0
        constant = is_rounding(syy, self.y_mean, weight)
        if constant.any():
            sxy, syy = np.where(constant, 0.0, sxy), np.where(constant, 0.0, syy)
        means = (None, None) if fit_intercept else (self.x_mean, self.y_mean)
        return Moments(sxx, sxy, syy, weight, *means)

    @property
    def n_targets(self) -> int:
        return self.syy.shape[0]


def usable(statistics: Statistics, place) -> Statistics:
    """The same, of all rows of a place, if these can be fitted or scored."""
    defect = statistics.defect
    if defect is not None:
        raise ValueError(f"Input {defect.argument} {defect.problem}, {place.locate(0, defect)}.")
    if statistics.n_rows == 0:
        raise ValueError(
            "Found array with 0 sample(s) while a minimum of 1 is required: no chunk of X has"
            " a row."
        )
    if statistics.weight == 0:
        raise ValueError("sample_weight is zero for every row: give some row a positive weight.")
    return statistics


def from_rows(X, y, sample_weight=None) -> Statistics:
    """Statistics of rows in any collection that `read` knows."""
    return from_chunk(read(X, y, sample_weight))


def from_chunk(chunk: Chunk) -> Statistics:
    """Statistics of the rows of one chunk.

    Sums of float64 about a point near the means, whatever the dtype. X is read once, in row
    tiles, never copied whole; multiplied where it is, if that is another device.

    Returns
    -------
    Statistics
        With a `Defect` instead of an error where the rows cannot be used, so that a
        scheduler does not run a hopeless task again.
    """
    if chunk.defect is not None:
        return _defective(chunk, chunk.defect)
    X, y, sample_weight = chunk.arrays()
    make = _from_sparse if sparse.issparse(X) else _from_dense
    statistics = make(X, y, sample_weight)
    finite = all(np.isfinite(m).all() for m in (statistics.sxx, statistics.sxy, statistics.syy))
    if not finite or (sample_weight is not None and not (sample_weight >= 0).all()):
        return _defective(chunk, value_defect(to_host(X), y, sample_weight))
    return statistics


def merge(parts: Iterable[Statistics]) -> Statistics:
    """Statistics of the union of disjoint rows.

    The pairwise update of Chan, Golub & LeVeque (1983, eq. 2.1) for any number of
    parts at once: the centred moments add up, plus the scatter of the parts' means.
    Every term is positive semi-definite, so nothing cancels.
    """
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    n_rows = sum(part.n_rows for part in parts)
    n_chunks = sum(part.n_chunks for part in parts)
    defect = first_defect(parts)
    if defect is not None:
        return parts[0]._replace(n_rows=n_rows, n_chunks=n_chunks, defect=defect)

    weights = np.array([part.weight for part in parts])
    weight = weights.sum()
    first = parts[int(np.argmax(weights > 0))]
    # Differences from one part's means, not the means themselves: exact for a column
    # that is constant, accurate for one that is 1e6 +/- 1.
    dx = np.array([part.x_mean - first.x_mean for part in parts])
    dy = np.array([part.y_mean - first.y_mean for part in parts])
    dx_mean = weights @ dx / (weight or 1.0)
    dy_mean = weights @ dy / (weight or 1.0)
    root = np.sqrt(weights)[:, np.newaxis]
    dx = root * (dx - dx_mean)
    dy = root * (dy - dy_mean)
    sxx = dx.T @ dx
    sxy = dx.T @ dy
    syy = np.einsum("ij,ij->j", dy, dy)
    for part in parts:
        sxx += part.sxx
        sxy += part.sxy
        syy += part.syy
    return Statistics(
        n_rows=n_rows,
        n_chunks=n_chunks,
        weight=float(weight),
        x_mean=first.x_mean + dx_mean,
        y_mean=first.y_mean + dy_mean,
        sxx=sxx,
        sxy=sxy,
        syy=syy,
        n_weighted=sum(part.n_weighted for part in parts),
    )


def first_defect(parts) -> Defect | None:
    """The first defect in parts that follow each other, placed among all their rows."""
    rows_before = chunks_before = 0
    for part in parts:
        if part.defect is not None:
            return part.defect._replace(
                row=part.defect.row + rows_before, chunk=part.defect.chunk + chunks_before
            )
        rows_before += part.n_rows
        chunks_before += part.n_chunks
    return None


def _from_dense(X, y, sample_weight) -> Statistics:
    x_shift, y_shift = _shift(X), _shift(y)
    statistics = _about(x_shift, y_shift, X, y, sample_weight)
    off = statistics.x_mean - x_shift
    if (off**2 * statistics.weight > _FAR * np.diagonal(statistics.sxx)).any():
        # The sample that the shift is from misled, as where few rows are far from the rest.
        x_shift = np.where(off == 0, x_shift, statistics.x_mean)
        statistics = _about(x_shift, y_shift, X, y, sample_weight)
    return statistics


def _about(x_shift, y_shift, X, y, sample_weight) -> Statistics:
    """Statistics from sums about a point near the means, in row tiles."""
    n = X.shape[0]
    with np.errstate(invalid="ignore", over="ignore"):
        sums = _sums if namespace(X) is None else _sums_on_device
        xx, xs, ss = sums(x_shift, y_shift, X, y, sample_weight)
        m = y.shape[1]
        weight = ss[m, m] if sample_weight is not None else float(n)
        x_mean, y_mean = xs[:, m] / (weight or 1.0), ss[:m, m] / (weight or 1.0)
        xx -= np.outer(x_mean * weight, x_mean)
        # Rounding must not leave a negative sum of squares.
        diagonal = np.einsum("ii->i", xx)
        np.maximum(diagonal, 0.0, out=diagonal)
        return Statistics(
            n_rows=n,
            n_chunks=1,
            weight=float(weight),
            x_mean=x_shift + x_mean,
            y_mean=y_shift + y_mean,
            sxx=xx,
            sxy=xs[:, :m] - np.outer(x_mean * weight, y_mean),
            syy=np.maximum(np.diagonal(ss)[:m] - weight * y_mean**2, 0.0),
            n_weighted=_n_weighted(n, sample_weight),
        )


def _sums(x_shift, y_shift, X, y, sample_weight):
    """Products of shifted X with itself and with (shifted y, ones), and of those; weighted."""
    n, k = X.shape
    m = y.shape[1]
    tile = max(1, min(n, max(_CACHE_ITEMS // (k + 1), 2 * k), max(256, _BUFFER_ITEMS // (k + 1))))
    # Nothing to shift, weigh or convert: the rows need no buffer.
    as_they_are = sample_weight is None and X.dtype == np.float64 and not x_shift.any()
    buffer = None if as_they_are else np.empty((tile, k))
    as_bytes = None if X.flags.aligned else np.empty(tile * k, dtype=X.dtype)
    side = np.empty((m + 1, tile))
    xx, xs, ss = np.zeros((k, k)), np.zeros((k, m + 1)), np.zeros((m + 1, m + 1))
    product = np.empty((k, k))
    for start in range(0, n, tile):
        stop = min(start + tile, n)
        rows = aligned(X, slice(start, stop), slice(0, k), as_bytes)
        if not as_they_are:
            rows = np.subtract(rows, x_shift, out=buffer[: stop - start], casting="unsafe")
        beside, root = _beside(slice(start, stop), y_shift, y, sample_weight, side)
        if root is not None:
            rows *= root[:, np.newaxis]
        xx += np.matmul(rows.T, rows, out=product)
        if m < _FEW_TARGETS:
            for column, one in zip(xs.T, beside, strict=True):
                column += one @ rows
        else:
            xs += rows.T @ beside.T
        ss += beside @ beside.T
    return xx, xs, ss


def aligned(X, rows, columns, buffer):
    """Part of a dense chunk, in `buffer` where its values do not lie at multiples of their size.

    So they may where a chunk came with a message. NumPy and BLAS copy it then as a whole,
    value by value; as bytes a part is copied at the speed of memory. Buffers are used again,
    for new ones come in new pages, which cost more than what is done with them.
    """
    part = X[rows, columns]
    if X.flags.aligned:
        return part
    tile = buffer[: part.size].reshape(part.shape)
    if not X.flags.c_contiguous:
        np.copyto(tile, part)
    else:
        size = X.itemsize
        values = X.view(np.uint8)[rows, columns.start * size : columns.stop * size]
        np.copyto(tile.view(np.uint8), values)
    return tile


def _sums_on_device(x_shift, y_shift, X, y, sample_weight):
    """`_sums` of an X of another library, where it is; k numbers a row are worth the trip."""
    xp = namespace(X)
    n, k = X.shape
    m = y.shape[1]
    tile = max(256, DEVICE_ITEMS // (k + m + 1))
    side = np.empty((m + 1, min(tile, n)))
    xx, xs, ss = np.zeros((k, k)), np.zeros((k, m + 1)), np.zeros((m + 1, m + 1))
    shift = to_device(x_shift, X)
    for start in range(0, n, tile):
        stop = min(start + tile, n)
        rows = xp.asarray(X[start:stop, :], dtype=shift.dtype) - shift
        beside, root = _beside(slice(start, stop), y_shift, y, sample_weight, side)
        if root is not None:
            rows = rows * to_device(root[:, np.newaxis], X)
        xx += to_host(rows.T @ rows)
        xs += to_host(rows.T @ to_device(np.ascontiguousarray(beside.T), X))
        ss += beside @ beside.T
    return xx, xs, ss


def _beside(rows, y_shift, y, sample_weight, out):
    """What stands beside X in a tile, (shifted y, ones) in rows, and the roots of the weights."""
    beside = out[:, : rows.stop - rows.start]
    m = y.shape[1]
    np.subtract(y[rows].T, y_shift[:, np.newaxis], out=beside[:m], casting="unsafe")
    beside[m] = 1
    if sample_weight is None:
        return beside, None
    root = np.sqrt(sample_weight[rows])
    beside *= root
    return beside, root


def _shift(A):
    """A point near the column means, so that the moments about it lose no digits.

    Taken from rows all over the chunk, since rows are often sorted. A column that is
    constant there gets its very value: it must come out as exactly constant. One whose
    mean is within its spread is as well off with zero.
    """
    if A.shape[0] == 0:
        return np.zeros(A.shape[1])
    sample = to_host(A[:: max(1, A.shape[0] // 256), :]).astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        constant = (sample == sample[0]).all(axis=0)
        mean = np.where(constant, sample[0], sample.mean(axis=0))
        return np.where(mean**2 <= sample.var(axis=0), 0.0, mean)


def _from_sparse(X, y, sample_weight) -> Statistics:
    X = sparse.csr_array(X)
    if X.dtype != np.float64:
        X = X.astype(np.float64)
    n = X.shape[0]
    y = y.astype(np.float64)
    weights = np.ones(n) if sample_weight is None else sample_weight
    weight = float(weights.sum())
    with np.errstate(invalid="ignore", over="ignore"):
        x_mean = np.asarray(X.T @ weights).reshape(-1) / (weight or 1.0)
        y_shift = _shift(y)
        y_mean = y_shift + weights @ (y - y_shift) / (weight or 1.0)
        weighted_y = weights[:, np.newaxis] * (y - y_mean)
        weighted_X = X if sample_weight is None else sparse.diags_array(weights) @ X
        # Centring is implicit: a sparse column's mean is rarely large against its spread.
        sxx = (X.T @ weighted_X).toarray() - weight * np.outer(x_mean, x_mean)
        sxy = np.asarray(X.T @ weighted_y)
        syy = np.einsum("ij,ij->j", weighted_y, y - y_mean)
    diagonal = np.einsum("ii->i", sxx)
    np.maximum(diagonal, 0.0, out=diagonal)
    far = np.flatnonzero(weight * x_mean**2 > _FAR * diagonal)
    if len(far):
        columns = X[weights > 0][:, far]
        lowest, highest = (
            np.ravel(m.toarray()) for m in (columns.min(axis=0), columns.max(axis=0))
        )
        constant = far[lowest == highest]
        if len(constant) < len(far):
            # Nearly all of such a column is stored: as dense tiles.
            step = max(256, _CACHE_ITEMS // X.shape[1])
            tiles = [slice(start, start + step) for start in range(0, n, step)]
            parts = [_from_dense(X[tile].toarray(), y[tile], weights[tile]) for tile in tiles]
            return merge(parts)._replace(n_chunks=1)
        # Rounding is not variation.
        x_mean[constant] = lowest[lowest == highest]
        sxx[constant] = sxx[:, constant] = sxy[constant] = 0.0
    n_weighted = _n_weighted(n, sample_weight)
    return Statistics(n, 1, weight, x_mean, y_mean, sxx, sxy, syy, n_weighted=n_weighted)


def _n_weighted(n, sample_weight) -> int:
    return n if sample_weight is None else int(np.count_nonzero(sample_weight))


def value_defect(X, y, sample_weight) -> Defect:
    """Find what made the moments non-finite; runs only after something has."""
    if sample_weight is not None:
        for bad, problem in (
            (~np.isfinite(sample_weight), "contains NaN or infinity"),
            (sample_weight < 0, "contains negative weights"),
        ):
            if bad.any():
                return Defect("sample_weight", problem, int(np.argmax(bad)), 0)
    largest = 0.0, "X", 0
    for name, values in (("X", X), ("y", y)):
        if sparse.issparse(values):
            values = sparse.csr_array(values)
            row_of = np.repeat(np.arange(values.shape[0]), np.diff(values.indptr))
            bad = np.flatnonzero(~np.isfinite(values.data))
            if len(bad):
                row, column = int(row_of[bad[0]]), values.indices[bad[0]]
                return _not_finite(name, values.data[bad[0]], row, column)
            if len(values.data):
                entry = np.abs(values.data).argmax()
                largest = max(largest, (abs(values.data[entry]), name, int(row_of[entry])))
            continue
        step = max(1, _CACHE_ITEMS // max(1, values.shape[1]))
        for start in range(0, values.shape[0], step):
            tile = np.asarray(values[start : start + step], dtype=float)
            bad = ~np.isfinite(tile)
            if bad.any():
                row, column = np.argwhere(bad)[0]
                return _not_finite(name, tile[row, column], start + int(row), column)
            row, column = np.unravel_index(np.abs(tile).argmax(), tile.shape)
            largest = max(largest, (abs(tile[row, column]), name, start + int(row)))
    _, name, row = largest
    return Defect(name, "contains values too large for their squares to be summed", row, 0)


def _not_finite(name, value, row, column) -> Defect:
    what = "NaN" if np.isnan(value) else "infinity"
    return Defect(name, f"contains {what} in column {column}", row, 0)


def _defective(chunk, defect) -> Statistics:
    nothing = np.empty(0)
    shape = (chunk.n_rows, 1, 0.0, nothing, nothing, nothing, nothing, nothing)
    return Statistics(*shape, defect=defect)
