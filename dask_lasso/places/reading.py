"""The graph of one pass over the chunks of dask arrays, reduced on the workers.

A pass with many columns finds vectors as long as a row, and there may be many chunks: as
many such results must not lie about at once, nor travel. So the chunks are taken in
chains, one for each thread. Where the chunks are in memory, a chain is one task, sent to the
worker that has them, or a few if they are large; else it is a task for each chunk. Each
adds its result to that of the link before it. What the chains end with is merged in a tree,
whose root is the client.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import cached_property, reduce
from inspect import signature
from itertools import count, pairwise
from typing import Any, NamedTuple
from uuid import uuid4

import dask
import numpy as np
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.sizeof import sizeof
from scipy import sparse

from ..rows.chunk import is_table
from ..rows.marks import Marks, marks_of
from .graphs import Run, at_home, by_key, merge_tree, optimised, per_key
from .joined import Joined
from .tasks import (
    call,
    data_in,
    is_alias,
    keys_before,
    new_task,
    passes_on,
    result,
    take_out,
    tasks_of,
)
from .waiting import Waiting

# Results of chains that are merged at once: few, for they may be long.
_VECTORS_AT_ONCE = 4
# Bytes of arguments up to which each chain is sent its own.
_OWN_ARGS = 2**18
# Bytes of the chunks of a run; more would not make them cheaper.
_RUN_BYTES = 2**26
# Of a worker's memory for each thread, how much one task's chunks may take.
_SHARE = 0.25


class Held(NamedTuple):
    """Where the chunks of X are in memory."""

    workers: list[str]
    n_bytes: list[int]


class Chain(NamedTuple):
    """Chunks to take one after the other, and the worker that has them all, if one has."""

    tasks: Sequence[Sequence[int]]  # the chunks of each
    worker: str | None


class Reading:
    """Rows as passes read them: optimised once, and out of the client's memory.

    Attributes
    ----------
    rows : Joined
    tasks : list
        Keys of the tasks of the last `reduction`, each of which reads one chunk or a chain.
    """

    def __init__(self, waiting: Waiting, rows: Joined) -> None:
        self._waiting, client = waiting, waiting.client
        # What a graph holds as arrays or data frames would be sent with every pass; it goes to
        # the workers once, for as long as the result is kept.
        parts = [
            part._replace(values=waiting.persist(_optimised_part(part)))
            if _is_in_graph(part)
            else part
            for part in rows.parts
        ]
        if any(part is not before for part, before in zip(parts, rows.parts, strict=True)):
            rows = Joined(parts, waiting, rows.of_residual)
        self.rows = rows
        self.tasks: list = []
        self._chunks = optimised(rows.each())
        self._keys = list(flatten(self._chunks.__dask_keys__()))
        self._annotations = by_key(self._chunks.dask)
        self._graph = tasks_of(self._chunks.dask)
        self._sources = _sources(client, rows)
        self._marks: dict[bool, Marks] = {}  # of the first pass, and of the first with labels

    def merged(self, parts: Sequence, merge: Callable, with_labels: bool) -> Any:
        """What a pass found, from what is left of `reduction`; raises if rows have changed."""
        found, marks = _merge_parts((None, merge, None), *parts)
        if getattr(found, "defect", None) is None:
            for key, placed in ((False, False), (True, True)) if with_labels else ((False, False),):
                before = self._marks.setdefault(key, marks)
                if before is not marks and before.differ(marks, placed):
                    raise ValueError(
                        "The rows change from one pass to the next: X, y or sample_weight are"
                        " computed again in each, and come out differently. Persist them together"
                        " before fit: X, y = dask.persist(X, y), of a data frame"
                        " ddf = ddf.persist()."
                    )
        return found

    def held(self) -> Held | None:
        """Where the chunks of X are, or None if some chunk is in no worker's memory."""
        return _held(self._waiting, self.rows, self._sources)

    @cached_property
    def room(self) -> float:
        """Bytes of chunks in memory that one task may take.

        A worker that has spilled chunks reads all of a task's before it begins.
        """
        workers = _workers(self._waiting)
        limits = [worker["memory_limit"] / worker["nthreads"] for worker in workers]
        return _SHARE * min(filter(None, limits), default=np.inf)

    def reduction(
        self, labels: list | None, chains: list[Chain], task: Callable, merge: Callable, args: tuple
    ) -> list:
        """Parts that `merged` joins to what ``task(chunks, *args)`` finds on all chunks.

        Returns
        -------
        list of Delayed
            As few as are merged at once, for the client: the root of the tree.

        Parameters
        ----------
        labels : list, or None
            Of each chunk, its part of a `Partition`.
        chains : list of Chain
            From `in_chains`: all with a worker, or none.
        task : callable
            Given an iterable of `Chunk`, or of (Chunk, labels).
        """
        from dask.delayed import Delayed

        name = "lasso-pass-" + uuid4().hex
        shared: Any = (task, merge, args)
        of_shared = []
        in_memory = chains[0].worker is not None
        if not in_memory or sizeof(args) > _OWN_ARGS:
            # A task of its own, not to be sent with each of the others; which they wait for.
            of_shared = [dask.delayed(shared, traverse=False, name="lasso-shared-" + uuid4().hex)]
            shared = result(of_shared[0].key)
        layer, annotations, number = {}, {}, count()

        def add(function, where, *args):
            key = (name, next(number))
            annotations[key] = where
            layer[key] = new_task(key, function, shared, *args)
            return key

        graph = dict(self._graph)
        level = []
        for chain in chains:
            found = None
            where = self._where(chain)
            for links in chain.tasks:
                before = None if found is None else result(found)
                recipes = [_recipe(graph, self._keys[chunk], in_memory) for chunk in links]
                of_links = None if labels is None else [labels[chunk] for chunk in links]
                keys = [result(key) for recipe in recipes for key in recipe.keys]
                found = add(_link, where, before, _Links(recipes, of_links), *keys)
            level.append(found)
        self.tasks = list(layer)
        level = merge_tree(
            level,
            _VECTORS_AT_ONCE,
            _VECTORS_AT_ONCE,
            lambda keys: add(_merge_parts, annotations[keys[0]], *map(result, keys)),
        )
        rest = HighLevelGraph.merge(*(delayed.dask for delayed in of_shared))
        of_graph = {key: self._annotations[key] for key in graph if key in self._annotations}
        layers = {
            **rest.layers,
            "lasso-chunks": MaterializedLayer(graph, per_key(of_graph)),
            name: MaterializedLayer(layer, per_key(annotations)),
        }
        dependencies = {**rest.dependencies, "lasso-chunks": set(), name: set(layers) - {name}}
        whole = HighLevelGraph(layers, dependencies)
        return [Delayed(key, whole, layer=name) for key in level]

    def _where(self, chain):
        """Annotations of the tasks of a chain, which make the chunks if these are in memory."""
        if chain.worker is None:
            return {}
        keys = (self._keys[chunk] for chunks in chain.tasks for chunk in chunks)
        return at_home(chain.worker, [self._annotations.get(key, {}) for key in keys])


