"""What one pass over rows with many columns computes.

Three kinds of pass. The first takes the moments of every column by itself (`columns`):
no k x k matrix, vectors of length k alone. Then, by turns, one takes the Gram rows of the
columns that join the working set (`products`), which looks at the columns of the set
alone, and one correlates the residual of given coefficients with every column
(`residuals`). A pass is given chunks, one or more, and sums over them in place, since
the vectors may be longer than a sparse chunk; results of disjoint rows are merged. A
sparse chunk is never made dense, and a chunk of another array library is worked on where it
is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy import sparse

from . import cells as _cells
from .chunk import Defect, namespace, to_device, to_host
from .statistics import DEVICE_ITEMS, aligned, value_defect

# Values in a tile that is worked on in a core's second-level cache (1 MiB).
_TILE_ITEMS = 2**17
# Columns of such a tile while all columns are gone through.
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


class Chosen(NamedTuple):
    """Columns that a pass looks at, and what to centre them about.

    Attributes
    ----------
    columns : ndarray of int of shape (c,)
        Without repetition.
    x_mean : ndarray of shape (c,)
        Zero without an intercept.
    far : ndarray of bool of shape (c,), optional
        Columns so far from zero that products of sparse ones have to be of centred values.
    """

    columns: np.ndarray
    x_mean: np.ndarray
    far: np.ndarray | None = None

    @property
    def left_mean(self) -> np.ndarray:
        """What products of sparse chunks still have to be centred about."""
        return self.x_mean if self.far is None else np.where(self.far, 0.0, self.x_mean)


class Products(NamedTuple):
    """Gram rows of the columns that join, centred or still to be.

    Attributes
    ----------
    gram : ndarray of shape (n_new, c), or 0
        Products of the last columns with all, of centred values: dense chunks, and the far
        columns of sparse ones.
    raw : sparse of shape (n_new, c), or 0
        The rest of sparse chunks: not centred.
    sums : ndarray of shape (c,)
    weight : float
        Column sums and weight of the rows of sparse chunks.
    """

    gram: np.ndarray | int
    raw: sparse.csr_array | int
    sums: np.ndarray
    weight: float


class Residuals(NamedTuple):
    """The residual r and every column; with weights, all sums are weighted.

    Attributes
    ----------
    correlations : ndarray of shape (k, m)
        ``X^T r``, X not centred.
    total : ndarray of shape (m,)
        Sum of r.
    squares : ndarray of shape (m,)
        ``r.r``
    with_y : ndarray of shape (m,)
        ``r.(y - y_mean)``
    """

    correlations: np.ndarray
    total: np.ndarray
    squares: np.ndarray
    with_y: np.ndarray


def columns(chunks) -> ColumnMoments:
    """Moments of the columns of some chunks.

    Parameters
    ----------
    chunks : iterable of Chunk

    Returns
    -------
    ColumnMoments
        With a `Defect` instead of an error where the rows cannot be used.
    """
    parts, sums = [], None
    for chunk in chunks:
        defect = chunk.defect
        if defect is None:
            X, y, sample_weight = _arrays(chunk)
            with np.errstate(invalid="ignore", over="ignore"):
                if sparse.issparse(X):
                    sums = sums or _SparseSums(X, y)
                    weights = np.ones(len(y)) if sample_weight is None else sample_weight
                    finite = sums.add(X, y, weights)
                else:
                    parts.append(_dense_columns(X, y, sample_weight))
                    finite = all(np.isfinite(part).all() for part in parts[-1][5:8])
            if finite and (sample_weight is None or (sample_weight >= 0).all()):
                continue
            defect = value_defect(to_host(X), y, sample_weight)
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
    y_shift = _shift(y)
    y = y - y_shift
    y_mean = weights @ y / (weight or 1.0)
    y_centred = scale * (y - y_mean)
    sides = np.vstack([scale.T, y_centred.T])
    shift = _shift(X)
    sums_of = _sums_of_columns if namespace(X) is None else _sums_of_columns_on_device
    sums, xx = sums_of(X, shift, sides, None if sample_weight is None else scale)
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


def _sums_of_columns(X, shift, sides, scale):
    """Products of rows of `sides` with shifted and scaled X, and of X's columns with themselves."""
    n, k = X.shape
    sums = np.zeros((len(sides), k))
    xx = np.zeros(k)
    width = min(k, _TILE_COLUMNS)
    height = max(1, min(n, _TILE_ITEMS // width))
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
    for start, tile in _device_rows(X):
        rows = slice(start, start + tile.shape[0])
        tile = tile - to_device(shift, X)
        if scale is not None:
            tile = tile * to_device(scale[rows], X)
        sums += to_host(to_device(np.ascontiguousarray(sides[:, rows]), X) @ tile)
        xx += to_host(xp.sum(tile * tile, axis=0))
    return sums, xx


def _device_rows(X):
    """Tiles of rows of an X of another library, in float64, and where each starts."""
    xp = namespace(X)
    height = max(1, DEVICE_ITEMS // X.shape[1])
    for start in range(0, X.shape[0], height):
        yield start, xp.asarray(X[start : start + height, :], dtype=xp.float64)


class _SparseSums:
    """Sums over the rows of sparse chunks, of which the moments of every column follow.

    Centring is implicit, for a sparse column's mean is rarely large against its spread. Where
    it is, nearly all of the column is stored, and sums are about a point near the mean.
    """

    def __init__(self, X, y):
        k, m = X.shape[1], y.shape[1]
        self._n_rows = self._n_chunks = 0
        self._y_shift = _shift(y)
        # Weighted sums of x, of x squared, and of x y.
        self._x, self._xx, self._xy = np.zeros(k), np.zeros(k), np.zeros((m, k))
        self._weight, self._y, self._yy = 0.0, np.zeros(m), np.zeros((m, m))
        shift = _far_from_zero(X)
        self._far = np.flatnonzero(shift)
        self._shift = shift[self._far]

    def add(self, X, y, weights) -> bool:
        """Add a chunk's rows; False where a value is not finite."""
        y = y - self._y_shift
        weighted = weights[:, np.newaxis] * y
        squares = np.square(X.data, dtype=np.float64)
        squared = type(X)((squares, X.indices, X.indptr), shape=X.shape)
        far = self._far
        before = [sums[..., far].copy() for sums in (self._x, self._xx, self._xy)]
        _add_product(X, weights, self._x)
        for xy, column in zip(self._xy, weighted.T, strict=True):
            _add_product(X, column, xy)
        _add_product(squared, weights, self._xx)
        if len(far):
            values = X[:, far].toarray() - self._shift
            self._x[far] = before[0] + weights @ values
            self._xx[far] = before[1] + weights @ values**2
            self._xy[:, far] = before[2] + weighted.T @ values
        self._weight += float(weights.sum())
        self._y += weighted.sum(axis=0)
        self._yy += weighted.T @ y
        self._n_rows += len(y)
        self._n_chunks += 1
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
        )


def _far_from_zero(X) -> np.ndarray:
    """`_shift` of a sparse chunk, without making its rows dense."""
    shift = np.zeros(X.shape[1])
    if X.shape[0] == 0:
        return shift
    sample = sparse.csc_array(X[:: max(1, X.shape[0] // _SHIFT_ROWS)])
    stored = np.flatnonzero(np.diff(sample.indptr) == sample.shape[0])
    shift[stored] = _shift(sample[:, stored].toarray())
    return shift


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


def products(chunks, chosen: Chosen, n_new: int) -> Products:
    """Gram rows of the last `n_new` of the columns, on some chunks."""
    c = len(chosen.columns)
    gram, raw, sums, weight = 0, 0, np.zeros(c), 0.0
    position = of_tile = None
    for chunk in chunks:
        X, _, sample_weight = _arrays(chunk)
        if not sparse.issparse(X):
            scale = None if sample_weight is None else np.sqrt(sample_weight)[:, np.newaxis]
            for _, tile in _tiles(X, chosen, scale):
                # The same array twice is one half of the work (syrk).
                new = tile[:, c - n_new :] if n_new < c else tile
                if of_tile is None:
                    gram, of_tile = np.zeros((2, n_new, c))
                if isinstance(tile, np.ndarray):
                    gram += np.matmul(new.T, tile, out=of_tile)
                else:
                    gram += to_host(new.T @ tile)
            continue
        position = _positions(X, chosen) if position is None else position
        taken = _take(X, chosen, position)
        weights = np.ones(X.shape[0]) if sample_weight is None else sample_weight
        if chosen.far is not None and chosen.far.any():
            taken, of_far = _apart(taken, chosen, weights)
            gram = gram + of_far[c - n_new :]
        sums += taken.T @ weights
        weight += float(weights.sum())
        weighted = sparse.diags_array(weights) @ taken if sample_weight is not None else taken
        raw = raw + sparse.csr_array(taken.T)[c - n_new :] @ weighted
    return Products(gram, raw, sums, weight)


def _apart(taken, chosen, weights):
    """The chosen columns without the far ones, and the Gram of far ones with all, centred."""
    far, near = np.flatnonzero(chosen.far), np.flatnonzero(~chosen.far)
    by_column = sparse.csc_array(taken)
    values = by_column[:, far].toarray() - chosen.x_mean[far]
    weighted = weights[:, np.newaxis] * values
    gram = np.zeros((len(chosen.columns), len(chosen.columns)))
    gram[np.ix_(far, far)] = weighted.T @ values
    beside = by_column[:, near].T @ weighted
    beside -= np.outer(chosen.x_mean[near], weighted.sum(axis=0))
    gram[np.ix_(near, far)] = beside
    gram[np.ix_(far, near)] = beside.T
    kept = sparse.diags_array((~chosen.far).astype(np.float64))
    return sparse.csr_array(taken @ kept), gram


def residuals(chunks, chosen: Chosen, coef, y_mean) -> Residuals:
    """Correlate the residual of `coef` (c, m), both of `chosen`, with every column."""
    correlations = total = squares = with_y = of_all = None
    for chunk in chunks:
        X, y, sample_weight = _arrays(chunk)
        y = y - y_mean
        if sparse.issparse(X):
            if of_all is None:
                of_all = np.zeros((X.shape[1], coef.shape[1]))
                of_all[chosen.columns] = coef
            r = y - (X @ of_all - chosen.x_mean @ coef)
        else:
            r = y.copy()
            for rows, tile in _tiles(X, chosen):
                r[rows] -= _apply(tile, coef)
        weighted = r if sample_weight is None else sample_weight[:, np.newaxis] * r
        if correlations is None:
            correlations = np.zeros((X.shape[1], y.shape[1]))
            total, squares, with_y = np.zeros((3, y.shape[1]))
        _correlate(X, weighted, correlations)
        total += weighted.sum(axis=0)
        squares += np.einsum("it,it->t", weighted, r)
        with_y += np.einsum("it,it->t", weighted, y)
    return Residuals(correlations, total, squares, with_y)


class PathResiduals(NamedTuple):
    """As `Residuals`, of p solutions; with the squares on the rows of their test sets."""

    correlations: np.ndarray
    total: np.ndarray
    squares: np.ndarray
    with_y: np.ndarray
    errors: np.ndarray


def cells_of_columns(chunks, columns) -> _cells.CellStatistics:
    """Statistics of some columns, cell by cell.

    Parameters
    ----------
    chunks : iterable of (Chunk, labels)
        The labels are those of `Partition.between`.
    columns : ndarray of int
    """
    found = None
    for chunk, labels in chunks:
        taken = take_columns(_arrays(chunk)[0], columns)
        part = _cells.from_chunk(chunk._replace(X=taken), labels)
        found = part if found is None else _cells.merge([found, part])
    return found


def path_residuals(chunks, chosen: Chosen, coef, intercepts, y_mean, train, test):
    """Correlate the residuals of solutions on several sets of rows with every column.

    Parameters
    ----------
    chunks : iterable of (Chunk, labels)
        The labels are those of `Partition.between`.
    coef : ndarray of shape (c, p)
        As many solutions of each training set as of the next.
    intercepts : ndarray of shape (p,)
        About the means in `chosen`.
    train, test : list of (labelling, ndarray)
        How often the rows of each cell are in each set.
    """
    correlations, position, p = 0.0, None, coef.shape[1]
    total, squares, with_y, errors = np.zeros((4, p))
    for chunk, labels in chunks:
        X, y, sample_weight = _arrays(chunk)
        if len(y) == 0:
            continue
        if sparse.issparse(X):
            position = _positions(X, chosen) if position is None else position
            fitted = _take(X, chosen, position) @ coef - chosen.x_mean @ coef
        else:
            fitted = np.empty((len(y), p))
            for part, tile in _tiles(X, chosen):
                fitted[part] = _apply(tile, coef)
        r = y - intercepts - fitted
        codes = [_codes(cells, len(y)) for cells in labels]
        weights = np.ones(len(y)) if sample_weight is None else sample_weight
        in_train, in_test = (
            np.repeat(
                np.column_stack([weights * counts[codes[which]] for which, counts in sets]),
                p // len(sets),
                axis=1,
            )
            for sets in (train, test)
        )
        errors += np.einsum("ip,ip,ip->p", in_test, r, r)
        weighted = in_train * r
        total += weighted.sum(axis=0)
        squares += np.einsum("ip,ip->p", weighted, r)
        with_y += np.einsum("ip,it->p", weighted, y - y_mean)
        if np.ndim(correlations) == 0:
            correlations = np.zeros((X.shape[1], p))
        _correlate(X, weighted, correlations)
    return PathResiduals(correlations, total, squares, with_y, errors)


def _codes(cells, n):
    """The cell of each of n rows, from runs or codes."""
    if cells.ndim == 1:
        return cells
    codes = np.empty(n, dtype=np.intp)
    for start, stop, cell in cells.tolist():
        codes[start:stop] = cell
    return codes


def _tiles(X, chosen, scale=None):
    """Slices of rows, and the chosen columns there, centred and scaled, until the next."""
    if namespace(X) is not None:
        for start, tile in _device_rows(X):
            rows = slice(start, start + tile.shape[0])
            tile = take_columns(tile, chosen.columns) - to_device(chosen.x_mean, X)
            yield rows, tile if scale is None else tile * to_device(scale[rows], X)
        return
    n, c = X.shape[0], len(chosen.columns)
    height = max(1, min(n, max(256, 8 * _TILE_ITEMS // max(1, c))))
    gathered, centred = np.empty((height, c), dtype=X.dtype), np.empty((height, c))
    for start in range(0, n, height):
        rows = slice(start, min(start + height, n))
        if X.flags.aligned:
            # The faster one, but it copies all of what is not aligned. Columns are all there:
            # with "raise" for those that are not, `out` would be copied too.
            out = gathered[: rows.stop - start]
            tile = np.take(X[rows], chosen.columns, axis=1, out=out, mode="clip")
        else:
            tile = X[rows, chosen.columns]
        tile = np.subtract(tile, chosen.x_mean, out=centred[: rows.stop - start])
        if scale is not None:
            tile *= scale[rows]
        yield rows, tile


def take_columns(X, columns):
    """Columns of a chunk, an array of the same library."""
    xp = namespace(X)
    if xp is None:
        return X[:, columns]
    columns = to_device(columns, X)
    if xp.__name__ == "torch":  # whose `take` is another function
        return xp.index_select(X, 1, columns)
    return xp.take(X, columns, axis=1)


def _apply(tile, coef):
    if isinstance(tile, np.ndarray):
        return tile @ coef
    return to_host(tile @ to_device(coef, tile))


def _positions(X, chosen):
    """Where each column is among the chosen ones, or -1."""
    position = np.full(X.shape[1], -1, dtype=np.int32)
    position[chosen.columns] = np.arange(len(chosen.columns), dtype=np.int32)
    return position


def _take(X, chosen, position):
    """The chosen columns of a sparse chunk, as CSR."""
    if X.format == "csc":
        return sparse.csr_array(X[:, chosen.columns])
    # SciPy's own indexing goes through every column, of which there may be more than values.
    found = position[X.indices]
    entries = np.flatnonzero(found >= 0)
    indptr = np.searchsorted(entries, X.indptr)
    shape = (X.shape[0], len(chosen.columns))
    return sparse.csr_array((X.data[entries], found[entries], indptr), shape=shape)


def _correlate(X, r, into):
    """Add ``X^T r`` to `into`."""
    if namespace(X) is not None:
        for start, tile in _device_rows(X):
            into += to_host(tile.T @ to_device(r[start : start + tile.shape[0]], X))
        return
    if sparse.issparse(X) or (X.dtype == np.float64 and X.flags.aligned):
        _add_product(X, r, into)
        return
    k = X.shape[1]
    height = max(8, _TILE_ITEMS // k)
    as_bytes = np.empty(height * k, dtype=X.dtype)
    for start in range(0, len(r), height):
        rows = slice(start, min(start + height, len(r)))
        tile = aligned(X, rows, slice(0, k), as_bytes)
        _add_product(tile.astype(np.float64, copy=False), r[rows], into)


def _add_product(X, r, into):
    """Add ``X^T r`` to `into`."""
    if r.ndim == 2 and r.shape[1] == 1:  # half the time of a product of matrices
        into[:, 0] += X.T @ r[:, 0]
    else:
        into += X.T @ r


def merge_sums(parts):
    """What a pass over the union of disjoint rows finds: `Products` or `Residuals`."""
    parts = list(parts)
    merged = parts[0]
    for part in parts[1:]:
        merged = type(merged)(*(a + b for a, b in zip(merged, part, strict=True)))
    return merged


def _arrays(chunk):
    """X, y in float64, and sample_weight of a chunk."""
    X, y, sample_weight = chunk.arrays()
    return X, y.astype(np.float64, copy=False), sample_weight


def _shift(A):
    """A point to take the moments about: a row's value in columns that are far from zero.

    Against how few rows lie apart, since there are many columns; zero elsewhere, which
    loses two digits at most.
    """
    if A.shape[0] == 0:
        return np.zeros(A.shape[1])
    sample = to_host(A[:: max(1, A.shape[0] // _SHIFT_ROWS), :]).astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        spread = np.abs(sample - sample[0]).max(axis=0)
        return np.where(np.abs(sample[0]) > 10 * spread, sample[0], 0.0)
