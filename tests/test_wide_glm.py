"""Losses of a mean with more columns than a Gram matrix should have: working sets."""

from __future__ import annotations

import warnings
from itertools import pairwise

import dask.array as da
import numpy as np
import pytest
from datasets import LIBRARIES
from scipy import sparse
from scipy.special import expit, log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from test_glm import coefficients, model_of, objective, sklearn_version, violation

from dask_lasso import (
    AsyncElasticNetRegressor,
    AsyncLassoRegressor,
    AsyncLogisticRegression,
    AsyncLogisticRegressionCV,
)
from dask_lasso.places.memory import InMemory
from dask_lasso.solvers import width

N, K = 240, 300
ALPHA = 0.04


def rows(loss="logistic", n=N, k=K, density=0.4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, k)) * rng.uniform(0.5, 2, k) + 0.2
    X[rng.random(X.shape) > density] = 0.0
    eta = X[:, :8] @ np.linspace(-0.8, 0.8, 8)
    mean = np.exp(np.clip(eta, -3, 2))
    y = {
        "logistic": lambda: (rng.random(n) < expit(2 * eta)).astype(float),
        "poisson": lambda: rng.poisson(mean).astype(float),
        "gamma": lambda: rng.gamma(2.0, mean / 2) + 1e-3,
        "tweedie": lambda: rng.poisson(mean) * rng.gamma(2.0, 0.5, size=n),
        "classes": lambda: (eta[:, None] * [-1, 0, 1] + rng.gumbel(size=(n, 3))).argmax(axis=1),
    }[loss]()
    return X, y


def chunked(array, size=50):
    return da.from_array(array, chunks=(size,) + (-1,) * (array.ndim - 1), asarray=False)


@pytest.fixture
def wide(monkeypatch):
    """A few columns are many."""
    monkeypatch.setattr(width, "MAX_GRAM", 20)


def uneven(zeros=()):
    weights = np.random.default_rng(2).uniform(0.5, 2.0, K)
    weights[list(zeros)] = 0.0
    return weights


FREE = dict(penalty_weights=uneven(zeros=(0, 9, 250)))
# Beside those of test_routes.py.
PROBLEMS = [
    *(("classes", settings) for settings in ({}, dict(fit_intercept=False), FREE)),
    ("classes", dict(l1_ratio=0.6)),
    *((loss, FREE) for loss in ("logistic", "poisson")),
    *((loss, {}) for loss in ("gamma", "tweedie")),
]


def fits(loss, **settings):
    kind = "logistic" if loss == "classes" else loss
    return model_of(kind, **{"alpha": ALPHA, **settings})


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(("loss", "settings"), PROBLEMS)
def test_it_is_what_the_gram_of_all_columns_gives(loss, settings, kind, monkeypatch):
    X, y = rows(loss)
    weights = np.random.default_rng(1).uniform(0, 2, N)
    every = fits(loss, **settings).fit(X, y, weights)
    monkeypatch.setattr(width, "MAX_GRAM", 20)
    model = fits(loss, **settings).fit(kind(X), y, weights)
    np.testing.assert_allclose(model.coef_, every.coef_, rtol=0, atol=2e-8)
    np.testing.assert_allclose(model.intercept_, every.intercept_, rtol=0, atol=2e-8)
    assert 0 < np.count_nonzero(model.coef_) < model.coef_.size
    assert model.dual_gap_ <= 1e-12
    assert model.n_passes_ <= 12


def test_offset_and_several_targets(wide, monkeypatch):
    X, y = rows("poisson")
    offset = np.random.default_rng(1).normal(size=N)
    Y = np.column_stack([y, y[::-1]])
    model = fits("poisson").fit(X, y, offset=offset)
    both = fits("poisson").fit(X, Y)
    monkeypatch.setattr(width, "MAX_GRAM", K)
    every = fits("poisson").fit(X, y, offset=offset)
    np.testing.assert_allclose(model.coef_, every.coef_, rtol=0, atol=1e-8)
    np.testing.assert_allclose(both.coef_, fits("poisson").fit(X, Y).coef_, rtol=0, atol=1e-8)


