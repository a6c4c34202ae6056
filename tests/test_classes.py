"""More than two classes through the softmax: the optimum, certified, at every place."""

from __future__ import annotations

from itertools import product

import dask.array as da
import numpy as np
import pytest
import sklearn
from conftest import assert_nothing_left
from scipy import sparse
from scipy.special import log_softmax, softmax
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import StandardScaler

from dask_lasso import AsyncLogisticRegression

sklearn_version = tuple(map(int, sklearn.__version__.split(".")[:2]))
ALPHA = 1e-2
PLACES = ["memory", "processes"]
SOME = [("iris", 0.5), ("wine", 0.0), ("digits", 1.0)]  # on worker processes, in a plain run


def rows(name):
    X, y = {"iris": load_iris, "wine": load_wine, "digits": load_digits}[name](return_X_y=True)
    if name == "digits":  # half of the pixels, without those of a few rows, which are copies
        X, y = X[:600, (np.count_nonzero(X[:600], axis=0) > 100)][:, ::2], y[:600]
    return StandardScaler().fit_transform(X), y


def fitted(model, X, y, place, client, *weights):
    arrays = [X, y, *weights]
    if place == "processes":
        model.client = client
        arrays = [da.from_array(a, chunks=(50,) + (-1,) * (a.ndim - 1)) for a in arrays]
    return model.fit(*arrays)


def objective(model, X, y, weights=None, l1_ratio=1.0, alpha=ALPHA):
    """In extended precision; y are codes."""
    wide = np.longdouble
    coef = model.coef_.astype(wide)
    eta = X.astype(wide) @ coef.T + model.intercept_
    loss = -log_softmax(eta, axis=1)[np.arange(len(y)), y]
    penalty = l1_ratio * np.abs(coef).sum() + (1 - l1_ratio) / 2 * (coef**2).sum()
    return np.average(loss, weights=weights) + alpha * penalty


def violation(model, X, y, weights=None, l1_ratio=1.0, alpha=ALPHA):
    """By how much the conditions of optimality are violated, in units of alpha."""
    weights = np.ones(len(y)) if weights is None else weights
    share = (weights / weights.sum())[:, np.newaxis]
    slope = share * (
        np.eye(len(model.classes_))[y] - softmax(X @ model.coef_.T + model.intercept_, 1)
    )
    correlation = slope.T @ X - alpha * (1 - l1_ratio) * model.coef_
    limit, size = alpha * l1_ratio, np.abs(correlation)
    on = model.coef_ != 0
    beside = np.where(on, np.abs(correlation - limit * np.sign(model.coef_)), size - limit)
    return max(beside.max(), np.abs(slope.sum(axis=0)).max() * model.fit_intercept) / alpha


@pytest.mark.parametrize(
    ("name", "l1_ratio", "place"),
    [
        pytest.param(
            *cell, marks=[pytest.mark.slow] * (cell[2] == "processes" and cell[:2] not in SOME)
        )
        for cell in product(["iris", "wine", "digits"], [1.0, 0.5, 0.0], PLACES)
    ],
)
def test_it_is_optimal_and_certified(name, l1_ratio, place, client):
    X, y = rows(name)
    model = fitted(AsyncLogisticRegression(ALPHA, l1_ratio=l1_ratio), X, y, place, client)
    assert violation(model, X, y, l1_ratio=l1_ratio) <= 1e-6
    assert model.certificate_ == "duality gap"
    assert 0 <= model.dual_gap_ <= 1e-10
    assert model.n_passes_ <= (8 if place == "memory" else 15)  # chunks that lack a class
    assert model.coef_.shape == (len(np.unique(y)), X.shape[1])
    assert model.intercept_.sum() == pytest.approx(0, abs=1e-12)
    found = objective(model, X, y, l1_ratio=l1_ratio)
    assert model.history_["objective"][-1] == pytest.approx(float(found), rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
@pytest.mark.parametrize("name", ["iris", "wine"])
def test_it_is_scikit_learns(name, l1_ratio):
    X, y = rows(name)
    model = AsyncLogisticRegression(ALPHA, l1_ratio=l1_ratio).fit(X, y)
    params = dict(C=1 / (len(y) * ALPHA), l1_ratio=l1_ratio, tol=1e-10, max_iter=100_000)
    if sklearn_version < (1, 8):
        params["penalty"] = "elasticnet"
    other = LogisticRegression(solver="saga", **params).fit(X, y)
    np.testing.assert_allclose(model.coef_, other.coef_, atol=1e-6)
    intercept = other.intercept_ - other.intercept_.mean()
    np.testing.assert_allclose(model.intercept_, intercept, atol=1e-6)
    np.testing.assert_allclose(model.predict_proba(X), other.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("chunks", "wine"),
        ("sorted", "digits"),
        ("sparse", "wine"),
        ("float32", "wine"),
        *(
            pytest.param(*cell, marks=pytest.mark.slow)
            for cell in (
                ("chunks", "digits"),
                ("sorted", "wine"),
                ("sparse", "digits"),
                ("float32", "digits"),
            )
        ),
    ],
)
def test_every_place_and_order_gives_the_same(name, kind, client):
    X, y = rows(name)
    exact, tolerance = AsyncLogisticRegression(ALPHA).fit(X, y), 1e-8
    model = AsyncLogisticRegression(ALPHA, client=client)
    if kind == "sorted":  # most chunks lack most classes
        order = np.argsort(y, kind="stable")
        X, y = X[order], y[order]
    there = da.from_array(X, chunks=(60, -1))
    if kind == "sparse":
        there = there.map_blocks(sparse.csr_array)
    elif kind == "float32":
        there, tolerance = there.astype(np.float32), 2e-5
    model.fit(there, da.from_array(y, chunks=60))
    np.testing.assert_allclose(model.coef_, exact.coef_, atol=tolerance)
    np.testing.assert_allclose(model.intercept_, exact.intercept_, atol=tolerance)
    assert model.coef_.dtype == (np.float32 if kind == "float32" else np.float64)
    assert_nothing_left(client)


