"""X, y and the weights of dask collections as one collection, with one object per chunk.

Computed apart, two collections may come in other partitions or another order of rows, and
what both are made of is read once for each: dask optimises data frames together only in one
expression, and arrays only in one graph. So they are joined before anything is computed,
and every route reads the joined collection.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from ..rows.chunk import Chunk, Declared, Defect, read, read_features
from ..rows.column_chunks import Corner
from ..rows.passes import take_columns, take_sparse
from .graphs import optimised
from .sending import send_rows
from .tasks import keys_before, rename_aliases
from .waiting import Waiting

# Bytes that are joined of column chunks in one task.
_JOINED_BYTES = 2**27


class Part(NamedTuple):
    """X, y, sample_weight or offset: a dask array, a dask data frame or series, or in memory."""

    name: str
    values: Any
    shape: tuple  # (n,) or (n, width); n is NaN where dask does not know it
    dtype: np.dtype
    is_frame: bool = False
    columns: tuple | None = None  # names, of a data frame
    in_columns: Any = None  # the same dask array, while its columns are in chunks too

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def is_dask(self) -> bool:
        return hasattr(self.values, "__dask_graph__")

    def of_chunks(self, numbers: np.ndarray) -> Part:
        """The same values of some chunks alone."""
        chunks = self.values.partitions if self.is_frame else self.values.blocks
        return self._replace(values=chunks[list(numbers)], in_columns=None)


class Joined:
    """Rows in chunks: X, y and, where there are any, weights.

    Parameters
    ----------
    parts : sequence of Part
        X, y and perhaps sample_weight and offset, some of them dask collections.
    waiting : Waiting
        Which computes the lengths of chunks where they are needed, and for which data
        frames are optimised.
    of_residual : bool
        Whether an offset is taken from y.
    is_counted : bool
        Whether chunks of unknown size are read for their lengths.

    Attributes
    ----------
    parts : list of Part
        All dask collections, in the same chunks.
    sizes : tuple
        Rows in each chunk; NaN where only reading it tells.
    n_features, y_ndim, n_targets : int
    dtype : dtype
        Of X.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        waiting: Waiting,
        of_residual: bool = False,
        is_counted: bool = False,
    ) -> None:
        X, y = parts[:2]
        self.n_features, self.dtype = X.shape[1], X.dtype
        self.y_ndim, self.n_targets = y.ndim, 1 if y.ndim == 1 else y.shape[1]
        frames = [part for part in parts if part.is_frame]
        arrays = [part for part in parts if not part.is_frame]
        joined = _join_frames(frames, waiting.client) if frames else None
        lead = frames[0] if frames else next(part for part in arrays if part.is_dask)
        lead_name, lead = lead.name, lead.values if joined is None else joined
        sizes, known = _sizes(lead, arrays, waiting)
        if is_counted and _is_unknown(sizes):
            sizes = _read_sizes(lead, waiting)
        arrays = [part._replace(values=_in_chunks(part, sizes, lead_name)) for part in arrays]
        arrays = [
            part if part.is_dask else part._replace(values=send_rows(part.values, sizes, waiting))
            for part in arrays
        ]
        in_chunks = {part.name: part for part in (*frames, *arrays)}
        # They hold the futures of what is persisted, of which `each` has the keys alone.
        self.parts, self.sizes = [in_chunks[part.name] for part in parts], sizes
        # What is of data frames comes as one argument, and first.
        self._values = [*([] if joined is None else [joined]), *(part.values for part in arrays)]
        width = None if len(self._widths) > 1 else self.n_features
        declared = Declared(width, y.shape[1] if y.ndim > 1 else None, X.columns, y.columns)
        self.of_residual = of_residual
        taken = None if known is None else (known, lead_name)
        self._pack = partial(_pack, list(in_chunks), len(frames), declared, of_residual, taken)

    @property
    def n_chunks(self) -> int:
        """Of X, those of all columns if these are in chunks too."""
        return len(self.sizes) * len(self._widths)

    @property
    def _widths(self):
        X = self.parts[0]
        return (self.n_features,) if X.is_frame else X.values.chunks[1]

    def in_column_chunks(self, waiting: Waiting) -> Joined | None:
        """The same rows in chunks of columns too, if X came so and in no frames."""
        X, *others = self.parts
        if X.in_columns is None or any(part.is_frame for part in others):
            return None
        if _is_unknown(X.in_columns.chunks[0]):
            return None
        values, there = X.in_columns, np.flatnonzero(X.in_columns.chunks[1])
        if len(there) < values.numblocks[1]:
            values = values.blocks[:, there]
        parts = [X._replace(values=values, in_columns=None), *others]
        return Joined(parts, waiting, self.of_residual)

    def corners(self) -> list[Corner]:
        """Where each chunk begins, row by row."""
        rows, columns = (np.r_[0, np.cumsum(n)][:-1].tolist() for n in (self.sizes, self._widths))
        return [Corner(row, column, chunk) for chunk, row in enumerate(rows) for column in columns]

    def of_columns(self, columns: np.ndarray, waiting: Waiting) -> Joined:
        """The same rows, of an X in chunks of columns: these columns together, without others."""
        X, order = self.parts[0], np.argsort(columns)
        values = one_column_chunk(_of_columns(X.values, columns[order]))
        values = values.map_blocks(_few_of_block, np.argsort(order), dtype=values.dtype)
        parts = [X._replace(values=values, shape=values.shape), *self.parts[1:]]
        return Joined(parts, waiting, self.of_residual)

    @property
    def n_rows(self) -> float:
        return sum(self.sizes)

    def with_features(self, n_features: int, function: Callable, *args: Any) -> Joined:
        """The same rows, whose X is ``function(chunk, *args)`` of each `Chunk`."""
        new = copy.copy(self)
        new.n_features = n_features
        new._pack = partial(_with_features, self._pack, function, args)
        return new

    def of_chunks(self, numbers: np.ndarray) -> Joined:
        """The rows of some chunks alone."""
        new = copy.copy(self)
        new._values = [values.blocks[numbers] for values in self._values]
        new.parts = [part.of_chunks(numbers) for part in self.parts]
        new.sizes = tuple(self.sizes[number] for number in numbers)
        return new

    def each(
        self, name: str = "chunk", function: Callable | None = None, labels: list | None = None
    ) -> Any:
        """``function(chunk)``, or ``function(chunk, its labels)``, of every `Chunk`.

        In the task that joins the chunk: a task made of two, as dask would fuse them, costs
        as much again as what is done with a small chunk.

        Returns
        -------
        dask Array of shape (n_chunks, 1)
            Of one object each; of X in chunks of columns too, one for each of these.
        """
        import dask.array as da
        from dask.base import tokenize
        from dask.layers import ArrayValuesDep

        # Two-dimensional, with one chunk along the columns: dask does not fuse what makes
        # the chunks into a task that contracts an index.
        chunks = ((1,) * len(self.sizes), (1,))
        args = []
        for of_chunks in [self.sizes] if labels is None else [self.sizes, labels]:
            by_key = {(chunk, 0): value for chunk, value in enumerate(of_chunks)}
            args += [ArrayValuesDep(chunks, by_key), "ij"]
        for array in self._values:
            args += [array, "ij"[: array.ndim]]
        return da.blockwise(
            partial(_of_chunk, self._pack, function, labels is not None),
            "ij",
            *args,
            name=f"lasso-{name}-{tokenize(self._values, self.sizes, self._pack, function, labels)}",
            dtype=object,
            meta=np.empty((0, 0), dtype=object),
            adjust_chunks={"i": chunks[0], "j": (1,) * len(self._widths)},
            align_arrays=False,
        )


