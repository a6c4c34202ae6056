"""The graph of one pass over the chunks of dask arrays, reduced on the workers.

A pass with many columns finds vectors as long as a row, and there may be many chunks: as
many such results must not lie about at once, nor travel. So the chunks are taken in
chains, one for each thread. Where the chunks are in memory, a chain is one task, sent to the
worker that has them; else it is a task for each chunk, which adds its result to that of
the link before it. What the chains end with is merged in a tree, whose root is the client.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import NamedTuple
from uuid import uuid4

import dask
import numpy as np
from dask._task_spec import DataNode, Task, TaskRef
from dask.sizeof import sizeof
from scipy import sparse

from ._chunk import read

# Results of chains that are merged at once.
_FAN_IN = 4
# Bytes of arguments up to which each chain is sent its own.
_OWN_ARGS = 2**18


class Chain(NamedTuple):
    """Chunks to take one after the other, and the worker that has them all, if one has."""

    chunks: Sequence[int]
    worker: str | None


def reduction(arrays, labels, chains, task, merge, args, declared):
    """Parts that ``merge`` joins to what ``task(chunks, *args)`` finds on all chunks.

    Returns
    -------
    list of Delayed
        As few as are merged at once, for the client: the root of the tree.

    Parameters
    ----------
    arrays : tuple of dask Array
        X, y and, where there is one, sample_weight, in the same row chunks; X in one
        chunk along the columns.
    labels : dask Array of object, or None
        Of each chunk, its part of a `Partition`.
    chains : list of Chain
        From `chains`: all with a worker, and then each is one task, or none.
    task : callable
        Given a list of `Chunk`, or of (Chunk, labels).
    declared : Declared
    """
    from dask.delayed import Delayed
    from dask.highlevelgraph import HighLevelGraph

    name = "lasso-pass-" + uuid4().hex
    inputs = arrays if labels is None else (*arrays, labels)
    shared, of_shared = (len(arrays), len(inputs), declared, task, merge, args), []
    in_memory = chains[0].worker is not None
    if not in_memory or sizeof(args) > _OWN_ARGS:
        # A task of its own, so that it is not sent with each of the others; which they wait for.
        of_shared = [dask.delayed(shared, traverse=False, pure=False)]
        shared = TaskRef(of_shared[0].key)
    layer, homes, number = {}, {}, count()

    def add(function, worker, *keys):
        key = (name, next(number))
        homes[key] = worker
        refs = [None if k is None else TaskRef(k) for k in keys]
        layer[key] = Task(key, function, shared, *refs)
        return key

    level = []
    for chain in chains:
        found = None
        for links in [chain.chunks] if in_memory else [[chunk] for chunk in chain.chunks]:
            blocks = [
                (array.name, int(chunk)) + (0,) * (array.ndim - 1)
                for chunk in links
                for array in inputs
            ]
            found = add(_link, chain.worker, found, *blocks)
        level.append(found)
    while len(level) > _FAN_IN:
        tree = range(0, len(level), _FAN_IN)
        level = [add(_merge, homes[level[i]], *level[i : i + _FAN_IN]) for i in tree]
    # The scheduler would move chunks to idle workers, for it takes SciPy's sparse arrays to be
    # a few bytes.
    pinned = dict(workers=homes.get, allow_other_workers=True) if in_memory else {}
    with dask.annotate(**pinned):
        graph = HighLevelGraph.from_collections(name, layer, dependencies=[*inputs, *of_shared])
    return [Delayed(key, graph, layer=name) for key in level]


def _link(shared, before, *blocks):
    n_arrays, n_inputs, declared, task, merge, args = shared
    chunks = []
    for i in range(0, len(blocks), n_inputs):
        chunk = read(*blocks[i : i + n_arrays], declared=declared)
        labels = blocks[i + n_arrays : i + n_inputs]
        chunks.append((chunk, *labels) if labels else chunk)
    found = task(chunks, *args)
    return found if before is None else merge([before, found])


def _merge(shared, *parts):
    *_, merge, _ = shared
    return merge(parts)


def readable(client, arrays):
    """The arrays as passes read them: optimised, and out of the client's memory.

    What the graph of an array holds as a NumPy or SciPy array would be sent with every
    pass; it goes to the workers once, for as long as the result is kept.
    """
    optimised = dask.optimize(*(array for array in arrays if array is not None))
    return tuple(client.persist(a) if _is_in_graph(a) else a for a in optimised)


def _is_in_graph(array) -> bool:
    for node in dict(array.dask).values():
        if not getattr(node, "dependencies", ()):
            data = node() if isinstance(node, DataNode) else None
            on_disk = isinstance(data, np.memmap)
            if on_disk or not (isinstance(data, np.ndarray) or sparse.issparse(data)):
                return False
    return True


def holders(client, X):
    """The worker that has each chunk of `X` in memory, or None if some chunk is in none."""
    workers = client.who_has(client.futures_of(X))
    found = [
        next(iter(workers.get((X.name, chunk, 0)) or ()), None) for chunk in range(X.numblocks[0])
    ]
    return None if None in found else found


def chains(client, X, held_by) -> list[Chain]:
    """The chunks of `X` in chains, one for each thread.

    Parameters
    ----------
    held_by : list of str or None
        From `holders`. Where chunks are in memory, a chain is of one worker's chunks;
        else it is of neighbours.
    """
    threads = client.nthreads()
    if held_by is None:
        n_chains = min(X.numblocks[0], max(1, sum(threads.values())))
        return [Chain(c, None) for c in np.array_split(np.arange(X.numblocks[0]), n_chains)]
    found = []
    for worker in dict.fromkeys(held_by):
        chunks = [chunk for chunk, holder in enumerate(held_by) if holder == worker]
        n_chains = max(1, threads.get(worker, 1))
        found += [Chain(chunks[i::n_chains], worker) for i in range(min(n_chains, len(chunks)))]
    return found


def fits_in_memory(client, X) -> bool:
    """Whether the chunks of `X` may fit in the workers' memory; true where nobody knows."""
    limits = [
        worker["memory_limit"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()
    ]
    known = X.nbytes == X.nbytes and all(limits) and isinstance(X._meta, np.ndarray)
    return not known or X.nbytes < 0.5 * sum(limits)
