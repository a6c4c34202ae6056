"""Tasks on the rows of training sets, several in one reading of all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from .chunk import Chunk, to_host
from .needs import Needs, among, needs, needs_of, of_several
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


def _needs_of_calls(calls: list[OfSet]) -> Needs | None:
    """All that the calls need, of the columns that any of them looks at."""
    each = [needs_of(call.task, call.args) for call in calls]
    if any(needs is None or needs.columns is None for needs in each):
        return None
    has_rows = [needs.rows is not None for needs in each]

    def args(places):
        parts = [
            call._replace(task=needs.rows or call.task, args=needs.args(at))
            for call, needs, at in zip(calls, each, places, strict=True)
        ]
        return parts, has_rows

    def join(found, every):
        parts = zip(each, found, every, strict=True)
        return [of if its is None else needs.join(of, [its]) for needs, of, its in parts]

    return of_several([needs.columns for needs in each], args)._replace(
        rows=rows_of_sets, join=join
    )


def rows_of_sets(
    chunks: Iterable[tuple[Chunk, list[np.ndarray]]], calls: list[OfSet], has_rows: list[bool]
) -> tuple[list, list]:
    """`Needs.rows` of `of_sets`, of calls some of whose tasks are the `rows` of another one."""
    found: list[Any] = [[] for _ in calls]
    beside = []
    for chunk, labels in chunks:
        chunk, of_chunk = _ready(chunk, labels), []
        for call, parts, has in zip(calls, found, has_rows, strict=True):
            index: list[Any] = []
            part = call.task(_members(chunk, labels, call.counts, index), *call.args)
            its = None
            if has:
                part, of_members = part
                if not any(of is None for (of,) in of_members):
                    its = among([of for (of,) in of_members], index, chunk.n_rows)
            of_chunk.append(its)
            parts[:] = [call.merge([*parts, part])]
        beside.append(tuple(of_chunk))
    return [part for (part,) in found], beside


@needs(_needs_of_calls)
def of_sets(chunks: Iterable[tuple[Chunk, list[np.ndarray]]], calls: list[OfSet]) -> list:
    """The result of each call."""
    found: list[Any] = [[] for _ in calls]
    for chunk, labels in chunks:
        chunk = _ready(chunk, labels)
        for call, parts in zip(calls, found, strict=True):
            part = call.task(_members(chunk, labels, call.counts, []), *call.args)
            parts[:] = [call.merge([*parts, part])]
    return [part for (part,) in found]


def _ready(chunk, labels):
    """A chunk some of whose rows can be taken."""
    if chunk.defect is not None:
        return chunk
    if sparse.issparse(chunk.X):
        return chunk._replace(X=chunk.X.tocsr())
    is_here_and_there = any(cells.ndim == 1 for cells in labels)
    return chunk._replace(X=to_host(chunk.X)) if is_here_and_there else chunk


def merge_of_sets(parts: Iterable[list], calls: list[OfSet]) -> list:
    """The results of calls on the union of disjoint rows."""
    of_calls = zip(*parts, strict=True)
    return [call.merge(of_call) for call, of_call in zip(calls, of_calls, strict=True)]


def _members(
    chunk: Chunk, labels: list[np.ndarray], counts: tuple[int, np.ndarray], index: list
) -> Iterator[Chunk]:
    """The rows that are in a set, each once, with the weight of as many; of none, an empty chunk.

    Where they are among the rows is added to `index`, chunk by chunk. Rows that are not in it are
    left out, and not of weight zero: a loss may be infinite there.
    """
    cells, times = labels[counts[0]], counts[1]
    if chunk.defect is not None:
        index.append(slice(0, 0))
        yield chunk
        return
    if cells.ndim == 2:
        for start, stop, cell in cells.tolist():
            if times[cell]:
                index.append(slice(start, stop))
                yield _times(chunk.rows(index[-1]), times[cell])
    else:
        of_rows = times[cells]
        members = np.flatnonzero(of_rows)
        step = max(1, len(members))
        if not sparse.issparse(chunk.X):
            step = max(1, _BUFFERS * BUFFER_ITEMS // max(1, chunk.X.shape[1]))
        for start in range(0, len(members), step):
            some = members[start : start + step]
            index.append(some)
            yield _times(chunk.rows(some), of_rows[some])
    if not index:
        index.append(slice(0, 0))
        yield chunk.rows(slice(0, 0))


def _times(chunk: Chunk, times: Any) -> Chunk:
    """The rows, each so often."""
    if np.all(times == 1):
        return chunk
    weight = np.ones(chunk.n_rows) if chunk.sample_weight is None else chunk.sample_weight
    return chunk._replace(sample_weight=times * weight)
