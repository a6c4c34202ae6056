"""What the package relies on of dask tasks, which are not public: it shows here if they change."""

import dask
import dask.array as da
import numpy as np
import pytest
from dask.highlevelgraph import HighLevelGraph

from dask_lasso.places.tasks import (
    call,
    data_in,
    keys_before,
    new_task,
    passes_on,
    rename_aliases,
    result,
    take_out,
    tasks_of,
)


def test_tasks_run_with_results_and_arguments_of_any_kind():
    # A tuple of a function, and one that is a key, are arguments as any others.
    layer = {("a", 0): new_task(("a", 0), tuple, (1, 2))}
    layer["b"] = new_task("b", lambda *args: args, result(("a", 0)), (len, "a"), ("a", 0), None)
    graph = HighLevelGraph({"tasks": layer}, {"tasks": set()})
    assert dask.get(graph, "b") == ((1, 2), (len, "a"), ("a", 0), None)
    assert list(keys_before(layer["b"])) == [("a", 0)]
    assert call(layer["b"], {("a", 0): "found"})[0] == "found"


def test_results_of_which_only_the_scheduler_knows():
    assert list(keys_before(new_task("b", len, result(("elsewhere", 3))))) == [("elsewhere", 3)]


def test_tasks_of_older_graphs():
    values = np.arange(3)
    graph = tasks_of({("x", 0): values, "same": ("x", 0), "sum": (np.sum, "same")})
    assert data_in(graph["x", 0]) is values
    assert passes_on(graph["x", 0])
    assert data_in(graph["sum"]) is None
    assert passes_on(graph["sum"])
    assert not passes_on(tasks_of({"alone": (dict,)})["alone"])
    assert call(graph["sum"], {"same": values}) == 3
    assert data_in(take_out(graph, "same")) is values  # through an alias
    assert set(graph) == {"sum"}
    assert list(keys_before(values)) == []


@pytest.mark.parametrize("persisted", [False, True])
def test_tasks_of_arrays(persisted):
    array = da.ones((4, 2), chunks=(2, 2)) + 1
    (array,) = dask.persist(array) if persisted else dask.optimize(array)
    graph = tasks_of(array.__dask_graph__())
    node = take_out(graph, (array.name, 1, 0))
    assert passes_on(node) is persisted
    assert (call(node, {}) == 2).all()


def test_aliases_get_the_keys_under_which_they_stand():
    graph = tasks_of({"a": 1, "b": "a"})
    misplaced = {"a": graph["a"], "c": graph["b"]}
    rename_aliases(misplaced)
    assert misplaced["c"].key == "c"
    assert dask.get(misplaced, "c") == 1
