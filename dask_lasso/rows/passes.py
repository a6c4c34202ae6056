"""What a pass over rows with many columns computes, once their moments are known.

By turns one pass takes the Gram rows of the columns that join the working set (`products`),
which looks at the columns of the set alone, and one correlates the residual of given
coefficients with every column (`residuals`). A pass is given chunks, one or more, and sums
over them in place, since the vectors may be longer than a sparse chunk; results of disjoint
rows are merged. A sparse chunk is never made dense, and a chunk of another array library is
worked on where it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from .cells import CellStatistics, cells_of_chunk, codes_of, labels_between, merge_cells
from .chunk import Chunk, namespace, to_device, to_host
from .columns import add_product, block_of_product
from .needs import Needs, Vectors, needs, of_first
from .tiles import BUFFER_ITEMS, CACHE_ITEMS, aligned, on_device

# Columns of a tile that is widened, of a chunk in which columns lie together, and the most of any.
_TILE_COLUMNS, _MOST_COLUMNS = 512, 2**14


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
    errors : ndarray of shape (m,) or 0
        ``r.r`` on the rows of test sets.
    """

    correlations: np.ndarray
    total: np.ndarray
    squares: np.ndarray
    with_y: np.ndarray
    errors: np.ndarray | float = 0.0


def _of_chosen(chosen, *args) -> Needs:
    return Needs(chosen.columns, lambda at: (chosen._replace(columns=at), *args))


@needs(_of_chosen)
def products(chunks: Iterable[Chunk], chosen: Chosen, n_new: int) -> Products:
    """Gram rows of the last `n_new` of the columns, on some chunks."""
    c = len(chosen.columns)
    gram: Any = 0
    raw, sums, weight = 0, np.zeros(c), 0.0
    position: tuple[np.ndarray, np.ndarray] | None = None
    of_tile: np.ndarray | None = None
    for chunk in chunks:
        X, _, sample_weight = chunk.arrays()
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


def _with_products(found: Residuals, every: list) -> Residuals:
    return found._replace(correlations=every[0])


def rows_of_residuals(chunks: Iterable[Chunk], *args: Any) -> tuple[Residuals, list]:
    """`Needs.rows` of `residuals`."""
    return _beside(_residuals_of(chunk, *args) for chunk in chunks)


@needs(lambda *args: _of_chosen(*args)._replace(rows=rows_of_residuals, join=_with_products))
def residuals(
    chunks: Iterable[Chunk], chosen: Chosen, coef: np.ndarray, y_mean: np.ndarray
) -> Residuals:
    """Correlate the residual of `coef` (c, m), both of `chosen`, with every column."""
    args = chosen, coef, y_mean
    return _correlated((chunk.X, *_residuals_of(chunk, *args)) for chunk in chunks)


def _residuals_of(chunk, chosen, coef, y_mean):
    """Sums over the rows of a chunk, and its weighted residuals (n, m)."""
    X, y, sample_weight = chunk.arrays()
    y = y - y_mean
    if sparse.issparse(X):
        of_all = np.zeros((X.shape[1], coef.shape[1]))
        of_all[chosen.columns] = coef
        r = y - (X @ of_all - chosen.x_mean @ coef)
    else:
        r = y.copy()
        for rows, tile in _tiles(X, chosen):
            r[rows] -= _apply(tile, coef)
    weighted = r if sample_weight is None else sample_weight[:, np.newaxis] * r
    return _sums(weighted, r, y), weighted


def _sums(weighted, r, y, errors=0.0):
    """`Residuals` of rows, without correlations."""
    squares, with_y = (np.einsum("ip,ip->p", weighted, np.broadcast_to(v, r.shape)) for v in (r, y))
    return Residuals(0.0, weighted.sum(axis=0), squares, with_y, errors)


