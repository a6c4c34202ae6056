"""Tasks on the rows of training sets, several in one reading of all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from .chunk import Chunk, to_host
from .tiles import BUFFER_ITEMS

# Buffers' worth of values that are copied at once, of rows here and there.
_BUFFERS = 16


class OfSet(NamedTuple):
    """``task(chunks, *args)`` of a set of rows, parts of which are merged.

    Attributes
    ----------
    counts : tuple (int, ndarray)
        How often the rows of each cell of a labelling are in the set.
    """

    counts: tuple[int, np.ndarray]
    task: Callable
    merge: Callable
    args: tuple


def of_sets(chunks: Iterable[tuple[Chunk, list[np.ndarray]]], calls: list[OfSet]) -> list:
    """The result of each call."""
    found: list[Any] = [[] for _ in calls]
    for chunk, labels in chunks:
        if chunk.defect is None:
            if sparse.issparse(chunk.X):
                chunk = chunk._replace(X=chunk.X.tocsr())
            elif any(cells.ndim == 1 for cells in labels):  # rows here and there
                chunk = chunk._replace(X=to_host(chunk.X))
        for call, parts in zip(calls, found, strict=True):
            part = call.task(_members(chunk, labels, call.counts), *call.args)
            parts[:] = [call.merge([*parts, part])]
    return [part for (part,) in found]


def merge_of_sets(parts: Iterable[list], calls: list[OfSet]) -> list:
    """The results of calls on the union of disjoint rows."""
    of_calls = zip(*parts, strict=True)
    return [call.merge(of_call) for call, of_call in zip(calls, of_calls, strict=True)]


def _members(
    chunk: Chunk, labels: list[np.ndarray], counts: tuple[int, np.ndarray]
) -> Iterator[Chunk]:
    """The rows that are in a set, each once, with the weight of as many; of none, an empty chunk.

    Rows that are not in it are left out, and not of weight zero: a loss may be infinite there.
    """
    cells, times = labels[counts[0]], counts[1]
    if chunk.defect is not None:
        yield chunk
        return
    n_found = 0
    if cells.ndim == 2:
        for start, stop, cell in cells.tolist():
            if times[cell]:
                n_found += 1
                yield _times(chunk.rows(slice(start, stop)), times[cell])
    else:
        of_rows = times[cells]
        index = np.flatnonzero(of_rows)
        step = max(1, len(index))
        if not sparse.issparse(chunk.X):
            step = max(1, _BUFFERS * BUFFER_ITEMS // chunk.X.shape[1])
        for start in range(0, len(index), step):
            some = index[start : start + step]
            n_found += 1
            yield _times(chunk.rows(some), of_rows[some])
    if not n_found:
        yield chunk.rows(slice(0, 0))


def _times(chunk: Chunk, times: Any) -> Chunk:
    """The rows, each so often."""
    if np.all(times == 1):
        return chunk
    weight = np.ones(chunk.n_rows) if chunk.sample_weight is None else chunk.sample_weight
    return chunk._replace(sample_weight=times * weight)