def test_columns_far_from_zero_of_which_the_first_chunk_has_none(thread_workers, wide):
    """Sums are about a point near the means, and rows have to tell which."""
    X, y = rows()
    X[:, :4] += 1e6
    expected = fits("logistic", standardize=True).fit(X, y)
    sizes = (0, 3, N - 3)
    edges = np.cumsum((0, *sizes))
    blocks = {
        ("far", i, 0): sparse.csr_array(X[start:stop])
        for i, (start, stop) in enumerate(pairwise(edges.tolist()))
    }
    there = da.Array(blocks, "far", (sizes, (K,)), meta=sparse.csr_array((0, 0)))
    there, targets = thread_workers.persist([there, da.from_array(y, chunks=(sizes,))])
    model = fits("logistic", standardize=True, client=thread_workers).fit(there, targets)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=0, atol=1e-6)


@pytest.mark.parametrize("place", ["memory", "threads"])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array, sparse.csc_array])
def test_classes_at_every_place_and_of_every_collection(kind, place, request, wide):
    X, y = rows("classes")
    expected = fits("classes").fit(X, y)
    model, arrays = fits("classes"), (kind(X), y)
    if place == "threads":
        client = request.getfixturevalue("thread_workers")
        model.client = client
        blocks = chunked(sparse.csr_array(X) if kind is not np.asarray else X)
        arrays = client.persist([blocks.map_blocks(kind, meta=kind(X[:0])), chunked(y)])
    model.fit(*arrays)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=0, atol=1e-8)
    np.testing.assert_allclose(model.intercept_, expected.intercept_, rtol=0, atol=1e-8)
    assert model.n_samples_seen_ == N


@pytest.mark.slow
@LIBRARIES
def test_chunks_of_other_libraries(library, wide):
    X, y = rows()
    library(X[:1])
    there = chunked(X).map_blocks(library, dtype=float, meta=np.empty((0, 0)))
    with pytest.warns(UserWarning, match="persist"):
        model = fits("logistic").fit(there, chunked(y))
    np.testing.assert_allclose(model.coef_, fits("logistic").fit(X, y).coef_, atol=1e-8)


