"""Sufficient statistics of rows: all that the squared loss needs to know of a chunk.

Two things happen here and nowhere else: rows become `Statistics`, and `Statistics`
of disjoint rows are merged. Everything downstream (the exact finish, ADMM, the
certificate, cross-validation) sees only the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from ..problem.moments import Moments, is_rounding, norms_about_zero
from .chunk import Chunk, Defect, namespace, to_device, to_host
from .merging import merge_counts, merge_means
from .sparse_rows import gram_of_sparse, stored_often
from .tiles import BUFFER_ITEMS, CACHE_ITEMS, aligned, on_device

# Targets below which a product with each by itself is faster than one with all.
_FEW_TARGETS = 4
# Squared distance of a mean from the point that the moments are taken about, in variances,
# beyond which the digits lost (its logarithm) are worth a second look at the chunk.
FAR = 1e4
# Rows that a point near the means is taken from, about; weight beside the largest below which
# a row tells nothing of where that is.
_SAMPLE, _LEAST = 256, 1e-2
_EPS = np.finfo(np.float64).eps


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

    @property
    def x_variation(self) -> np.ndarray:
        """The diagonal of `sxx`, and zero where it is what rounding makes of a constant column."""
        squares = np.diagonal(self.sxx)
        return np.where(is_rounding(squares, self.x_mean, self.weight), 0.0, squares)

    @property
    def norms(self) -> np.ndarray:
        """Norms of the columns (k,), about zero."""
        return norms_about_zero(np.diagonal(self.sxx), self.x_mean, self.weight)

    def moments(self, fit_intercept: bool, has_y: bool = True) -> Moments:
        """The squared loss of the rows; the means count where no intercept takes them away."""
        sxx, sxy, syy, weight = self.sxx, self.sxy, self.syy, self.weight
        constant = is_rounding(np.diagonal(sxx), self.x_mean, weight)
        if constant.any():
            sxx, sxy = sxx.copy(), sxy.copy()
            sxx[constant] = sxx[:, constant] = sxy[constant] = 0.0
        constant = is_rounding(syy, self.y_mean, weight)
        if constant.any():
            sxy, syy = np.where(constant, 0.0, sxy), np.where(constant, 0.0, syy)
        means = (None, None, self.x_mean) if fit_intercept else (self.x_mean, self.y_mean)
        return Moments(sxx, sxy, syy, weight, *means).checked(has_y)

    def is_far_from(self, point: np.ndarray) -> bool:
        """Whether moments about this point (k,) have lost too many digits."""
        return are_far(self.x_mean, point, self.weight, np.diagonal(self.sxx))

    def squared_residuals(self, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        """Weighted sums of squared residuals, one for each column of `coef` (k, p)."""
        off = self.y_mean - self.x_mean @ coef - intercept
        return self.moments(True).squared_residuals(coef) + self.weight * off**2

    def target(self, index: int) -> Statistics:
        """The statistics of one target."""
        of_one = {name: getattr(self, name)[..., [index]] for name in ("y_mean", "sxy", "syy")}
        return self._replace(**of_one)

    @property
    def n_targets(self) -> int:
        return self.syy.shape[0]


def statistics_of_chunk(chunk: Chunk) -> Statistics:
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
    of_rows = _of_sparse if sparse.issparse(X) else _of_dense
    statistics = of_rows(X, y, sample_weight)
    finite = all(np.isfinite(m).all() for m in (statistics.sxx, statistics.sxy, statistics.syy))
    if not finite or (sample_weight is not None and not (sample_weight >= 0).all()):
        return _defective(chunk, value_defect(to_host(X), y, sample_weight))
    return statistics


def statistics_made_of(
    function: Callable[[Chunk], tuple[Any, np.ndarray, np.ndarray | None]], chunk: Chunk
) -> Statistics:
    """Statistics of other rows: the X, y and weights that ``function(chunk)`` returns.

    What is wrong is looked for in the rows that they are made of.
    """
    if chunk.defect is not None:
        return statistics_of_chunk(chunk)
    found = statistics_of_chunk(Chunk(*function(chunk), chunk.n_rows))
    if found.defect is not None:
        X, y, sample_weight = chunk.arrays()
        return found._replace(defect=value_defect(to_host(X), y, sample_weight))
    return found


def merge_statistics(parts: Iterable[Statistics]) -> Statistics:
    """Statistics of the union of disjoint rows.

    The centred moments add up, plus the scatter of the parts' means. Every term is positive
    semi-definite, so nothing cancels.
    """
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    counts = merge_counts(parts)
    if counts["defect"] is not None:
        return parts[0]._replace(**counts)
    means = merge_means(parts)
    with np.errstate(over="ignore", invalid="ignore"):
        sxx, sxy = means.x_off.T @ means.x_off, means.x_off.T @ means.y_off
        syy = np.einsum("ij,ij->j", means.y_off, means.y_off)
    for part in parts:
        sxx += part.sxx
        sxy += part.sxy
        syy += part.syy
    return Statistics(
        **counts,
        weight=means.weight,
        x_mean=means.x_mean,
        y_mean=means.y_mean,
        sxx=sxx,
        sxy=sxy,
        syy=syy,
        n_weighted=sum(part.n_weighted for part in parts),
    )


def _of_dense(X, y, sample_weight) -> Statistics:
    x_shift, y_shift = near_means(X, sample_weight), near_means(y, sample_weight)
    found = _about(x_shift, y_shift, X, y, sample_weight)
    if found.is_far_from(x_shift) or are_far(found.y_mean, y_shift, found.weight, found.syy):
        # The sample that the shift is from misled, as where few rows are far from the rest.
        found = _about(found.x_mean, found.y_mean, X, y, sample_weight)
    return found


def _about(x_shift, y_shift, X, y, sample_weight) -> Statistics:
    """Statistics from sums about a point near the means, in row tiles."""
    n, k = X.shape
    with np.errstate(invalid="ignore", over="ignore"):
        y = y - y_shift
        weighted = y if sample_weight is None else sample_weight[:, np.newaxis] * y
        if namespace(X) is None:
            sums = TileSums(x_shift, y.shape[1], tile_rows(k))
            for rows, tile in dense_tiles(X, tile_rows(k)):
                of_tile = None if sample_weight is None else sample_weight[rows]
                sums.add(tile, weighted[rows].T, of_tile)
        else:
            sums = _sums_on_device(x_shift, X, weighted, sample_weight)
        squares = np.einsum("ij,ij->j", weighted, y)
        statistics = sums.statistics(n, _n_weighted(n, sample_weight), squares)
        return statistics._replace(y_mean=y_shift + statistics.y_mean)


def tile_rows(k: int) -> int:
    """Rows of a tile of k columns.

    Shifted or weighted they go into a buffer, which should stay in the cache while k is small,
    and have enough rows to pay for adding a k x k result while k is large.
    """
    return max(1, min(max(CACHE_ITEMS // (k + 1), 2 * k), max(256, BUFFER_ITEMS // (k + 1))))


def dense_tiles(X: np.ndarray, height: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Tiles of at most so many rows of a dense chunk: where they are, and X until the next."""
    n, k = X.shape
    step = min(n, height)
    as_bytes = None if X.flags.aligned else np.empty(step * k, dtype=X.dtype)
    for start in range(0, n, step or 1):
        rows = slice(start, min(start + step, n))
        yield rows, aligned(X, rows, slice(0, k), as_bytes)


