"""What is in the graphs of collections beside their tasks.

Futures, which belong to a Client, and annotations: which workers may run a task, with what
resources and priority, and how often it is tried.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import dask

# How often a task of ours is tried again.
_RETRIES = 2


def client_of(*collections, client=None):
    """The Client whose workers hold the futures in collections; None where there are none.

    Parameters
    ----------
    *collections
        Dask collections; anything else holds no futures.
    client : distributed.Client or None
        The Client to work on, where that is settled.

    Raises
    ------
    ValueError
        If no Client has all of them, or `client` is not of their cluster.
    """
    found = {}  # address of a scheduler -> one of its Clients
    for future in _futures(collections):
        # Of a future that came out of a pickle nobody knows where it was.
        owner = future.client
        if owner is not None and owner.scheduler is not None:
            found.setdefault(owner.scheduler.address, owner)
    if len(found) > 1:
        raise ValueError(
            "X, y and sample_weight were persisted on different clusters"
            f" ({', '.join(map(repr, found))}): persist all of them on one Client."
        )
    owner = next(iter(found.values()), None)
    if owner is None or client is None:
        return owner
    if client.scheduler is None or client.scheduler.address not in found:
        raise ValueError(
            f"client is {client!r}, but the data was persisted on {owner!r}: pass the Client it was"
            " persisted on, or client=None, which takes that one."
        )
    return client


def check_here(*collections):
    """Raise ValueError if collections hold futures of no Client of this process."""
    if any(future.client is None for future in _futures(collections)):
        raise ValueError(
            "X, y or sample_weight were persisted on a Client of another process, and this one has"
            " none: connect one to the same scheduler here, with distributed.Client(address), or"
            " fit in threads (joblib's backends 'threading' and 'dask')."
        )


def _futures(collections) -> Iterator:
    from distributed import Future

    for collection in collections:
        for values in _tables(collection):
            for value in values:
                if isinstance(value, Future):
                    yield value


def _tables(collection) -> Iterator:
    """The values of the parts of a collection's graph in which a future may be."""
    from dask.blockwise import Blockwise

    if hasattr(collection, "expr"):  # a data frame, whose graph is not made yet
        for node in collection.expr.walk():
            for operand in node.operands:
                if isinstance(operand, dict):
                    yield operand.values()
                elif hasattr(operand, "__dask_graph__") and not hasattr(operand, "walk"):
                    yield from _tables(operand)
        return
    graph = collection.__dask_graph__() if hasattr(collection, "__dask_graph__") else {}
    for layer in getattr(graph, "layers", {None: graph}).values():
        # These are made of functions alone, and may be many tasks.
        if not isinstance(layer, Blockwise):
            yield layer.values()


def optimised(array):
    """`dask.optimize` of an array, which keeps the annotations of what it is made of.

    Dask fuses layers of tasks, with their annotations, and then tasks, without. A fused
    layer has the most retries, priority and resources of its parts, on the workers that all
    of them name.
    """
    import dask.array as da
    from dask._task_spec import convert_legacy_graph
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
    layer = MaterializedLayer(convert_legacy_graph(dict(graph)), per_key(by_key(graph)))
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


def by_key(graph) -> dict:
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


def fused(*annotations) -> dict:
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