def _of_chunk(pack, function, with_labels, n_rows, *values):
    labels, values = (values[:1], values[1:]) if with_labels else ((), values)
    chunk = pack(n_rows, *values)
    return chunk if function is None else function(chunk, *labels)


def _with_features(pack, function, args, *values):
    chunk = pack(*values)
    return chunk if chunk.defect is not None else chunk._replace(X=function(chunk, *args))


def _join_frames(frames, client):
    """Data frames as one dask array, of a tuple of their partitions each."""
    import dask
    import dask.dataframe as dd

    first = frames[0].values
    values = [first]
    for other in (part.values for part in frames[1:]):
        if first.divisions != other.divisions and first.known_divisions and other.known_divisions:
            other = other.repartition(divisions=first.divisions, force=True)
        values.append(other)
    counts = [frame.npartitions for frame in values]
    for part, count in zip(frames, counts, strict=True):
        if count != counts[0]:  # one alone would be taken for all
            raise ValueError(_unmatched(frames[0].name, counts[0], part.name, count))
    # It is optimised at once. How to shuffle hangs on the Client; and dask must not fuse the
    # partitions of two Parquet data sets, for it fuses by each one's share of columns.
    with client.as_current(), dask.config.set({"optimization.tune.active": False}):
        joined = dd.map_partitions(
            _together,
            *values,
            align_dataframes=False,
            enforce_metadata=False,
            meta=np.empty((0, 0), dtype=object),
        )
    return _mended(joined, client)