class _Recipe(NamedTuple):
    """How to come by a chunk: call `node` with the values of `keys`; None takes the value."""

    node: Any | None
    keys: tuple


class _Links:
    """The chunks of one task, and their labels; opaque to dask."""

    def __init__(self, recipes, labels):
        self._recipes, self._labels = recipes, labels

    def chunks(self, values, marks):
        """One chunk after the other, since each may be a copy of what is in memory.

        Its `Marks` are put into the list `marks`.
        """
        values = iter(values)
        for number, (node, keys) in enumerate(self._recipes):
            found = [next(values) for _ in keys]
            chunk = found[0] if node is None else call(node, dict(zip(keys, found, strict=True)))
            if chunk.defect is None:
                marks.append(marks_of(chunk, with_features=node is None))
            yield chunk if self._labels is None else (chunk, self._labels[number])


def _recipe(graph, key, in_memory):
    """How to come by a chunk; of one in memory it is no task of its own, and leaves `graph`."""
    if not in_memory:
        return _Recipe(None, (key,))
    node = take_out(graph, key)
    return _Recipe(node, tuple(keys_before(node)))


def _link(shared, before, links, *values):
    task, _, args = shared
    marks = []
    found = task(links.chunks(values, marks), *args)
    part = found, reduce(operator.add, marks) if marks else None
    return part if before is None else _merge_parts(shared, before, part)


def _merge_parts(shared, *parts):
    """Parts of a pass, what was found and its `Marks`, merged."""
    found, marks = zip(*parts, strict=True)
    known = [mark for mark in marks if mark is not None]
    return shared[1](found), reduce(operator.add, known) if known else None


def _optimised_part(part):
    # dask.optimize fails on data frames of some operations, such as concat (dask 2026.8).
    return part.values.optimize() if part.is_frame else optimised(part.values)


def _is_in_graph(part) -> bool:
    """Whether a part is made of arrays in its graph alone, or its chunks each of several results.

    These are sent once, and those joined once, not in every pass. Of data frames: whether the
    partitions are there, as they are after `persist` without a Client.
    """
    if part.is_frame:
        nodes = tasks_of(_optimised_part(part).__dask_graph__()).values()
        return all(is_table(data_in(node)) or is_alias(node) for node in nodes)
    graph = tasks_of(dask.optimize(part.values)[0].dask)
    data = [data_in(node) for node in graph.values() if not keys_before(node)]
    if not data:
        return any(len(set(keys_before(node))) > 1 for node in graph.values())
    return all(
        (isinstance(values, np.ndarray) and not isinstance(values, np.memmap))
        or sparse.issparse(values)
        for values in data
    )


