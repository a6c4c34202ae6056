"""How far a fit is: printed, in a bar, on the dashboard, to callbacks; while it goes on."""

from __future__ import annotations

import sys

import dask.array as da
import numpy as np
import pytest
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.utils import key_split

from dask_lasso import AsyncLassoCV, AsyncLassoRegressor, AsyncLogisticRegression

rng = np.random.default_rng(0)
X = rng.normal(size=(400, 6))
y = X[:, 0] + 0.1 * rng.normal(size=400)
WIDE = rng.normal(size=(60, 2100))

FITS = {
    "exact": (AsyncLassoRegressor(0.01), X, y),
    "ADMM": (AsyncLassoRegressor(0.01, polish=False, n_blocks=4), X, y),
    "raw rows": (AsyncLassoRegressor(0.01, local_solver="lbfgs"), X, y),
    "Newton": (AsyncLogisticRegression(0.01), X, y > 0),
    "many columns": (AsyncLassoRegressor(0.1), WIDE, WIDE[:, 0]),
    "cross-validation": (AsyncLassoCV(cv=2, alphas=5), X, y),
}


def on_dask(values):
    return da.from_array(values, chunks=(-(-len(values) // 4), *values.shape[1:]))


@pytest.mark.parametrize("name", FITS)
def test_a_bar_has_rows_objective_and_gap(name, capsys):
    pytest.importorskip("rich", reason="the bar is rich's")
    model, rows, target = FITS[name]
    model.set_params(verbose=2).fit(rows, target)
    shown = capsys.readouterr().out
    model.set_params(verbose=0)
    assert type(model).__name__ in shown
    assert f"{len(rows)} rows" in shown
    assert "objective" in shown
    assert "dual gap" in shown


def test_without_rich_there_are_lines(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    AsyncLassoRegressor(0.1, verbose=2).fit(X, y)
    first, *rest = capsys.readouterr().out.splitlines()
    assert "begins with 400 rows, 6 columns" in first
    assert rest
    assert "objective" in rest[-1]


def test_something_is_said_before_a_row_is_read(capsys):
    def read(block):
        print("a chunk is read", flush=True)
        return block

    rows = on_dask(X).map_blocks(read, meta=np.empty((0, 0)))
    AsyncLassoRegressor(0.1, verbose=1).fit(rows, on_dask(y))
    lines = capsys.readouterr().out.splitlines()
    assert "begins with" in lines[0]
    assert "a chunk is read" in lines


class _Names(SchedulerPlugin):
    def __init__(self):
        self.names = set()

    def transition(self, key, start, finish, *args, **kwargs):
        if finish == "processing":
            self.names.add(key_split(key))


@pytest.mark.parametrize("name", FITS)
def test_tasks_have_names_on_the_dashboard(name, thread_workers):
    model, rows, target = FITS[name]
    rows, target = thread_workers.persist([on_dask(rows), on_dask(target)])
    plugin = _Names()
    thread_workers.cluster.scheduler.add_plugin(plugin, name="names")
    try:
        model.set_params(client=thread_workers).fit(rows, target)
        model.predict(rows).compute(scheduler=thread_workers)
    finally:
        thread_workers.cluster.scheduler.remove_plugin("names")
        model.set_params(client=None)
    ours = {n for n in plugin.names if n.startswith("lasso-")}
    assert ours & {"lasso-statistics", "lasso-rows", "lasso-pass"}
    assert "lasso-predict" in ours
    # What is not ours is dask's way to make these rows.
    known = {"arange", "array", "getitem", "finalize-hlgfinalizecompute", "finalize"}
    others = plugin.names - ours - known
    assert not {n for n in others if not n.startswith("array-")}, others


def test_callbacks_see_the_history_so_far():
    pytest.importorskip("sklearn.callback", reason="scikit-learn < 1.9 has no callbacks")
    seen = []

    class Looks:
        def setup(self, estimator, context): ...
        def teardown(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context): ...

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            if context.task_name == "estimate":
                seen.append(fitted_estimator.history_["objective"])

    model = AsyncLassoRegressor(0.1, n_blocks=4, engine="async").set_callbacks(Looks()).fit(X, y)
    assert [len(column) for column in seen] == list(range(1, len(model.history_["time"]) + 1))
    np.testing.assert_array_equal(seen[-1], model.history_["objective"])