def _together(*partitions):
    return partitions


def _mended(joined, client):
    """The same dask array, once dask's own slips in graphs of data frames are put right."""
    import dask.array as da

    graph = dict(joined.dask)
    rename_aliases(graph)
    needed = {key for node in graph.values() for key in keys_before(node)}
    # A frame of a persisted array names results that the cluster has, without their futures.
    if not needed - graph.keys() <= client.futures.keys():
        raise ValueError(
            "A data frame among X, y and sample_weight comes in fewer partitions than dask has"
            " counted, as happens where columns of a Parquet data set are selected and then"
            " persisted (or, before dask 2025.2, where X and y are of two data sets). Persist all"
            " columns of each data set first and select from those."
        )
    return da.Array(graph, joined.name, joined.chunks, meta=joined._meta)


def _sizes(lead, arrays, waiting):
    """Rows in each chunk of `lead`, where they are known or have to be, and of whom they are taken.

    That is the name of an argument in as many chunks, whose sizes are known, or None.
    """
    sizes = lead.chunks[0]
    if not _is_unknown(sizes):
        return sizes, None
    known = [part for part in arrays if part.is_dask and not _is_unknown(part.values.chunks[0])]
    for part in known:
        if len(part.values.chunks[0]) == len(sizes):
            return part.values.chunks[0], part.name
    if known or not all(part.is_dask for part in arrays):
        return _read_sizes(lead, waiting), None
    return sizes, None


def _is_unknown(sizes) -> bool:
    return bool(np.isnan(sum(sizes)))


def _read_sizes(lead, waiting):
    """Rows in each chunk, for which the chunks are read."""
    lengths = lead.map_blocks(
        _length,
        lead.ndim,
        dtype=int,
        chunks=tuple((1,) * n for n in lead.numblocks),
        meta=np.empty((0,) * lead.ndim, dtype=int),
    )
    (found,) = waiting.gather(waiting.compute([optimised(lengths)]))
    return tuple(found.ravel().tolist())


def _length(chunk, ndim):
    return np.full((1,) * ndim, len(chunk[0]) if isinstance(chunk, tuple) else chunk.shape[0])


def _in_chunks(part, sizes, lead_name):
    """A dask array in chunks of so many rows, those of another input; one in memory as it is."""
    values = part.values
    if part.is_dask and (values.chunks[0] == sizes or _is_unknown(values.chunks[0])):
        if values.numblocks[0] != len(sizes):
            raise ValueError(_unmatched(lead_name, len(sizes), part.name, values.numblocks[0]))
        return values
    if part.shape[0] != sum(sizes):
        raise ValueError(
            "Found input variables with inconsistent numbers of samples:"
            f" {lead_name} has {sum(sizes)}, {part.name} has {part.shape[0]}."
        )
    return values.rechunk({0: sizes}) if part.is_dask else values


def _of_columns(array, columns):
    """Columns of a dask array in chunks of columns, in their order; each from where it is."""
    import dask.array as da
    from dask.layers import ArrayValuesDep

    edges = np.r_[0, np.cumsum(array.chunks[1])]
    which = np.searchsorted(edges, columns, side="right") - 1
    used = np.unique(which) if len(columns) else np.zeros(1, dtype=int)
    local = [columns[which == chunk] - edges[chunk] for chunk in used]
    by_key = {(0, chunk): of_chunk for chunk, of_chunk in enumerate(local)}
    return da.blockwise(
        _few_of_block,
        "ij",
        array.blocks[:, used],
        "ij",
        ArrayValuesDep(((1,), (1,) * len(used)), by_key),
        "ij",
        dtype=array.dtype,
        meta=array._meta,
        adjust_chunks={"j": tuple(map(len, local))},
        align_arrays=False,
    )