@pytest.mark.parametrize("loss", ["logistic", "classes"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_warm_start_takes_fewer_passes(loss, fit_intercept, wide):
    X, y = rows(loss)
    X[:, :2] += 3.0
    settings = dict(alpha=0.02, fit_intercept=fit_intercept)
    cold = AsyncLogisticRegression(**settings).fit(X, y)
    model = AsyncLogisticRegression(**settings, warm_start=True).fit(X, y).fit(X, y)
    assert model.n_passes_ <= cold.n_passes_ - 2
    np.testing.assert_allclose(model.coef_, cold.coef_, rtol=0, atol=1e-8)
    np.testing.assert_allclose(model.intercept_, cold.intercept_, rtol=0, atol=1e-8)


@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_a_warm_start_that_is_far_out_is_no_defect_of_y(loss, wide):
    X, y = rows(loss)
    cold = fits(loss).fit(X, y)
    model = fits(loss, warm_start=True).fit(X, y)
    model.coef_ = model.coef_ * 1e3
    model.fit(X, y)
    np.testing.assert_allclose(model.coef_, cold.coef_, rtol=0, atol=1e-7)


def test_it_is_scikit_learns(wide):
    X, y = rows()
    named = {} if sklearn_version >= (1, 8) else {"penalty": "l1"}
    settings = dict(solver="saga", tol=1e-12, max_iter=10**6, C=1 / (N * ALPHA), l1_ratio=1)
    exact = LogisticRegression(**named, **settings).fit(X, y)
    model = fits("logistic").fit(X, y)
    np.testing.assert_allclose(model.coef_, exact.coef_, rtol=0, atol=1e-6)
    np.testing.assert_allclose(model.intercept_, exact.intercept_, rtol=0, atol=1e-6)


@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
@pytest.mark.parametrize("loss", ["logistic", "poisson", "gamma"])
def test_the_gap_is_never_below_the_excess(loss, l1_ratio, wide):
    """At every estimate of a fit, in extended precision on the raw rows."""
    X, y = rows(loss, seed=1)
    weights = np.random.default_rng(1).integers(0, 3, size=N).astype(float)
    settings = dict(alpha=ALPHA / 4, l1_ratio=l1_ratio)
    least, largest, n_finite = np.inf, -np.inf, 0
    for n_passes in range(2, 16):
        model = model_of(loss, **settings, max_iter=n_passes, tol=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, y, weights)
        found = objective(loss, X, y, *coefficients(model), **settings, weights=weights)
        least = min(least, found)
        largest = max(largest, found - model.dual_gap_)
        n_finite += np.isfinite(model.dual_gap_)
    assert largest <= least + 1e-14
    assert n_finite > 5


def test_the_gap_of_several_classes(wide):
    X, y = rows("classes")
    least, largest = np.inf, -np.inf
    for n_passes in range(2, 12):
        model = AsyncLogisticRegression(ALPHA / 2, max_iter=n_passes, tol=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, y)
        eta = X.astype(np.longdouble) @ model.coef_.T + model.intercept_
        loss = -log_softmax(eta, axis=1)[np.arange(N), y].mean()
        found = loss + ALPHA / 2 * np.abs(model.coef_).sum()
        least, largest = min(least, found), max(largest, found - model.dual_gap_)
    assert largest <= least + 1e-14
    assert model.dual_gap_ < 1e-10


def test_a_hundred_thousand_sparse_columns():
    rng = np.random.default_rng(0)
    n, k, per_row = 2000, 100_000, 30
    columns = (k ** rng.random((n, per_row))).astype(np.int32) - 1
    X = sparse.csr_array(
        (rng.random(n * per_row), columns.ravel(), np.arange(0, n * per_row + 1, per_row)), (n, k)
    )
    X.sum_duplicates()
    eta = X[:, :200] @ rng.normal(size=200)
    y = (rng.random(n) < expit(eta - eta.mean())).astype(float)
    alpha = 0.1 * np.abs(X.T @ (y - y.mean())).max() / n
    model = AsyncLogisticRegression(alpha).fit(X, y)
    assert violation("logistic", X, y, *coefficients(model), alpha=alpha) <= 1e-6
    assert 1 < np.count_nonzero(model.coef_) < 500
    assert model.n_passes_ <= 10
    model.set_params(alpha=2 * alpha, warm_start=True).fit(X, y)
    again = AsyncLogisticRegression(2 * alpha).fit(X, y)
    np.testing.assert_allclose(model.coef_, again.coef_, rtol=0, atol=1e-8)


def test_columns_that_are_constant_or_copies(wide):
    X, y = rows()
    expected = fits("logistic").fit(X, y)
    X = np.column_stack([X, X[:, :40], np.full(N, 7.0), np.zeros(N)])
    for kind in (np.asarray, sparse.csr_array):
        model = fits("logistic").fit(kind(X), y)
        coef = model.coef_[0]
        assert not coef[-2:].any()
        coef[:40] += coef[K : K + 40]
        np.testing.assert_allclose(coef[:K], expected.coef_[0], rtol=0, atol=1e-6)
        assert model.dual_gap_ <= 1e-10


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0.0, 7.0])
@pytest.mark.parametrize("n_many", [20, K])
def test_a_column_without_variation_and_without_a_penalty(value, n_many, monkeypatch):
    X, y = rows()
    weights = uneven(zeros=(0, 9))
    monkeypatch.setattr(width, "MAX_GRAM", n_many)
    X[:, [0, 9]] = value, 0.0
    for kind in (np.asarray, sparse.csr_array):
        model = fits("logistic", penalty_weights=weights).fit(kind(X), y)
        assert not model.coef_[0, [0, 9]].any()
        assert model.dual_gap_ <= 1e-12


# -- limits and defects ------------------------------------------------------------------


