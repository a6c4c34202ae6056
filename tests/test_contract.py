"""An estimator among others: scikit-learn's contract, and dask-ml's."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys

import dask.array as da
import numpy as np
import pytest
import sklearn
from datasets import load
from sklearn.base import clone
from sklearn.linear_model import Lasso
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator

from dask_lasso import AsyncLassoRegressor

X, y, _, ALPHA = load("diabetes")
SETTINGS = [
    {"engine": "sync"},
    {"engine": "async"},
    {"engine": "batched"},
    {"positive": True},
    {"polish": False},
]


def chunks(rows=60):
    return da.from_array(X, chunks=(rows, 4)), da.from_array(y, chunks=rows)


@pytest.mark.parametrize("params", SETTINGS)
def test_check_estimator(params):
    results = check_estimator(AsyncLassoRegressor(**params), on_skip=None)
    assert len(results) > 40
    assert not any(result["expected_to_fail"] for result in results)
    # That one needs a variable that SciPy reads when it is imported; see below.
    undone = {r["check_name"] for r in results if r["status"] != "passed"}
    assert undone <= {"check_array_api_input"}


@pytest.mark.slow
def test_check_estimator_with_array_api():
    code = f"""
from sklearn.utils.estimator_checks import check_estimator
from dask_lasso import AsyncLassoRegressor
for params in {SETTINGS!r}:
    for result in check_estimator(AsyncLassoRegressor(**params), on_skip=None):
        assert result["status"] == "passed", result