def _few_of_block(block, columns):
    X = read_features(block)
    return take_sparse(X, columns) if sparse.issparse(X) else take_columns(X, columns)


def one_column_chunk(array: Any) -> Any:
    """Rechunk along the columns; rows stay where they are, if a chunk of them is not too long."""
    if array.numblocks[1] == 1:
        return array
    if sparse.issparse(array._meta):
        # Dask joins SciPy's matrices along columns, and its arrays not in all versions.
        meta = sparse.csr_matrix((0, 0), dtype=array.dtype)
        array = array.map_blocks(sparse.csr_matrix, dtype=array.dtype, meta=meta)
        return array.rechunk({1: -1})
    longest = max(1, _JOINED_BYTES // (array.shape[1] * array.dtype.itemsize))
    rows = [size for n in array.chunks[0] for size in _pieces(n, longest)]
    return array.rechunk({0: tuple(rows), 1: -1}, method="tasks")


def _pieces(n_rows, longest):
    """A chunk of rows in equal pieces that are not longer; whole where its size is unknown."""
    if not n_rows > longest:
        return [n_rows]
    n_pieces = -(-n_rows // longest)
    return [n_rows // n_pieces + (i < n_rows % n_pieces) for i in range(n_pieces)]


def _unmatched(name, count, other, other_count):
    return (
        f"{name} has {count} chunks and {other} {other_count}, of unknown size: they cannot be"
        " matched. Select both from one data frame (ddf[features], ddf['target']), or persist"
        " both and call compute_chunk_sizes() (of data frames: to_dask_array(lengths=True))."
    )


def _pack(names, n_frames, declared, of_residual, taken, n_rows, *values) -> Chunk:
    """One chunk of all collections, checked against each other and what was declared."""
    partitions: tuple = values[0] if n_frames else ()
    arrays = values[1:] if n_frames else values
    given = dict(zip(names, (*partitions, *arrays), strict=True))
    if taken is not None and given[taken[1]].shape[0] != n_rows:
        (known, other), found = taken, given[taken[1]].shape[0]
        problem = (
            f"has {n_rows} rows where {other} has {found}, for they are in other chunks: call"
            f" {other}.compute_chunk_sizes() (of a data frame, pass"
            f" {other}.to_dask_array(lengths=True))"
        )
        return Chunk(None, None, None, found, Defect(known, problem, min(found, n_rows), 0))
    beside = (given.get(name) for name in ("sample_weight", "offset"))
    weight, offset = beside
    chunk = read(given["X"], given["y"], weight, declared, offset)
    if chunk.defect is not None:
        return chunk
    if n_rows == n_rows and chunk.n_rows != n_rows:
        problem = (
            f"has {chunk.n_rows} rows where {n_rows} were declared: call compute_chunk_sizes() on"
            " the dask array"
        )
        return chunk._replace(defect=Defect("X", problem, min(chunk.n_rows, n_rows), 0))
    for name, partition in zip(names[1:], partitions[1:], strict=False):
        defect = _index_defect(names[0], partitions[0].index, name, partition.index)
        if defect is not None:
            return chunk._replace(defect=defect)
    return chunk.less_offset() if of_residual else chunk


def _index_defect(name, index, other, other_index):
    """Where two partitions have other rows, as far as their indexes tell."""
    if index.equals(other_index) or (_is_range(index) and _is_range(other_index)):
        return None  # a range numbers rows, from 0 in each partition or through all of them
    pairs = zip(map(repr, index), map(repr, other_index), strict=True)
    row, labels = next((row, pair) for row, pair in enumerate(pairs) if pair[0] != pair[1])
    problem = (
        f"has another index than {name} ({labels[1]} beside {labels[0]}): select both from one data"
        " frame (ddf[features], ddf['target']) or, if the rows are in the same order nevertheless,"
        f" pass {other} as an array ({other}.values)"
    )
    return Defect(other, problem, row, 0)


def _is_range(index) -> bool:
    return type(index).__name__ == "RangeIndex" and index.step == 1