@pytest.mark.parametrize("place", ["memory", "threads"])
@pytest.mark.parametrize(
    ("loss", "spoil", "match"),
    [
        ("poisson", -1.0, r"y has negative values.*row 177"),
        ("gamma", 0.0, r"y has values that are not positive.*row 177"),
    ],
)
def test_targets_that_a_loss_does_not_know(loss, spoil, match, place, request, wide):
    X, y = rows(loss)
    y[177] = spoil
    model, arrays = fits(loss), (X, y)
    if place == "threads":
        model.client = request.getfixturevalue("thread_workers")
        arrays = model.client.persist([chunked(X), chunked(y)])
    with pytest.raises(ValueError, match=f"Input {match}"):
        model.fit(*arrays)
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize("n_passes", [0, 1, 4])
def test_out_of_time(n_passes, wide, monkeypatch):
    X, y = rows()
    done, in_time = [], InMemory.reduce

    def reduce(self, *args, **options):
        done.append(args[0].__name__)
        if len(done) > n_passes:
            self.deadline = 0.0
        return in_time(self, *args, **options)

    monkeypatch.setattr(InMemory, "reduce", reduce)
    model = fits("logistic", max_time=1e6)
    if n_passes < 3:  # the first estimate, a look at all columns, and a pass
        with pytest.raises(TimeoutError, match="max_time"):
            model.fit(X, y)
        assert not hasattr(model, "coef_")
        return
    with pytest.warns(ConvergenceWarning, match="max_time"):
        model.fit(X, y)
    assert model.coef_.any()


def test_a_callback_ends_a_fit(wide):
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9 and later")
    X, y = rows()

    class Stop(callback.FitCallback if hasattr(callback, "FitCallback") else object):
        def setup(self, estimator, context): ...
        def teardown(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context): ...
        def on_fit_task_end(self, estimator, context, **_):
            return True

    model = fits("logistic").set_callbacks(Stop()).fit(X, y)
    assert model.n_passes_ == 2


def test_without_an_l1_term_columns_are_limited(monkeypatch):
    monkeypatch.setattr(width, "MAX_GRAM", 20)
    monkeypatch.setattr(width, "MAX_MOMENTS", 100)
    X, y = rows()
    for model in (
        AsyncLogisticRegression(l1_ratio=0),
        AsyncLogisticRegression(penalty_weights=np.zeros(K)),
        AsyncElasticNetRegressor(loss="poisson", l1_ratio=0),
    ):
        if model.__dict__.get("penalty_weights") is not None:
            monkeypatch.setattr("dask_lasso.solvers.newton_columns._MOST_FREE", 50)
        with pytest.raises(ValueError, match=rf"X has {K} columns.*l1_ratio > 0"):
            model.fit(X, y)
    X, y = rows("classes")
    with pytest.raises(ValueError, match=rf"X has {K} columns and y 3 classes.*OneVsRest"):
        AsyncLogisticRegression(l1_ratio=0).fit(X, y)
    OneVsRestClassifier(AsyncLogisticRegression(ALPHA)).fit(X, y)


def test_more_columns_than_a_set_may_have(wide, monkeypatch):
    monkeypatch.setattr("dask_lasso.solvers.newton_columns.MAX_MOMENTS", 140)
    X, y = rows("gamma")
    with pytest.warns(ConvergenceWarning, match="most columns that a working set may have"):
        model = AsyncLassoRegressor(1e-4, loss="gamma").fit(X, y)
    assert model.coef_.any()


@pytest.mark.slow
def test_a_choice_of_alpha_is_the_same_on_both_sides_of_the_border(monkeypatch):
    X, y = rows()
    every = AsyncLogisticRegressionCV(alphas=5, cv=3, eps=0.1).fit(X, y)
    monkeypatch.setattr(width, "MAX_GRAM", 20)
    model = AsyncLogisticRegressionCV(alphas=5, cv=3, eps=0.1).fit(X, y)
    np.testing.assert_allclose(model.deviance_path_, every.deviance_path_, rtol=1e-9)
    np.testing.assert_allclose(model.coef_, every.coef_, rtol=0, atol=1e-8)