print("all passed")
"""
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "all passed", done.stderr


def test_pipeline_and_searches_equal_those_of_lasso():
    grid = {"regressor__alpha": [0.01, 0.1, 1.0]}
    scores = []
    for regressor in (AsyncLassoRegressor(), Lasso(tol=1e-10, max_iter=100_000)):
        pipeline = sklearn.pipeline.Pipeline(
            [("scale", StandardScaler()), ("regressor", regressor)]
        )
        search = GridSearchCV(pipeline, grid, cv=4).fit(X, y)
        scores.append(
            [
                search.cv_results_["mean_test_score"],
                cross_val_score(pipeline, X, y, cv=3),
                search.best_estimator_.score(X, y),
            ]
        )
    for ours, theirs in zip(*scores, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_clone_shares_the_client_and_a_pickle_lacks_it(client):
    model = AsyncLassoRegressor(0.5, engine="sync", client=client)
    copy = clone(model)
    assert copy is not model
    assert copy.client is client
    assert {**copy.get_params(), "client": None} == {**model.get_params(), "client": None}
    assert not hasattr(clone(model.fit(*chunks())), "coef_")
    back = pickle.loads(pickle.dumps(model))
    assert back.client is None
    assert model.client is client
    assert back.engine == "sync"
    np.testing.assert_array_equal(back.predict(X), model.predict(X))
    np.testing.assert_array_equal(back.fit(X, y).coef_ != 0, model.coef_ != 0)


def test_searches_with_a_client_given(client):
    search = GridSearchCV(AsyncLassoRegressor(client=client), {"alpha": [0.1, 1.0]}, cv=3)
    assert search.fit(X, y).best_estimator_.client is client


def test_repr_shows_changed_parameters():
    assert repr(AsyncLassoRegressor(0.1, engine="sync")) == (
        "AsyncLassoRegressor(alpha=0.1, engine='sync')"
    )
    assert "AsyncLassoRegressor" in AsyncLassoRegressor()._repr_html_()


def test_set_output_of_a_pipeline():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=[f"c{i}" for i in range(10)])
    pipeline = make_pipeline(StandardScaler(), AsyncLassoRegressor(ALPHA))
    pipeline.set_output(transform="pandas").fit(frame, y)
    assert pipeline[-1].feature_names_in_.tolist() == frame.columns.tolist()
    expected = make_pipeline(StandardScaler(), AsyncLassoRegressor(ALPHA)).fit(X, y)
    np.testing.assert_allclose(pipeline.predict(frame), expected.predict(X))


def test_tags_and_feature_names():
    tags = get_tags(AsyncLassoRegressor())
    assert tags.estimator_type == "regressor"
    assert tags.input_tags.sparse
    assert tags.target_tags.multi_output
    assert tags.target_tags.required
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X[:, :3], columns=["a", "b", "c"])
    model = AsyncLassoRegressor(ALPHA).fit(frame, y)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    assert model.n_features_in_ == 3
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["b", "a", "c"]])
    assert not hasattr(AsyncLassoRegressor(ALPHA).fit(X, y), "feature_names_in_")
    assert not hasattr(model.fit(X, y), "feature_names_in_")  # a refit forgets them


class TestDaskML:
    """The same in dask-ml, on dask arrays."""

    @pytest.fixture(autouse=True)
    def _dask_ml(self):
        pytest.importorskip("dask_ml")

    def test_pipeline(self, client):
        from dask_ml.preprocessing import StandardScaler as DaskScaler

        expected = make_pipeline(StandardScaler(), Lasso(ALPHA, tol=1e-12)).fit(X, y)
        X_dask, y_dask = chunks()
        X_dask = X_dask.rechunk({1: -1})
        with client.as_current():
            pipeline = make_pipeline(DaskScaler(), AsyncLassoRegressor(ALPHA))
            pipeline.fit(X_dask, y_dask)
            np.testing.assert_allclose(pipeline[-1].coef_, expected[-1].coef_, rtol=1e-6)
            np.testing.assert_allclose(pipeline.predict(X_dask).compute(), expected.predict(X))
            assert pipeline.score(X_dask, y_dask) == pytest.approx(expected.score(X, y))

    def test_train_test_split(self, client):
        from dask_ml.model_selection import train_test_split

        with client.as_current():
            X_dask, y_dask = chunks()
            X_dask = X_dask.rechunk({1: -1})
            parts = train_test_split(X_dask, y_dask, test_size=0.25, random_state=0, shuffle=True)
            X_train, X_test, y_train, y_test = parts
            model = AsyncLassoRegressor(ALPHA).fit(X_train, y_train)
            in_memory = [part.compute() for part in parts]
            expected = Lasso(ALPHA, tol=1e-12).fit(in_memory[0], in_memory[2])
            np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6, atol=1e-6)
            assert model.score(X_test, y_test) == pytest.approx(
                expected.score(in_memory[1], in_memory[3]), rel=1e-6
            )

    @pytest.mark.parametrize("kind", ["numpy", "dask"])
    def test_grid_search(self, kind, client):
        from dask_ml.model_selection import GridSearchCV as DaskGridSearchCV

        data = (X, y) if kind == "numpy" else chunks()
        with client.as_current():
            search = DaskGridSearchCV(AsyncLassoRegressor(), {"alpha": [0.01, 0.1, 1.0]}, cv=3)
            search.fit(*data)
            assert search.best_params_["alpha"] in (0.01, 0.1)
            assert search.best_estimator_.coef_.shape == (10,)

    def test_parallel_post_fit(self, client):
        from dask_ml.wrappers import ParallelPostFit

        X_dask, y_dask = chunks()
        X_dask = X_dask.rechunk({1: -1})
        expected = Lasso(ALPHA, tol=1e-12).fit(X, y)
        for data in [(X, y), (X_dask, y_dask)]:
            with client.as_current():
                model = ParallelPostFit(AsyncLassoRegressor(ALPHA)).fit(*data)
                np.testing.assert_allclose(
                    model.predict(X_dask).compute(), expected.predict(X), rtol=1e-6
                )


class TestCallbacks:
    """scikit-learn's callbacks, 1.9 and later."""

    @pytest.fixture(autouse=True)
    def _callbacks(self):
        pytest.importorskip("sklearn.callback", reason="scikit-learn < 1.9 has no callbacks")

    @pytest.mark.parametrize("polish", [True, False])
    @pytest.mark.parametrize("kind", ["numpy", "dask"])
    def test_scoring_monitor(self, polish, kind, client):
        from sklearn.callback import ScoringMonitor

        monitor = ScoringMonitor(scoring="r2")
        model = AsyncLassoRegressor(ALPHA, polish=polish, n_blocks=4, client=client)
        model.set_callbacks(monitor)
        # A scorer of scikit-learn reads y in memory; X may be a dask array.
        model.fit(*(X, y) if kind == "numpy" else chunks())
        scores = [row["r2"] for row in monitor.get_logs().data if "r2" in row]
        # One per certificate, and one for the fit.
        assert len(scores) == len(model.history_["time"]) + 1
        assert scores[-1] == pytest.approx(model.score(X, y))

    def test_progress_bar(self):
        pytest.importorskip("rich", reason="scikit-learn's ProgressBar needs rich")
        from sklearn.callback import ProgressBar

        expected = AsyncLassoRegressor(ALPHA).fit(X, y)
        out, sys.stdout = sys.stdout, io.StringIO()
        try:
            model = AsyncLassoRegressor(ALPHA).set_callbacks(ProgressBar()).fit(X, y)
            shown = sys.stdout.getvalue()
        finally:
            sys.stdout = out
        assert "AsyncLassoRegressor" in shown
        np.testing.assert_array_equal(model.coef_, expected.coef_)

    def test_callback_that_stops_the_fit(self):
        class Enough:
            def setup(self, estimator, context): ...
            def teardown(self, estimator, context): ...
            def on_fit_task_begin(self, estimator, context): ...

            def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
                return context.task_name == "estimate" and context.task_id >= 2

        model = AsyncLassoRegressor(ALPHA, polish=False, n_blocks=4, engine="sync", tol=1e-12)
        full = len(clone(model).fit(X, y).history_["time"])
        model.set_callbacks(Enough()).fit(X, y)
        assert len(model.history_["time"]) < full

    def test_callbacks_of_a_search(self):
        from sklearn.callback import ScoringMonitor

        monitor = ScoringMonitor(scoring="r2")
        model = AsyncLassoRegressor().set_callbacks(monitor)
        GridSearchCV(model, {"alpha": [0.1, 1.0]}, cv=2).fit(X, y)
        assert monitor.get_logs()
