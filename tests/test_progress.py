"""How far a fit is: printed, in a bar, on the dashboard, to callbacks; while it goes on."""

from __future__ import annotations

import re
import sys
import threading

import dask.array as da
import numpy as np
import pytest
from distributed import secede
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.utils import key_split

from dask_lasso import AsyncLassoCV, AsyncLassoRegressor, AsyncLogisticRegression, lasso_path
from dask_lasso.estimators import progress
from dask_lasso.places.input import Given, open_rows

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


def test_the_bar_of_a_score_ends_with_all_rows(thread_workers, capsys):
    pytest.importorskip("rich", reason="the bar is rich's")
    rows, target = on_dask(X), on_dask(y)
    kept = rows[:, 0] > -np.inf  # of which dask does not know how many there are
    model = AsyncLassoRegressor(0.1, verbose=2, client=thread_workers)
    model.fit(X, y).score(rows[kept], target[kept])
    *_, shown = capsys.readouterr().out.split("score")
    assert "all rows" in shown


def test_without_rich_there_are_lines(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    AsyncLassoRegressor(0.1, verbose=2).fit(X, y)
    first, *rest = capsys.readouterr().out.splitlines()
    assert "begins with 400 rows, 6 columns" in first
    assert rest
    assert "objective" in rest[-1]


def test_in_a_notebook_without_widgets_there_are_lines(monkeypatch, capsys):
    console = pytest.importorskip("rich", reason="the bar is rich's").get_console()
    monkeypatch.setattr(console, "is_jupyter", True)
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    AsyncLassoRegressor(0.1, verbose=2).fit(X, y)
    assert "begins with 400 rows, 6 columns" in capsys.readouterr().out


@pytest.mark.slow
def test_a_notebook_has_the_bar_and_the_picture_of_an_estimator():
    for needed in ("ipykernel", "ipywidgets", "rich"):
        pytest.importorskip(needed, reason="what a notebook needs")
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    cells = [
        "from sklearn.datasets import load_diabetes; from dask_lasso import AsyncLassoRegressor\n"
        "model = AsyncLassoRegressor(0.1, verbose=2); model",
        "model.fit(*load_diabetes(return_X_y=True))",
    ]
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
    nbclient.NotebookClient(notebook, kernel_name="python3").execute()
    unfitted, fitted = (cell.outputs[-1]["data"]["text/html"] for cell in notebook.cells)
    assert "<span>Not fitted</span>" in unfitted
    assert "<span>Fitted</span>" in fitted
    widgets = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    shown = [
        str(widget["state"]["outputs"])
        for widget in widgets.values()
        if "outputs" in widget["state"]
    ]
    assert any("442 rows" in bar and "dual gap" in bar for bar in shown)


def test_something_is_said_before_a_row_is_read(capsys):
    def read(block):
        print("a chunk is read", flush=True)
        return block

    rows = on_dask(X).map_blocks(read, meta=np.empty((0, 0)))
    model = AsyncLassoRegressor(0.1, verbose=1).fit(rows, on_dask(y))
    lines = capsys.readouterr().out.splitlines()
    assert "begins with" in lines[0]
    assert lines[0].startswith("AsyncLassoRegressor: ")
    assert "a chunk is read" in lines
    model.score(on_dask(X), on_dask(y))
    assert capsys.readouterr().out.startswith("score: ")


FITTED = AsyncLassoRegressor(0.1).fit(X, y)
CLASSES = AsyncLogisticRegression(0.1).fit(X, y > 0)
COUNTS = AsyncLassoRegressor(0.1, loss="poisson").fit(X, np.abs(y))
READ = {
    **{name: (model.fit, rows, target) for name, (model, rows, target) in FITS.items()},
    "path": (lasso_path, X, y),
    "path of many columns": (lasso_path, WIDE, WIDE[:, 0]),
    "score": (FITTED.score, X, y),
    "score of classes": (CLASSES.score, X, y > 0),
    "score of counts": (COUNTS.score, X, np.abs(y)),
    "more rows": (AsyncLassoRegressor(0.1).partial_fit, X, y),
}


class Gate:
    """Opened when it was shown that a chunk has been read, without which the second is not."""

    was_shown = threading.Event()
    lock = threading.Lock()
    n_read = 0
    shown: list = []

    @classmethod
    def close(cls):
        cls.was_shown.clear()
        cls.shown, cls.n_read = [], 0

    @classmethod
    def show(cls, line):
        cls.shown.append(line)
        if re.search("(pass 1|a sample)", line) and " 0%" not in line:
            cls.was_shown.set()


def read(block):
    with Gate.lock:
        Gate.n_read += 1
        is_second = Gate.n_read == 2
    if is_second:
        secede()  # or what the first chunk is needed for might wait for this thread
        assert Gate.was_shown.wait(30)
    return block


@pytest.mark.parametrize(
    ("name", "verbose"), [*((name, 1) for name in READ), ("cross-validation", 2), ("score", 2)]
)
def test_what_has_been_read_is_shown_meanwhile(name, verbose, thread_workers, monkeypatch):
    def update(bar, task, completed=0.0, rows="", **fields):
        if completed:
            Gate.show(f"{completed:.0%} in {rows}")

    if verbose == 2:
        pytest.importorskip("rich", reason="the bar is rich's")
        monkeypatch.setattr("rich.progress.Progress.update", update)
    monkeypatch.setattr(progress.Progress, "_print", lambda self, line: Gate.show(line))
    for seconds in ("_OF_BAR", "_FIRST", "_LAST"):
        monkeypatch.setattr(progress, seconds, 0.01)
    Gate.close()
    function, rows, target = READ[name]
    rows, target = on_dask(rows).map_blocks(read, meta=np.empty((0, 0))), on_dask(target)
    options = {"client": thread_workers, "verbose": verbose}
    if function is lasso_path:
        lasso_path(rows, target, alphas=3, **options)
    else:
        model = function.__self__.set_params(**options)
        function(rows, target)
        model.set_params(client=None, verbose=0)
    assert Gate.was_shown.is_set()
    assert "dask-lasso-progress" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("n_blocks", [1, 3])
def test_how_much_of_memory_has_been_read(n_blocks):
    with open_rows(AsyncLassoRegressor(), Given(X, y), n_blocks=n_blocks) as place:
        assert place.reading() == (0, 0.0)
        place.merged_statistics()
        assert place.reading() == (1, 1.0)


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
    # What is not ours is dask's way to make these rows, and to select chunks for a sample.
    known = {"arange", "array", "getitem", "blocks", "finalize-hlgfinalizecompute", "finalize"}
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
