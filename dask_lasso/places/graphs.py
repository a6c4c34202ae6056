"""The graphs of a fit: blocks of chunks, and the annotations that tasks keep.

Which workers may run a task, with what resources and priority, and how often it is tried.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import dask

from .tasks import call, keys_before, new_task, result, take_out, tasks_of

# How often a task of ours is tried again.
_RETRIES = 2
# More statistics than this at once make one merge task too large a message.
_AT_ONCE = 32
# As many are kept within a task that finds one after the other.
_FOUND_AT_ONCE = 8


def optimised(array: Any) -> Any:
    """`dask.optimize` of an array, which keeps the annotations of what it is made of.

    Dask fuses layers of tasks, with their annotations, and then tasks, without. A fused
    layer has the most retries, priority and resources of its parts, on the workers that all
    of them name.
    """
    import dask.array as da
    from dask.blockwise import optimize_blockwise
    from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

    graph = array.__dask_graph__()
    if not any(layer.annotations for layer in graph.layers.values()):
        return dask.optimize(array)[0]
    keys = list(dask.core.flatten(array.__dask_keys__()))
    graph = _with_lists_of_workers(graph)
    if _can_be_fused(graph):
        graph = optimize_blockwise(graph, keys=keys)
    graph = graph.cull(set(keys))
    layer = MaterializedLayer(tasks_of(graph), per_key(by_key(graph)))
    graph = HighLevelGraph({array.name: layer}, {array.name: set()})
    return da.Array(graph, array.name, array.chunks, meta=array._meta)


def _with_lists_of_workers(graph):
    """The same graph; dask would fuse the letters of a worker's name."""
    layers = dict(graph.layers)
    for name, layer in layers.items():
        if isinstance((layer.annotations or {}).get("workers"), str):
            layers[name] = layer = copy.copy(layer)
            layer.annotations = {**layer.annotations, "workers": [layer.annotations["workers"]]}
    return type(graph)(layers, graph.dependencies)


def _can_be_fused(graph) -> bool:
    """Whether fused layers can have the annotations of all of their parts."""
    found = [layer.annotations or {} for layer in graph.layers.values()]
    if any(callable(value) for annotations in found for value in annotations.values()):
        return False
    workers = [set(annotations["workers"]) for annotations in found if "workers" in annotations]
    return not workers or bool(set.intersection(*workers))


def by_key(graph: Any) -> dict:
    """The annotations of the tasks of an optimised array's graph that have any."""
    found = {}
    for layer in graph.layers.values():
        for key in layer if layer.annotations else ():
            of_task = {
                name: value(key) if callable(value) else value
                for name, value in layer.annotations.items()
            }
            found[key] = {name: value for name, value in of_task.items() if value is not None}
    return found


def fused(*annotations: dict) -> dict:
    """Those of one task that does the work of several."""
    from dask.blockwise import _fuse_annotations

    return _fuse_annotations(*annotations)


def per_key(annotations: dict) -> dict:
    """Annotations of a layer in which each task has its own, from those `by_key`."""
    names = {name for of_task in annotations.values() for name in of_task}
    return {
        name: {key: of_task[name] for key, of_task in annotations.items() if name in of_task}.get
        for name in names
    }


def retries() -> int:
    """How often a task of a fit is tried again, unless its own annotations say."""
    return max(_RETRIES, dask.get_annotations().get("retries", 0))


def merge_tree(keys: list, at_once: int, end: int, add: Callable[[list], Any]) -> list:
    """Merge `at_once` neighbours with ``add(keys)``, until `end` or fewer are left."""
    while len(keys) > end:
        keys = [add(keys[i : i + at_once]) for i in range(0, len(keys), at_once)]
    return keys


class Run(NamedTuple):
    """Chunks of one block that a worker holds, and that one task takes."""

    chunks: list[int]
    worker: str


def blocks_of(
    found: Any, blocks: Sequence[Sequence[int | Run]], merge: Callable, at_once: int = _AT_ONCE
) -> list:
    """What was found of the chunks of every block, merged: one `Delayed` each.

    Where dask can, it fuses the tasks that produce a chunk with that of what is found.

    Parameters
    ----------
    found : dask Array of shape (n_chunks, 1)
        Of one object for each chunk, as `Joined.each` makes it.
    blocks : sequence of sequences
        The chunks of each block, in the order in which they are merged: numbers, or a `Run`
        for some of them.
    merge : callable
        Of a sequence of these objects, at most `at_once`; not called for blocks of one chunk.
    """
    from dask.delayed import Delayed
    from dask.highlevelgraph import HighLevelGraph

    found = optimised(found)
    runs = [part for block in blocks for part in block if isinstance(part, Run)]
    if runs:
        found = _in_runs(found, runs, merge)
    name = "lasso-merge-" + found.name.rsplit("-", 1)[1]
    layer: dict = {}
    keys: list = []
    for number, block in enumerate(blocks):

        def add(parts, number=number):
            key = (name, len(blocks), number, len(layer))
            layer[key] = new_task(key, _of_list, merge, *map(result, parts))
            return key

        keys += merge_tree([key_of(found, part) for part in block], at_once, 1, add)
    graph = HighLevelGraph.from_collections(name, layer, dependencies=[found])
    return [Delayed(key, graph, layer=key[0]) for key in keys]


def key_of(found: Any, part: int | Run) -> tuple:
    """Of the task of a chunk, or of a `Run`."""
    # As long as no fit can mistake the same chunks in another order for these.
    return (found.name, "+".join(map(str, part.chunks)) if isinstance(part, Run) else int(part), 0)


def _in_runs(found, runs, merge):
    """The same, with one task for the chunks of each run."""
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

    graph, annotations = tasks_of(found.dask), by_key(found.dask)
    for run in runs:
        key, chunks = key_of(found, run), [key_of(found, chunk) for chunk in run.chunks]
        where = at_home(run.worker, [annotations.pop(chunk, {}) for chunk in chunks])
        nodes = [take_out(graph, chunk) for chunk in chunks]
        needed = list(dict.fromkeys(before for node in nodes for before in keys_before(node)))
        # Within a partial, dask does not take the tasks for arguments.
        task = partial(_run, nodes, needed, merge)
        graph[key], annotations[key] = new_task(key, task, *map(result, needed)), where
    layer = MaterializedLayer(graph, per_key(annotations))
    whole = HighLevelGraph({found.name: layer}, {found.name: set()})
    return da.Array(whole, found.name, found.chunks, meta=found._meta)


def at_home(worker: str, annotations: Sequence[dict]) -> dict:
    """Annotations of the task of several chunks that are in a worker's memory."""
    # The scheduler would move chunks to idle workers, for it takes SciPy's sparse arrays to
    # be a few bytes.
    home = {"workers": [worker], "allow_other_workers": True}
    own = fused(*annotations)
    return own if "workers" in own else {**own, **home}


def _run(nodes, needed, merge, *values):
    """What the tasks of a run find, merged as it is found: statistics may outweigh chunks."""
    results = dict(zip(needed, values, strict=True))
    found: list = []
    for node in nodes:
        found.append(call(node, results))
        if len(found) == _FOUND_AT_ONCE:
            found = [merge(found)]
    return merge(found)


def _of_list(function, *parts):
    return function(parts)
