"""The tasks of a graph: all that is known here of `dask._task_spec`.

Dask has nothing public in its stead. Tuples of a function and its arguments, which it still
takes, cannot tell a task from an argument that is a tuple, nor name a key that only the
scheduler has; and a pass over rows in memory takes the tasks that make a chunk out of their
graph, to call them in one of its own. `tests/test_tasks.py` fails if dask changes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from dask._task_spec import Alias, DataNode, GraphNode, Task, TaskRef, convert_legacy_graph
from dask.typing import Key


def new_task(key: Key, function: Callable, *args: Any) -> Task:
    """The task that calls ``function(*args)``, with results for those that are of `result`."""
    return Task(key, function, *args)


def result(key: Key) -> TaskRef:
    """An argument that is the result of another task."""
    return TaskRef(key)


def tasks_of(graph: Any) -> dict[Key, GraphNode]:
    """The tasks of a graph, those of all its layers."""
    return convert_legacy_graph(dict(graph))


def take_out(graph: dict, key: Key) -> GraphNode:
    """The task that computes `key`, which leaves `graph`; another's where it is but its name."""
    node = graph.pop(key)
    while isinstance(node, Alias):
        node = graph.pop(node.target)
    return node


def keys_before(node: GraphNode) -> Iterable[Key]:
    """Keys of the results that a task takes, none for what is no task."""
    return getattr(node, "dependencies", ())


def call(node: GraphNode, results: dict[Key, Any]) -> Any:
    """What a task computes from the results that it takes."""
    return node(results)


def data_in(node: GraphNode) -> Any:
    """The value that lies in the graph in place of a task; None of a task."""
    return node() if isinstance(node, DataNode) else None


def is_alias(node: GraphNode) -> bool:
    """Whether a task is another's, under another name."""
    return isinstance(node, Alias)


def passes_on(node: GraphNode) -> bool:
    """Whether a task is data, or made of others' results."""
    return isinstance(node, DataNode) or bool(node.dependencies)


def rename_aliases(graph: dict) -> None:
    """Give aliases the keys under which they stand, which dask forgets now and then."""
    for key, node in graph.items():
        if isinstance(node, Alias) and node.key != key:  # from_delayed(verify_meta=False)
            graph[key] = Alias(key, node.target)