def _sources(client, rows):
    """The key of the future that each chunk of X is made of, if each is of one; else None."""
    X = rows.parts[0].values
    futures = {future.key for future in client.futures_of(X)}
    if not futures:
        return None
    X = _optimised_part(rows.parts[0]) if rows.parts[0].is_frame else dask.optimize(X)[0]
    graph, keys = tasks_of(X.__dask_graph__()), list(flatten(X.__dask_keys__()))
    if len(keys) != rows.n_chunks:
        return None
    sources = [_source(graph, key, futures) for key in keys]
    return None if None in sources else sources


def _held(waiting, rows, sources):
    """Where the chunks of X are, or None if some chunk is in no worker's memory."""
    if sources is None:
        return None
    futures = waiting.client.futures_of(rows.parts[0].values)
    workers = waiting.ask("who_has", keys=[future.key for future in futures])
    found = [next(iter(workers.get(key) or ()), None) for key in sources]
    if None in found:
        return None
    try:
        n_bytes = waiting.ask("nbytes", keys=sources, summary=False)
    except KeyError:  # what was another fit's, and released, is gone; ours is on its way
        return None
    return Held(found, [n_bytes[key] for key in sources])


def with_runs(waiting: Waiting, rows: Joined, blocks: Sequence[range]) -> Sequence:
    """The same blocks of chunks, in which the small ones that one worker holds are a `Run`.

    The scheduler spends more time on a task than such a chunk takes.
    """
    if rows.n_chunks == len(blocks):
        return blocks
    held = _held(waiting, rows, _sources(waiting.client, rows))
    return blocks if held is None else [_in_runs(block, held) for block in blocks]


def _in_runs(block, held):
    chunks: dict[str, list] = {}
    for chunk in block:
        chunks.setdefault(held.workers[chunk], []).append(chunk)
    return [
        Run(run, worker) if len(run) > 1 else run[0]
        for worker, of_worker in chunks.items()
        for run in _in_room(of_worker, held, _RUN_BYTES)
    ]


def _in_room(chunks, held, room):
    """The same chunks in parts of at most so many bytes, or of one chunk."""
    parts: list[list[int]] = []
    left = 0.0
    for chunk in chunks:
        left -= held.n_bytes[chunk]
        if left < 0 or not parts:
            parts.append([])
            left = room - held.n_bytes[chunk]
        parts[-1].append(chunk)
    return parts


def _source(graph, key, futures):
    found, keys = set(), [key]
    while keys:
        key = keys.pop()
        if key not in graph or key in futures:
            found.add(key)
        elif passes_on(graph[key]):
            keys += keys_before(graph[key])
        else:
            return None  # computed, in each pass
    return found.pop() if len(found) == 1 else None


def in_chains(
    waiting: Waiting, n_chunks: int, held: Held | None, room: float, at_once: int = 1
) -> list[Chain]:
    """The chunks in chains, one for each thread.

    Parameters
    ----------
    held, room
        Of a `Reading`. Where chunks are in memory, a chain is of one worker's, and few tasks;
        else it is of neighbours, and a task of `at_once`.
    """
    threads = waiting.ask("ncores")
    if held is None:
        n_chains = min(n_chunks, max(1, sum(threads.values())))
        edges = np.linspace(0, n_chunks, n_chains + 1).astype(int)
        chains = ([*range(start, stop)] for start, stop in pairwise(edges))
        return [
            Chain([chain[i : i + at_once] for i in range(0, len(chain), at_once)], None)
            for chain in chains
        ]
    found = []
    for worker in dict.fromkeys(held.workers):
        chunks = [chunk for chunk, holder in enumerate(held.workers) if holder == worker]
        n_chains = min(max(1, threads.get(worker, 1)), len(chunks))
        of_chains = (chunks[first::n_chains] for first in range(n_chains))
        found += [Chain(_in_room(of_chain, held, room), worker) for of_chain in of_chains]
    return found


def fits_in_memory(waiting: Waiting, rows: Joined) -> bool:
    """Whether the chunks of X may fit in the workers' memory; true where nobody knows."""
    limits = [worker["memory_limit"] for worker in _workers(waiting)]
    X = rows.parts[0]
    n_bytes = rows.n_rows * rows.n_features * X.dtype.itemsize
    is_dense = X.is_frame or isinstance(X.values._meta, np.ndarray)
    known = n_bytes == n_bytes and all(limits) and is_dense
    return not known or n_bytes < 0.5 * sum(limits)


def _workers(waiting):
    """What the scheduler says of each worker."""
    from distributed import Scheduler

    # distributed 2025.1 knows no other answer than that of all workers.
    of_all = {"n_workers": -1} if "n_workers" in signature(Scheduler.identity).parameters else {}
    return waiting.ask("identity", **of_all)["workers"].values()