class TileSums:
    """Sums over tiles of rows, of which `Statistics` follow.

    Parameters
    ----------
    x_shift : ndarray of shape (k,)
        The point that X is taken about.
    m : int
        Targets.
    height : int
        Rows of the largest tile.
    """

    def __init__(self, x_shift: np.ndarray, m: int, height: int) -> None:
        k = len(x_shift)
        self._shift = x_shift if x_shift.any() else None
        self._x_shift, self._m, self._height = x_shift, m, height
        self._buffer: np.ndarray | None = None
        # Of X with itself, with the weighted y and the weights; of these.
        self.xx, self.xs, self.s = np.zeros((k, k)), np.zeros((m + 1, k)), np.zeros(m + 1)
        self._product: np.ndarray | None = self.xx  # the first is the sum

    def add(self, X: np.ndarray, weighted: np.ndarray, weight: np.ndarray | None) -> None:
        """Add the rows of a tile: X (t, k), y (m, t) times the weights (t,)."""
        m, n = self._m, len(X)
        if self._buffer is None:
            self._buffer = np.empty((self._height, X.shape[1]))
            self._sides = np.empty((m + 1, self._height))
        rows = self._buffer[:n]
        sides = self._sides[:, :n]
        sides[:m], sides[m] = weighted, 1.0 if weight is None else weight
        if self._shift is not None:
            X = np.subtract(X, self._shift, out=rows, casting="unsafe")
        elif X.dtype != np.float64:
            np.copyto(rows, X, casting="unsafe")
            X = rows
        if weight is None:  # rows that come from memory are multiplied fastest by each other
            self._add_square(X)
        if m < _FEW_TARGETS:
            for total, side in zip(self.xs, sides, strict=True):
                total += side @ X
        else:
            self.xs += sides @ X
        self.s += sides.sum(axis=1)
        if weight is not None:
            self._add_square(np.multiply(X, np.sqrt(weight)[:, np.newaxis], out=rows))

    def _add_square(self, X):
        # The same array twice is one half of the work (syrk).
        product = np.matmul(X.T, X, out=self._product)
        if product is not self.xx:
            self.xx += product
        self._product = None if product is self.xx else product

    def statistics(self, n_rows: int, n_weighted: int, squares: np.ndarray) -> Statistics:
        """Statistics of the rows, as one chunk; `squares` (m,) are sums of weighted y squared."""
        m, xx, weight = self._m, self.xx, self.s[self._m]
        x_mean, y_mean = self.xs[m] / (weight or 1.0), self.s[:m] / (weight or 1.0)
        for i in range(0, len(xx), 256):  # not all of it at once
            xx[i : i + 256] -= np.outer(x_mean[i : i + 256] * weight, x_mean)
        # Rounding must not leave a negative sum of squares.
        diagonal = np.einsum("ii->i", xx)
        np.maximum(diagonal, 0.0, out=diagonal)
        return Statistics(
            n_rows=n_rows,
            n_chunks=1,
            weight=float(weight),
            x_mean=self._x_shift + x_mean,
            y_mean=y_mean,
            sxx=xx,
            sxy=self.xs[:m].T - np.outer(x_mean * weight, y_mean),
            syy=np.maximum(squares - weight * y_mean**2, 0.0),
            n_weighted=n_weighted,
        )


