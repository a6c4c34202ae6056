"""Losses that are no parabola, Huber's among them; by Newton's method, certified."""

from __future__ import annotations

import warnings
from itertools import product

import dask.array as da
import numpy as np
import pytest
import sklearn
from conftest import assert_nothing_left
from scipy import sparse
from scipy.special import expit
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    GammaRegressor,
    LogisticRegression,
    PoissonRegressor,
    TweedieRegressor,
)
from sklearn.metrics import accuracy_score, d2_tweedie_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from dask_lasso import (
    AsyncElasticNetRegressor,
    AsyncLassoRegressor,
    AsyncLogisticRegression,
)
from dask_lasso.problem.losses import Gamma, Logistic, Poisson, Residual, Tweedie

# Arithmetic, which the versions of the dependencies hardly touch.
pytestmark = pytest.mark.slow

N, K = 1200, 8
sklearn_version = tuple(map(int, sklearn.__version__.split(".")[:2]))
ALPHA = 0.05
LOSSES = {
    "logistic": Logistic(),
    "poisson": Poisson(),
    "gamma": Gamma(),
    "tweedie": Tweedie(1.5),
    "huber": Residual(1.35),
}
POWERS = {"poisson": 1, "tweedie": 1.5, "gamma": 2}
PLACES = ["memory", "processes"]
PROCESSES = "processes", "batched"


def rows(loss, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, K)) @ (np.eye(K) + 0.2)
    eta = X @ np.r_[0.6, -0.4, 0.3, np.zeros(K - 3)] + 0.4
    y = {
        "logistic": lambda: (rng.random(N) < expit(eta)).astype(float),
        "poisson": lambda: rng.poisson(np.exp(eta)).astype(float),
        "gamma": lambda: rng.gamma(2.0, np.exp(eta) / 2) + 1e-3,
        "tweedie": lambda: rng.poisson(np.exp(eta)) * rng.gamma(2.0, 0.5, size=N),
        "huber": lambda: eta + rng.standard_t(2, size=N),
    }[loss]()
    return X, y


def model_of(loss, alpha=ALPHA, **settings):
    if loss == "logistic":
        return AsyncLogisticRegression(alpha, **settings)
    if "l1_ratio" in settings:
        return AsyncElasticNetRegressor(alpha, loss=loss, **settings)
    return AsyncLassoRegressor(alpha, loss=loss, **settings)


def fitted(model, X, y, place, client, weights=None):
    arrays = [X, y] if weights is None else [X, y, weights]
    if place == "processes":
        model.client = client
        arrays = [da.from_array(a, chunks=(150,) + (-1,) * (a.ndim - 1)) for a in arrays]
    return model.fit(*arrays)


def coefficients(model):
    return np.ravel(model.coef_), np.ravel(model.intercept_)[0]


def objective(loss, X, y, coef, intercept, alpha=ALPHA, l1_ratio=1.0, weights=None):
    """In extended precision."""
    wide = np.longdouble
    eta = X.astype(wide) @ coef.astype(wide) + wide(intercept)
    value = np.average(LOSSES[loss].value(eta, y.astype(wide)), weights=weights)
    size = np.abs(coef.astype(wide))
    return value + wide(alpha) * (l1_ratio * size.sum() + (1 - l1_ratio) / 2 * (size**2).sum())