def _correlated(of_chunks):
    """The sums over all rows, from X, the sums and the weighted residuals of chunks."""
    parts, correlations = [], None
    for X, part, weighted in of_chunks:
        parts.append(part)
        if correlations is None:
            correlations = np.zeros((X.shape[1], weighted.shape[1]), order="F")
        if len(weighted):
            correlate(X, weighted, correlations)
    return merge_sums(parts)._replace(correlations=correlations)


def _beside(of_chunks):
    """What `Needs.rows` returns, from the sums and the weighted residuals of chunks."""
    sums, weighted = zip(*of_chunks, strict=True)
    return merge_sums(sums), [(Vectors(of_rows),) for of_rows in weighted]


@needs(of_first)
def cells_of_columns(
    chunks: Iterable[tuple[Chunk, list[np.ndarray]]],
    columns: np.ndarray,
    n_new: int,
    y_mean: np.ndarray,
) -> CellStatistics:
    """Statistics of the last `n_new` of some columns, cell by cell; the others are targets too.

    They are so after y, which is about `y_mean`. What is known of those among each other is not
    summed again.

    Parameters
    ----------
    chunks : iterable of (Chunk, labels)
        The labels are those of `Partition.between`.
    columns : ndarray of int
    """
    parts: list[CellStatistics] = []
    old, new = np.split(columns, [len(columns) - n_new])
    for chunk, labels in chunks:
        X, y, _ = chunk.arrays()
        take = take_sparse if sparse.issparse(X) else take_columns
        of_new, beside = chunk._replace(X=take(X, new)), take(X, old)
        # Targets are dense, of sparse columns too: not those of all rows at once.
        height = max(1, len(y) if len(old) == 0 else BUFFER_ITEMS // len(old))
        for start in range(0, max(1, len(y)), height):
            rows = slice(start, min(start + height, len(y)))
            some = of_new if height >= len(y) else of_new.rows(rows)
            sides = to_host(beside[rows, :])
            sides = sides.toarray() if sparse.issparse(sides) else sides
            some = some._replace(y=np.hstack([some.y - y_mean, sides]))
            parts.append(cells_of_chunk(some, labels_between(labels, rows.start, rows.stop)))
        parts = [merge_cells(parts)]
    return parts[0]


def rows_of_path(
    chunks: Iterable[tuple[Chunk, list[np.ndarray]]], *args: Any
) -> tuple[Residuals, list]:
    """`Needs.rows` of `path_residuals`."""
    return _beside(_path_residuals_of(chunk, labels, *args) for chunk, labels in chunks)


@needs(lambda *args: _of_chosen(*args)._replace(rows=rows_of_path, join=_with_products))
def path_residuals(chunks: Iterable[tuple[Chunk, list[np.ndarray]]], *args: Any) -> Residuals:
    """Correlate the residuals of p solutions on several sets of rows with every column.

    Parameters
    ----------
    chunks : iterable of (Chunk, labels)
        The labels are those of `Partition.between`.
    *args
        As of `_path_residuals_of`.
    """
    return _correlated(
        (chunk.X, *_path_residuals_of(chunk, labels, *args)) for chunk, labels in chunks
    )


def _path_residuals_of(
    chunk: Chunk,
    labels: list[np.ndarray],
    chosen: Chosen,
    coef: np.ndarray,
    intercepts: np.ndarray,
    y_mean: np.ndarray,
    train: list,
    test: list,
) -> tuple[Residuals, np.ndarray]:
    """Sums of `path_residuals` over the rows of a chunk, and its weighted residuals (n, p).

    Parameters
    ----------
    coef : ndarray of shape (c, p)
    intercepts : ndarray of shape (p,)
        About the means in `chosen`, and `y_mean`.
    train, test : list of (labelling, ndarray)
        Of each solution, how often the rows of each cell are in its sets.
    """
    X, y, sample_weight = chunk.arrays()
    if sparse.issparse(X):
        fitted = take_sparse(X, chosen.columns) @ coef - chosen.x_mean @ coef
    else:
        fitted = np.empty((len(y), coef.shape[1]))
        for part, tile in _tiles(X, chosen):
            fitted[part] = _apply(tile, coef)
    y = y - y_mean
    r = y - intercepts - fitted
    codes = [codes_of(cells, len(y)) for cells in labels]
    weights = np.ones(len(y)) if sample_weight is None else sample_weight
    in_train, in_test = (
        np.column_stack([weights * counts[codes[which]] for which, counts in sets])
        for sets in (train, test)
    )
    weighted = in_train * r
    errors = np.einsum("ip,ip,ip->p", in_test, r, r)
    return _sums(weighted, r, y, errors), weighted


def _tiles(X, chosen, scale=None):
    """Slices of rows, and the chosen columns there, centred and scaled, until the next."""
    if namespace(X) is not None:
        for rows, tile in on_device(X):
            tile = take_columns(tile, chosen.columns) - to_device(chosen.x_mean, X)
            yield rows, tile if scale is None else tile * to_device(scale[rows], X)
        return
    n, c = X.shape[0], len(chosen.columns)
    height = max(1, min(n, max(256, 8 * CACHE_ITEMS // max(1, c))))
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


def take_columns(X: Any, columns: np.ndarray) -> Any:
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


def take_sparse(X: Any, columns: np.ndarray) -> sparse.csr_array:
    """Columns of a sparse chunk."""
    chosen = Chosen(columns, np.zeros(len(columns)))
    return _take(X, chosen, _positions(X, chosen))


def _positions(X, chosen):
    """Whether each column is among the chosen ones, and where: of the others, anything."""
    # Few of so many pages are written, and read: a page costs as much as all that is done with it.
    is_chosen, number = np.zeros(X.shape[1], dtype=bool), np.empty(X.shape[1], dtype=np.int32)
    is_chosen[chosen.columns] = True
    number[chosen.columns] = np.arange(len(chosen.columns), dtype=np.int32)
    return is_chosen, number


def _take(X, chosen, position):
    """The chosen columns of a sparse chunk, as CSR."""
    if X.format == "csc":
        return sparse.csr_array(X[:, chosen.columns])
    # SciPy's own indexing goes through every column, of which there may be more than values.
    is_chosen, number = position
    entries = np.flatnonzero(is_chosen[X.indices])
    indptr = np.searchsorted(entries, X.indptr)
    shape = (X.shape[0], len(chosen.columns))
    columns = number.take(X.indices.take(entries))
    return sparse.csr_array((X.data.take(entries), columns, indptr), shape=shape)


def correlate(X: Any, r: np.ndarray, into: np.ndarray) -> None:
    """Add ``X^T r`` to `into`."""
    if namespace(X) is not None:
        for rows, tile in on_device(X):
            into += to_host(tile.T @ to_device(r[rows], X))
        return
    if sparse.issparse(X) or (X.dtype == np.float64 and X.flags.aligned):
        add_product(X, r, into)
        return
    n, k = X.shape
    width = min(k, _MOST_COLUMNS if X.flags.c_contiguous else _TILE_COLUMNS)
    height = max(1, min(n, max(8, CACHE_ITEMS // width)))
    as_bytes, wide = np.empty(height * width, dtype=X.dtype), np.empty((height, width))
    product = block_of_product(width, r)
    for first in range(0, k, width):
        block = slice(first, min(first + width, k))
        for start in range(0, n, height):
            rows = slice(start, min(start + height, n))
            tile = wide[: rows.stop - start, : block.stop - first]
            np.copyto(tile, aligned(X, rows, block, as_bytes))
            add_product(tile, r[rows], into[block], product)


def merge_sums(parts: Iterable) -> Any:
    """What a pass over the union of disjoint rows finds: `Products` or `Residuals`."""
    parts = list(parts)
    merged = parts[0]
    for part in parts[1:]:
        merged = type(merged)(*(a + b for a, b in zip(merged, part, strict=True)))
    return merged