@pytest.mark.parametrize("place", PLACES)
def test_weights_are_repetitions_and_class_weight_multiplies_them(place, client):
    X, y = rows("wine")
    weights = np.random.default_rng(0).integers(0, 3, size=len(y))
    model = fitted(AsyncLogisticRegression(ALPHA), X, y, place, client, weights * 1.0)
    assert violation(model, X, y, weights) <= 1e-6
    repeated = AsyncLogisticRegression(ALPHA).fit(np.repeat(X, weights, 0), np.repeat(y, weights))
    np.testing.assert_allclose(model.coef_, repeated.coef_, atol=1e-8)
    balanced = AsyncLogisticRegression(ALPHA, class_weight="balanced")
    fitted(balanced, X, y, place, client)
    by_class = len(y) / (3 * np.bincount(y))
    weighted = AsyncLogisticRegression(ALPHA).fit(X, y, by_class[y])
    np.testing.assert_allclose(balanced.coef_, weighted.coef_, atol=1e-8)


@pytest.mark.parametrize("labels", [("a", "b", "c"), (-1, 0, 7)])
def test_labels_and_what_is_predicted(labels, client):
    X, y = rows("wine")
    named = np.array(labels)[y]
    model = AsyncLogisticRegression(ALPHA).fit(X, named)
    assert model.classes_.tolist() == list(labels)
    eta = X @ model.coef_.T + model.intercept_
    np.testing.assert_allclose(model.decision_function(X), eta, rtol=1e-12)
    np.testing.assert_allclose(model.predict_proba(X), softmax(eta, axis=1), rtol=1e-12)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))
    np.testing.assert_array_equal(model.predict(X), np.array(labels)[eta.argmax(axis=1)])
    accuracy = accuracy_score(named, model.predict(X))
    assert model.score(X, named) == accuracy
    dX, dy = da.from_array(X, chunks=(50, -1)), da.from_array(named, chunks=50)
    model.client = client
    assert model.score(dX, dy) == pytest.approx(accuracy)
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        here, there = getattr(model, method)(X), getattr(model, method)(dX)
        assert there.shape == here.shape
        np.testing.assert_array_equal(there.compute(scheduler="sync"), here)


def test_penalty_weights_bounds_no_intercept_and_columns_far_from_zero():
    X, y = rows("wine")
    plain = AsyncLogisticRegression(ALPHA).fit(X, y)
    far = AsyncLogisticRegression(ALPHA).fit(X + 1e4, y)
    np.testing.assert_allclose(far.coef_, plain.coef_, atol=1e-7)
    units = 10.0 ** np.linspace(-6, 6, X.shape[1])
    other = AsyncLogisticRegression(ALPHA, penalty_weights=units).fit(X * units, y)
    np.testing.assert_allclose(other.coef_ * units, plain.coef_, atol=1e-7)
    free = AsyncLogisticRegression(ALPHA, fit_intercept=False).fit(X, y)
    assert violation(free, X, y) <= 1e-6
    assert not free.intercept_.any()
    positive = AsyncLogisticRegression(ALPHA, positive=True).fit(X, y)
    assert positive.coef_.min() == 0
    assert positive.dual_gap_ <= 1e-6
    assert objective(positive, X, y) >= objective(plain, X, y)
    scaled = AsyncLogisticRegression(ALPHA, standardize=True).fit(X * units, y)
    np.testing.assert_allclose(scaled.coef_ * units, plain.coef_, atol=1e-7)


def test_one_answer_for_an_even_number_of_classes(client):
    """Where half of the classes' coefficients are positive, many have the same objective."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 5))
    eta = X @ rng.normal(size=(5, 4))
    y = (eta + rng.gumbel(size=eta.shape)).argmax(axis=1)
    exact = AsyncLogisticRegression(1e-3).fit(X, y)
    there = AsyncLogisticRegression(1e-3, client=client)
    there.fit(da.from_array(X, chunks=(130, -1)), da.from_array(y, chunks=130))
    np.testing.assert_allclose(there.coef_, exact.coef_, atol=1e-8)
    assert violation(exact, X, y, alpha=1e-3) <= 1e-6
    assert ((exact.coef_ == 0).sum(axis=0) >= 1).all()


def test_what_is_of_two_classes_says_so():
    X, y = rows("iris")
    with pytest.raises(ValueError, match="polish=False is of two classes, and y has 3"):
        AsyncLogisticRegression(polish=False).fit(X, y)
    with pytest.raises(ValueError, match="offset is added to the log-odds of two classes"):
        AsyncLogisticRegression().fit(X, y, offset=np.ones(len(y)))
    with pytest.raises(ValueError, match="4000 columns and y 3 classes"):
        AsyncLogisticRegression(l1_ratio=0).fit(np.zeros((150, 4000)), y)
    model = AsyncLogisticRegression().fit(X, y)
    with pytest.raises(ValueError, match="offset is added to the log-odds of two classes"):
        model.predict(X, offset=np.ones(len(y)))


def test_warm_start():
    X, y = rows("digits")
    model = AsyncLogisticRegression(ALPHA, warm_start=True).fit(X, y)
    before = model.coef_
    np.testing.assert_allclose(model.fit(X, y).coef_, before, atol=1e-8)
    assert model.fit(X, y > 4).coef_.shape == (1, X.shape[1])