def _sums_on_device(x_shift, X, weighted, sample_weight) -> TileSums:
    """Sums over an X of another library, where it is; k numbers a row are worth the trip."""
    n, m = weighted.shape
    sums = TileSums(x_shift, m, 0)
    shift = to_device(x_shift, X)
    sides = np.column_stack([weighted, np.ones(n) if sample_weight is None else sample_weight])
    for rows, tile in on_device(X):
        tile = tile - shift
        sums.xs += to_host(tile.T @ to_device(sides[rows], X)).T
        if sample_weight is not None:
            tile = tile * to_device(np.sqrt(sample_weight[rows])[:, np.newaxis], X)
        sums.xx += to_host(tile.T @ tile)
    sums.s += sides.sum(axis=0)
    return sums


def are_far(mean: np.ndarray, point: np.ndarray, weight: float, squares: np.ndarray) -> bool:
    """Whether a point was so far from some mean that sums about it have lost too many digits.

    The squares are those about the mean. Where it is as near as rounding allows, it is not far.
    """
    off = np.abs(mean - point)
    with np.errstate(over="ignore"):
        return bool(((weight * off**2 > FAR * squares) & (off > 8 * _EPS * np.abs(mean))).any())


def some_rows(A: Any, sample_weight: np.ndarray | None, n_rows: int) -> Any:
    """About so many rows from all over a chunk, since rows are often sorted.

    Of those that weigh, the heaviest among them: what others have may be far from the rest.
    """
    rows = every(max(1, A.shape[0] // n_rows), sample_weight)
    sample = to_host(A[rows, :])
    if sample_weight is None or not len(sample_weight):
        return sample
    weigh = sample_weight[rows] >= _LEAST * sample_weight.max()
    return sample if weigh.all() else sample[weigh]


def every(step: int, sample_weight: np.ndarray | None) -> slice:
    """One row of each so many, the heaviest among them: they may weigh nothing in periods."""
    is_weighted = sample_weight is not None and len(sample_weight)
    return slice(int(np.argmax(sample_weight)) % step if is_weighted else 0, None, step)


def near_means(A: Any, sample_weight: np.ndarray | None) -> np.ndarray:
    """A point near the column means, so that the moments about it lose no digits.

    A column that is constant in some rows gets its very value: it must come out as exactly
    constant. One whose mean is within its spread is as well off with zero.
    """
    sample = some_rows(A, sample_weight, _SAMPLE).astype(np.float64)
    if sample.shape[0] == 0:
        return np.zeros(A.shape[1])
    with np.errstate(invalid="ignore", over="ignore"):
        constant = (sample == sample[0]).all(axis=0)
        mean = np.where(constant, sample[0], sample.mean(axis=0))
        return np.where(mean**2 <= sample.var(axis=0), 0.0, mean)


def _of_sparse(X, y, sample_weight) -> Statistics:
    X = sparse.csr_array(X).astype(np.float64, copy=False)
    n = X.shape[0]
    weights = np.ones(n) if sample_weight is None else sample_weight
    weight = float(weights.sum())
    with np.errstate(invalid="ignore", over="ignore"):
        x_mean = np.asarray(X.T @ weights).reshape(-1) / (weight or 1.0)
        y_shift = near_means(y, sample_weight)
        y_mean = y_shift + weights @ (y - y_shift) / (weight or 1.0)
        weighted_y = weights[:, np.newaxis] * (y - y_mean)
        often, near = stored_often(X), np.zeros(X.shape[1])
        if len(often):
            near[often] = near_means(some_rows(X, sample_weight, _SAMPLE)[:, often].toarray(), None)
        off = x_mean - near
        sxx = gram_of_sparse(X, sample_weight, often, near)
        sxx -= weight * np.outer(off, off)
        sxy = np.asarray(X.T @ weighted_y)
        syy = np.einsum("ij,ij->j", weighted_y, y - y_mean)
        diagonal = np.einsum("ii->i", sxx)
        np.maximum(diagonal, 0.0, out=diagonal)
        far = np.flatnonzero(weight * np.maximum(x_mean**2, off**2) > FAR * diagonal)
    if len(far):
        columns = X[weights > 0][:, far]
        lowest, highest = (
            np.ravel(m.toarray()) for m in (columns.min(axis=0), columns.max(axis=0))
        )
        constant = far[lowest == highest]
        if len(constant) < len(far):
            # Nearly all of such a column is stored: as dense tiles.
            step = max(256, CACHE_ITEMS // X.shape[1])
            tiles = [slice(start, start + step) for start in range(0, n, step)]
            parts = [_of_dense(X[tile].toarray(), y[tile], weights[tile]) for tile in tiles]
            return merge_statistics(parts)._replace(n_chunks=1)
        # Rounding is not variation.
        x_mean[constant] = lowest[lowest == highest]
        sxx[constant] = sxx[:, constant] = sxy[constant] = 0.0
    n_weighted = _n_weighted(n, sample_weight)
    return Statistics(n, 1, weight, x_mean, y_mean, sxx, sxy, syy, n_weighted=n_weighted)


def _n_weighted(n, sample_weight) -> int:
    return n if sample_weight is None else int(np.count_nonzero(sample_weight))


def value_defect(X: Any, y: Any, sample_weight: Any, first_column: int = 0) -> Defect:
    """Find what made the moments non-finite; runs only after something has."""
    if sample_weight is not None:
        for bad, problem in (
            (~np.isfinite(sample_weight), "contains NaN or infinity"),
            (sample_weight < 0, "contains negative weights"),
        ):
            if bad.any():
                return Defect("sample_weight", problem, int(np.argmax(bad)), 0)
    largest = 0.0, "X", 0
    for name, values, first in (("X", X, first_column), ("y", y, 0)):
        for entries, rows, columns in _entries(values):
            bad = np.flatnonzero(~np.isfinite(entries))
            if len(bad):
                what = "NaN" if np.isnan(entries[bad[0]]) else "infinity"
                problem = f"contains {what} in column {first + columns[bad[0]]}"
                return Defect(name, problem, int(rows[bad[0]]), 0)
            if len(entries):
                at = np.abs(entries).argmax()
                largest = max(largest, (abs(entries[at]), name, int(rows[at])))
    _, name, row = largest
    return Defect(name, "contains values too large for their squares to be summed", row, 0)


def _entries(values):
    """Values in the order of the rows, their rows and their columns; part by part."""
    if sparse.issparse(values):
        values = sparse.csr_array(values).tocoo()
        yield values.data, values.row, values.col
        return
    height = max(1, CACHE_ITEMS // max(1, values.shape[1]))
    for start in range(0, values.shape[0], height):
        tile = np.asarray(values[start : start + height], dtype=float)
        rows, columns = np.indices(tile.shape)
        yield tile.ravel(), start + rows.ravel(), columns.ravel()


def _defective(chunk, defect) -> Statistics:
    nothing = np.empty(0)
    shape = (chunk.n_rows, 1, 0.0, nothing, nothing, nothing, nothing, nothing)
    return Statistics(*shape, defect=defect)