def violation(loss, X, y, coef, intercept, alpha=ALPHA, weights=None, penalties=1.0):
    """By how much the conditions of optimality are violated, in units of alpha."""
    slope = -LOSSES[loss].derivative(X @ coef + intercept, y)
    weights = np.ones(len(y)) if weights is None else weights
    correlation = X.T @ (weights * slope) / weights.sum()
    limit = alpha * penalties * np.ones(len(coef))
    beside = np.where(
        coef != 0, np.abs(correlation - limit * np.sign(coef)), np.abs(correlation) - limit
    )
    return max(beside.max(), abs((weights * slope).sum() / weights.sum())) / alpha


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_it_is_optimal_and_certified(loss, weighted, place, client):
    X, y = rows(loss)
    weights = np.random.default_rng(1).integers(0, 4, size=N).astype(float) if weighted else None
    model = fitted(model_of(loss), X, y, place, client, weights)
    coef, intercept = coefficients(model)
    # In units of alpha: of its square, 3e-15, the gap, which ends a fit, has hardly a digit.
    assert violation(loss, X, y, coef, intercept, weights=weights) <= 1e-6
    assert 0 < np.count_nonzero(coef) < K
    assert model.certificate_ == "duality gap"
    # Rows that have crossed a kink make a dual point of Huber's less feasible.
    assert model.dual_gap_ <= (1e-7 if loss == "huber" else 1e-12)
    assert 2 <= model.n_passes_ <= 6
    assert model.n_samples_seen_ == N
    found = objective(loss, X, y, coef, intercept, weights=weights)
    assert model.history_["objective"][-1] == pytest.approx(float(found), rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_place_gives_the_same(loss, client):
    X, y = rows(loss)
    here, there = (fitted(model_of(loss), X, y, place, client) for place in PLACES)
    np.testing.assert_allclose(there.coef_, here.coef_, rtol=0, atol=1e-8)
    np.testing.assert_allclose(there.intercept_, here.intercept_, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("place", "engine"), [*product(["memory"], ["sync", "async", "batched"]), PROCESSES]
)
@pytest.mark.parametrize("loss", LOSSES)
def test_admm_gives_the_same(loss, place, engine, client):
    X, y = rows(loss)
    exact = model_of(loss).fit(X, y)
    settings = dict(polish=False, engine=engine, tol=1e-10, n_blocks=4)
    model = fitted(model_of(loss, **settings), X, y, place, client)
    assert model.certificate_ == "duality gap"
    excess = objective(loss, X, y, *coefficients(model)) - objective(
        loss, X, y, *coefficients(exact)
    )
    assert excess <= model.dual_gap_ + 1e-15
    np.testing.assert_allclose(model.coef_, exact.coef_, atol=1e-4)


@pytest.mark.parametrize("loss", POWERS)
def test_ridge_is_scikit_learns(loss):
    X, y = rows(loss)
    exact = {
        "poisson": PoissonRegressor,
        "gamma": GammaRegressor,
        "tweedie": lambda **params: TweedieRegressor(power=1.5, link="log", **params),
    }[loss](alpha=0.2, solver="newton-cholesky", tol=1e-12).fit(X, y)
    model = AsyncElasticNetRegressor(0.2, l1_ratio=0, loss=loss).fit(X, y)
    np.testing.assert_allclose(model.coef_, exact.coef_, rtol=1e-7)
    np.testing.assert_allclose(model.intercept_, exact.intercept_, rtol=1e-7)
    np.testing.assert_allclose(model.predict(X), exact.predict(X), rtol=1e-6)
    assert model.score(X, y) == pytest.approx(exact.score(X, y), rel=1e-9)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("l1_ratio", [0.3, 1.0])
@pytest.mark.parametrize("alpha", [0.1, 0.02])
def test_logistic_is_scikit_learns(alpha, l1_ratio, fit_intercept):
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    named = {} if sklearn_version >= (1, 8) else {"penalty": "elasticnet"}
    exact = LogisticRegression(
        **named,
        l1_ratio=l1_ratio,
        C=1 / (len(y) * alpha),
        solver="saga",
        fit_intercept=fit_intercept,
        tol=1e-12,
        max_iter=100_000,
    ).fit(X, y)
    model = AsyncLogisticRegression(alpha, l1_ratio=l1_ratio, fit_intercept=fit_intercept)
    model.fit(X, y)
    np.testing.assert_allclose(model.coef_, exact.coef_, atol=1e-6)
    np.testing.assert_allclose(model.intercept_, exact.intercept_, atol=1e-6)
    np.testing.assert_allclose(model.predict_proba(X), exact.predict_proba(X), atol=1e-6)
    assert model.coef_.shape == exact.coef_.shape
    assert model.dual_gap_ <= 1e-10


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("loss", LOSSES)
def test_the_gap_is_never_below_the_excess(loss, seed):
    """At every estimate of a fit that a few passes end, on few rows and many columns."""
    rng = np.random.default_rng(seed)
    X, y = rows(loss, seed)
    X, y = X[: 30 + 40 * seed], y[: 30 + 40 * seed]
    X = np.column_stack([X, X[:, 0] * 100, rng.normal(size=(len(X), 30)) + 5])
    alpha = 10.0 ** -rng.integers(1, 4)
    l1_ratio = rng.choice([0.5, 1.0])
    weights = rng.integers(0, 3, size=len(y)).astype(float)
    settings = dict(alpha=alpha, l1_ratio=l1_ratio)
    best = model_of(loss, tol=1e-12, **settings).fit(X, y, weights)
    least = objective(loss, X, y, *coefficients(best), **settings, weights=weights)
    for n_passes in range(1, 6):
        model = model_of(loss, max_iter=n_passes, tol=0, **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, y, weights)
        found = objective(loss, X, y, *coefficients(model), **settings, weights=weights)
        assert found - least <= model.dual_gap_ + 1e-14
        assert found - least >= -best.dual_gap_ - 1e-14


@pytest.mark.parametrize("loss", LOSSES)
def test_penalty_weights_and_columns_without_a_penalty(loss):
    X, y = rows(loss)
    penalties = np.r_[0.0, 2.0, np.ones(K - 3), 0.0]
    model = model_of(loss, penalty_weights=penalties).fit(X, y)
    assert violation(loss, X, y, *coefficients(model), penalties=penalties) <= 1e-6
    assert model.dual_gap_ <= 1e-10
    without = model_of(loss, alpha=0, penalty_weights=None)
    with pytest.warns(UserWarning, match="no penalty") if loss != "logistic" else nothing():
        without.fit(X, y)
    assert violation(loss, X, y, *coefficients(without), alpha=1e-9) <= 1e3
    assert without.dual_gap_ <= 1e-10


class nothing:
    """A context without an effect."""

    def __enter__(self): ...
    def __exit__(self, *exc): ...


@pytest.mark.parametrize("loss", LOSSES)
def test_positive_and_no_intercept(loss):
    X, y = rows(loss)
    model = model_of(loss, positive=True, fit_intercept=False).fit(X, y)
    coef = np.ravel(model.coef_)
    correlation = -X.T @ LOSSES[loss].derivative(X @ coef, y) / N
    assert (coef >= 0).all()
    assert coef.any()
    assert np.abs(correlation - ALPHA)[coef > 0].max() <= 1e-7
    assert (correlation - ALPHA).max() <= 1e-7
    assert np.ravel(model.intercept_)[0] == 0
    assert model.dual_gap_ <= 1e-12


@pytest.mark.parametrize("loss", LOSSES)
def test_units_of_the_columns(loss):
    X, y = rows(loss)
    units = 10.0 ** np.linspace(-9, 9, K)
    plain = model_of(loss).fit(X, y)
    other = model_of(loss, penalty_weights=units).fit(X * units, y)
    np.testing.assert_allclose(np.ravel(other.coef_) * units, np.ravel(plain.coef_), atol=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
def test_columns_far_from_zero(loss):
    X, y = rows(loss)
    plain = model_of(loss).fit(X, y)
    far = model_of(loss).fit(X + 1e5, y)
    np.testing.assert_allclose(far.coef_, plain.coef_, atol=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("loss", LOSSES)
def test_a_warm_start_beside_columns_far_from_zero(loss):
    """Where it begins, the intercept is one for the coefficients."""
    X, y = rows(loss)
    model = model_of(loss, warm_start=True).fit(X + 1e5, y)
    before, n_passes = model.coef_, model.n_passes_
    model.fit(X + 1e5, y)
    np.testing.assert_allclose(model.coef_, before, rtol=0, atol=1e-7)
    assert model.n_passes_ <= n_passes


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("times", [10, 1e3, 1e6])
@pytest.mark.parametrize("polish", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_warm_start_that_is_worse_than_none(loss, polish, times):
    """As of columns in other units: means overflow there, and steps back are short."""
    X, y = rows(loss)
    model = model_of(loss, polish=polish, n_blocks=4, warm_start=True, tol=1e-6).fit(X, y)
    before, n_iter = model.coef_, model.n_iter_
    model.coef_ = times * model.coef_
    model.fit(X, y)
    np.testing.assert_allclose(model.coef_, before, rtol=0, atol=1e-8 if polish else 2e-3)
    assert model.n_iter_ <= n_iter + 4


@pytest.mark.filterwarnings("error")
def test_far_below_zero_tweedie_is_finite():
    """Where the mean of a row whose y is zero is less than any number, its loss is nothing."""
    loss, eta, y = Tweedie(1.5), np.array([-1e4, -1e4, 0.0]), np.array([0.0, 1.0, 2.0])
    with np.errstate(over="ignore"):
        found = [of(eta, y) for of in (loss.value, loss.derivative, loss.curvature)]
    np.testing.assert_array_equal([of[0] for of in found], 0)
    assert [np.sign(of[1]) for of in found] == [1, -1, 1]
    np.testing.assert_allclose([of[2] for of in found], [6, -1, 1.5], rtol=1e-15)


@pytest.mark.parametrize("kind", ["sparse", "float32", "strided", "frame", "unknown"])
@pytest.mark.parametrize("loss", LOSSES)
def test_collections(loss, kind, client, tmp_path):
    X, y = rows(loss)
    X = np.where(np.abs(X) > 0.3, X, 0.0)
    exact = model_of(loss).fit(X, y)
    tolerance, model = 1e-8, model_of(loss, client=client)
    if kind == "sparse":
        there = da.from_array(X, chunks=(200, -1)).map_blocks(sparse.csr_array)
        model.fit(there, da.from_array(y, chunks=200))
        here = model_of(loss).fit(sparse.csr_array(X), y)
        np.testing.assert_allclose(here.coef_, exact.coef_, atol=1e-8)
    elif kind == "float32":
        X = X.astype(np.float32)
        model.fit(da.from_array(X, chunks=(200, -1)), da.from_array(y, chunks=200))
        assert model.coef_.dtype == np.float32
        tolerance = 1e-5
    elif kind == "strided":
        model.fit(np.asfortranarray(X)[::-1], y[::-1])
    elif kind == "unknown":
        chunks = da.from_array(np.column_stack([X, y]), chunks=(200, -1))
        chunks = chunks[chunks[:, 0] > -np.inf]
        model.fit(chunks[:, :-1], chunks[:, -1])
    else:
        dd = pytest.importorskip("dask.dataframe")
        import pandas as pd

        names = [f"x{i}" for i in range(K)]
        frame = pd.DataFrame(X, columns=names).assign(y=y)
        dd.from_pandas(frame, npartitions=5).to_parquet(tmp_path)
        frame = dd.read_parquet(tmp_path)
        model.fit(frame[names], frame["y"])
        assert model.feature_names_in_.tolist() == names
        predicted = model.predict(frame[names])
        assert predicted.compute(scheduler="sync").index.equals(frame.index.compute())
        score = exact.score(X, y)
        assert model.score(frame[names], frame["y"]) == pytest.approx(score, rel=1e-7)
    np.testing.assert_allclose(model.coef_, exact.coef_, atol=tolerance)


def test_several_targets_are_fitted_each_by_itself(client):
    X, y = rows("poisson")
    Y = np.column_stack([y, y[::-1], y // 2])
    for place in PLACES:
        model = fitted(AsyncLassoRegressor(ALPHA, loss="poisson"), X, Y, place, client)
        each = [AsyncLassoRegressor(ALPHA, loss="poisson").fit(X, column) for column in Y.T]
        np.testing.assert_allclose(model.coef_, [m.coef_ for m in each], atol=1e-8)
        assert model.dual_gap_.shape == (3,)
        assert model.predict(X).shape == Y.shape


@pytest.mark.parametrize("loss", POWERS)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_score_is_the_share_of_deviance(loss, weighted, client):
    X, y = rows(loss)
    weights = np.random.default_rng(2).random(N) if weighted else None
    model = model_of(loss).fit(X, y)
    expected = d2_tweedie_score(y, model.predict(X), power=POWERS[loss], sample_weight=weights)
    assert model.score(X, y, weights) == pytest.approx(expected, rel=1e-9)
    dX, dy = da.from_array(X, chunks=(200, -1)), da.from_array(y, chunks=200)
    dw = None if weights is None else da.from_array(weights, chunks=200)
    assert model.set_params(client=client).score(dX, dy, dw) == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(
        model.predict(dX).compute(scheduler="sync"), model.predict(X), rtol=1e-12
    )


# -- classes -------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [("no", "yes"), (-1, 1), (False, True), (3.0, 7.0)])
@pytest.mark.parametrize("place", PLACES)
def test_labels_of_any_kind(labels, place, client):
    X, y = rows("logistic")
    exact = AsyncLogisticRegression(ALPHA).fit(X, y)
    named = np.array(labels)[y.astype(int)]
    model = fitted(AsyncLogisticRegression(ALPHA), X, named, place, client)
    assert model.classes_.tolist() == list(labels)
    np.testing.assert_allclose(model.coef_, exact.coef_, atol=1e-8)
    expected = np.array(labels)[exact.predict(X).astype(int)]
    np.testing.assert_array_equal(model.predict(X), expected)
    accuracy = accuracy_score(named, expected)
    assert model.score(X, named) == pytest.approx(accuracy)
    dX, dy = da.from_array(X, chunks=(200, -1)), da.from_array(named, chunks=200)
    model.client = client
    assert model.score(dX, dy) == pytest.approx(accuracy)
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        here, there = getattr(model, method)(X), getattr(model, method)(dX)
        assert there.dtype == here.dtype
        np.testing.assert_array_equal(there.compute(scheduler="sync"), here)


def test_classes_of_a_frame(client):
    dd = pytest.importorskip("dask.dataframe")
    import pandas as pd

    X, y = rows("logistic")
    frame = pd.DataFrame(X, columns=list("abcdefgh"), index=np.arange(N) * 3)
    frame["label"] = np.where(y > 0, "sick", "well")
    lazy = dd.from_pandas(frame, npartitions=4)
    features = list("abcdefgh")
    model = AsyncLogisticRegression(ALPHA, client=client).fit(lazy[features], lazy["label"])
    exact = AsyncLogisticRegression(ALPHA).fit(X, frame["label"])
    np.testing.assert_allclose(model.coef_, exact.coef_, atol=1e-8)
    proba = model.predict_proba(lazy[features]).compute(scheduler="sync")
    assert proba.columns.tolist() == ["sick", "well"]
    assert proba.index.equals(frame.index)
    np.testing.assert_allclose(proba, exact.predict_proba(X), atol=1e-8)
    predicted = model.predict(lazy[features]).compute(scheduler="sync")
    assert predicted.tolist() == exact.predict(X).tolist()


@pytest.mark.parametrize("class_weight", ["balanced", {"a": 3.0, "b": 0.5}])
@pytest.mark.parametrize("place", PLACES)
def test_class_weight(class_weight, place, client):
    X, y = rows("logistic")
    named = np.where(y > 0, "b", "a")
    counts = np.array([(y == 0).sum(), (y == 1).sum()])
    each = N / (2 * counts) if class_weight == "balanced" else np.array([3.0, 0.5])
    exact = AsyncLogisticRegression(ALPHA).fit(X, named, each[y.astype(int)])
    model = AsyncLogisticRegression(ALPHA, class_weight=class_weight)
    fitted(model, X, named, place, client)
    np.testing.assert_allclose(model.coef_, exact.coef_, atol=1e-8)


def test_separable_rows():
    X, y = rows("logistic")
    y = (X[:, 0] > 0).astype(float)
    for alpha in (1e-2, 1e-4, 1e-6):
        model = AsyncLogisticRegression(alpha).fit(X, y)
        coef, intercept = coefficients(model)
        assert violation("logistic", X, y, coef, intercept, alpha=alpha) <= 1e-4
        assert model.score(X, y) > 0.99


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (np.zeros(N), "only one class"),
        (np.linspace(0, 1, N), "Unknown label type"),
    ],
)
def test_labels_that_are_no_classes(labels, match, place, client):
    X, _ = rows("logistic")
    model = AsyncLogisticRegression()
    with pytest.raises(ValueError, match=match):
        fitted(model, X, labels, place, client)
    assert not hasattr(model, "coef_")
    assert not hasattr(model, "classes_")


NO_LABEL = {
    "None": ("object", None),
    "NaN": ("object", np.nan),
    "NaN of floats": ("float64", np.nan),
    "NA of text": ("string", None),
    "NA of booleans": ("boolean", None),
    "NA of integers": ("Int64", None),
    "categories": ("category", None),
    "NaT": ("datetime64[ns]", None),
}


@pytest.mark.parametrize("frame", [False, True])
@pytest.mark.parametrize("name", NO_LABEL)
def test_a_row_without_a_label(name, frame, client):
    pd = pytest.importorskip("pandas")
    dtype, none = NO_LABEL[name]
    X, y = rows("logistic")
    as_text = dtype in ("object", "string", "category")
    y = pd.Series(y > 0).map({False: "a", True: "b"}) if as_text else pd.Series(y).astype(dtype)
    good = y.astype(dtype)
    y = good.copy()
    y[N - 5] = none
    assert y.isna().sum() == 1
    X = pd.DataFrame(X)
    model = AsyncLogisticRegression(ALPHA, client=client).fit(X, good)
    where = f"row {N - 5}"
    if frame:
        dd = pytest.importorskip("dask.dataframe")
        X, y, where = dd.from_pandas(X, 4), dd.from_pandas(y, 4), "in chunk 3"
    for use in (AsyncLogisticRegression(ALPHA, client=client).fit, model.score):
        with pytest.raises(ValueError, match=rf"Input y contains NaN.*, {where}"):
            use(X, y)


def in_chunks(labels):
    return da.from_array(labels, chunks=N // 4)


@pytest.mark.parametrize("lazy", [in_chunks, np.asarray])
def test_labels_of_several_types(lazy, client):
    X, y = rows("logistic")
    labels = np.where(y > 0, "b", "a").astype(object)
    labels[7] = 3
    with pytest.raises(TypeError, match=r"y has labels of several types \(int, str\)"):
        AsyncLogisticRegression(client=client).fit(lazy(X), lazy(labels))


@pytest.mark.filterwarnings("error:The number of unique classes")
def test_many_classes_in_chunks_are_no_regression(client):
    X, _ = rows("logistic")
    labels = np.arange(N) % 25
    X, labels = da.from_array(X, chunks=(N, -1)).persist(), in_chunks(labels).rechunk(N)
    AsyncLogisticRegression(0.1, client=client, max_iter=2).fit(X, labels)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("loss", "bad", "match"),
    [
        ("poisson", -1.0, "Input y has negative values"),
        ("gamma", 0.0, "Input y has values that are not positive"),
        ("tweedie", -0.1, "Input y has negative values"),
        ("poisson", np.nan, "Input y contains NaN"),
    ],
)
def test_targets_that_a_loss_does_not_know(loss, bad, match, place, client):
    X, y = rows(loss)
    y[777] = bad
    model = model_of(loss)
    with pytest.raises(ValueError, match=rf"{match}.*row 777"):
        fitted(model, X, y, place, client)
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("loss", LOSSES)
def test_rows_that_are_not_finite(loss, place, client):
    X, y = rows(loss)
    X[500, 3] = np.inf
    with pytest.raises(ValueError, match=r"Input X contains infinity in column 3.*row 500"):
        fitted(model_of(loss), X, y, place, client)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("loss", ["poisson", "tweedie"])
def test_counts_that_are_all_zero(loss, place, client):
    X, _ = rows(loss)
    with pytest.raises(ValueError, match="best intercept is infinite"):
        fitted(model_of(loss), X, np.zeros(N), place, client)
    model = fitted(model_of(loss, fit_intercept=False), X, np.zeros(N), place, client)
    assert np.isfinite(model.coef_).all()


@pytest.mark.parametrize(
    ("polish", "place"), [(True, "memory"), (True, "processes"), (False, "memory")]
)
@pytest.mark.parametrize("loss", ["poisson", "tweedie", "logistic"])
def test_chunks_in_which_all_targets_are_alike(loss, polish, place, client):
    X, y = rows(loss)
    order = np.argsort(y, kind="stable")
    exact = model_of(loss).fit(X, y)
    model = model_of(loss, polish=polish, tol=1e-9)
    fitted(model, X[order], y[order], place, client)
    np.testing.assert_allclose(model.coef_, exact.coef_, atol=1e-8 if polish else 1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_max_time_returns_an_estimate_or_says_that_there_is_none(loss, client):
    X, y = rows(loss)
    import time

    def slow(chunk):
        time.sleep(0.2)
        return chunk

    dX = da.from_array(X, chunks=(150, -1)).map_blocks(slow, dtype=float, meta=np.empty((0, 0)))
    model = model_of(loss, max_time=0.05, client=client)
    with pytest.raises(TimeoutError, match=r"max_time=0.05"):
        model.fit(dX, da.from_array(y, chunks=150))
    assert not hasattr(model, "coef_")
    assert_nothing_left(client)


def test_a_callback_ends_a_fit(client):
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9 and later")
    X, y = rows("poisson")

    class Stop(callback.FitCallback if hasattr(callback, "FitCallback") else object):
        def setup(self, estimator, context): ...
        def teardown(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context): ...
        def on_fit_task_end(self, estimator, context, **_):
            return True

    model = AsyncLassoRegressor(ALPHA, loss="poisson").set_callbacks(Stop())
    model.fit(X, y)
    assert model.n_passes_ == 1


def test_in_a_pipeline_and_a_search(client):
    X, y = rows("logistic")
    search = GridSearchCV(
        make_pipeline(StandardScaler(), AsyncLogisticRegression()),
        {"asynclogisticregression__alpha": [1e-3, 1e-1]},
        cv=3,
    ).fit(X, y)
    assert search.best_score_ > 0.55
    search = GridSearchCV(AsyncLassoRegressor(loss="poisson"), {"alpha": [0.01, 10.0]}, cv=3)
    assert search.fit(*rows("poisson")).best_params_ == {"alpha": 0.01}


def test_warm_start():
    X, y = rows("logistic")
    model = AsyncLogisticRegression(ALPHA, warm_start=True).fit(X, y)
    before = model.coef_
    np.testing.assert_allclose(model.fit(X, y).coef_, before, atol=1e-9)
    with pytest.raises(ValueError, match="warm_start=True, but the previous fit had 8 features"):
        model.fit(X[:, :3], y)


def test_check_estimator():
    checks = [f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")]
    reason = "before 1.7 it makes other labels of two classes once they are shuffled"
    check_estimator(
        AsyncLogisticRegression(),
        on_skip=None,
        expected_failed_checks=dict.fromkeys(checks, reason) if sklearn_version < (1, 7) else {},
    )


@pytest.mark.parametrize("loss", POWERS)
def test_check_estimator_of_a_loss(loss):
    without_statistics = "the loss has no statistics: partial_fit is an error that says so"
    check_estimator(
        AsyncLassoRegressor(loss=loss, alpha=0.1),
        on_skip=None,
        expected_failed_checks={
            "check_fit_score_takes_y": without_statistics,
            "check_estimators_partial_fit_n_features": without_statistics,
            "check_n_features_in_after_fitting": without_statistics,
            "check_regressor_multioutput": "has negative targets",
        },
    )


def test_partial_fit_says_that_there_are_no_statistics():
    with pytest.raises(ValueError, match="partial_fit needs loss='squared'"):
        AsyncLassoRegressor(loss="poisson").partial_fit(*rows("poisson"))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_conjugate_is_the_supremum(loss):
    """Fenchel's inequality holds everywhere, and with equality at the loss' slope."""
    rng = np.random.default_rng(0)
    of = LOSSES[loss]
    eta = rng.normal(size=(400, 1)) * 3
    y = rng.integers(0, 2, size=eta.shape) * (1.0 if loss == "logistic" else rng.random(eta.shape))
    y = y + (loss == "gamma") * 0.1
    slope = of.derivative(eta, y)
    equal = of.value(eta, y) + of.conjugate(slope, y) - slope * eta
    np.testing.assert_allclose(equal, 0, atol=1e-8 * (1 + np.abs(slope * eta)).max())
    other = rng.normal(size=eta.shape) * 3
    beside = of.value(other, y) + of.conjugate(slope, y) - slope * other
    assert beside.min() >= -1e-8
    change = (of.derivative(eta + 1e-6, y) - of.derivative(eta - 1e-6, y)) / 2e-6
    np.testing.assert_allclose(of.curvature(eta, y), change, rtol=1e-4, atol=1e-6)
