"""What scikit-learn's own tests say of `Lasso`, on the arguments that are shared."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from datasets import load
from scipy import sparse
from sklearn.datasets import make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, LinearRegression

from dask_lasso import AsyncLassoRegressor

ENGINES = ["sync", "async", "batched"]


def wide_data(n_samples=50, n_features=200, n_informative=10, n_targets=1, seed=0):
    rng = np.random.RandomState(seed)
    coef = rng.normal(size=(n_features, n_targets))
    coef[n_informative:] = 0
    X = rng.normal(size=(2 * n_samples, n_features))
    y = X @ coef
    y = y[:, 0] if n_targets == 1 else y
    return X[:n_samples], y[:n_samples], X[n_samples:], y[n_samples:]


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("container", [list, np.array, sparse.csr_array, sparse.csc_array])
@pytest.mark.parametrize(
    ("alpha", "coef"), [(1e-8, 1.0), (0.1, 0.85), (0.5, 0.25), (1.0, 0.0), (10.0, 0.0)]
)
def test_line(alpha, coef, container, positive):
    # Three points on y = x: the coefficient is soft(2/3, alpha) / (2/3).
    X, T = container([[-1], [0], [1]]), [[2], [3], [4]]
    model = AsyncLassoRegressor(alpha, positive=positive).fit(X, [-1, 0, 1])
    np.testing.assert_allclose(model.coef_, [coef], atol=1e-7)
    np.testing.assert_allclose(model.predict(T), np.array([2, 3, 4]) * coef, atol=1e-6)
    assert model.dual_gap_ == pytest.approx(0, abs=1e-7)
    assert model.sparse_coef_.toarray().tolist() == [model.coef_.tolist()]


def test_falling_line_with_positive_coefficients():
    model = AsyncLassoRegressor(0.1, positive=True).fit([[-1], [0], [1]], [1, 0, -1])
    assert model.coef_.tolist() == [0]


@pytest.mark.parametrize("container", [list, sparse.csr_array])
def test_nothing_from_nothing(container):
    model = AsyncLassoRegressor(0.1).fit(container([[0], [0], [0]]), [0, 0, 0])
    assert model.coef_.tolist() == [0]
    assert model.predict([[1], [2]]).tolist() == [0, 0]
    assert model.dual_gap_ == 0


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("constant", [0.0, 1.0, -1e6])
@pytest.mark.parametrize("polish", [True, False])
def test_uniform_targets(constant, fit_intercept, polish):
    X = np.random.RandomState(0).uniform(size=(10, 3))
    y = np.full(10, constant)
    model = AsyncLassoRegressor(100.0, fit_intercept=fit_intercept, polish=polish)
    if constant == 0 or fit_intercept:
        model.fit(X, y)
        np.testing.assert_allclose(model.predict(X), y)
        assert not model.coef_.any()
    else:
        model.fit(X, y)
        expected = Lasso(100.0, fit_intercept=False, tol=1e-12).fit(X, y)
        np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-5)
    both = AsyncLassoRegressor(100.0, polish=polish).fit(X, np.column_stack([y, y]))
    assert both.predict(X).shape == (10, 2)


def test_positive_on_wide_data():
    X, y, _, _ = wide_data()
    model = AsyncLassoRegressor(0.1, positive=True).fit(X, y)
    expected = Lasso(0.1, positive=True, tol=1e-12, max_iter=100_000).fit(X, y)
    assert (model.coef_ >= 0).all()
    np.testing.assert_allclose(model.coef_, expected.coef_, atol=1e-6)


def test_recovers_wide_data():
    X, y, X_test, y_test = wide_data()
    model = AsyncLassoRegressor(0.05).fit(X, y)
    assert model.score(X_test, y_test) > 0.9
    assert np.count_nonzero(model.coef_) < 60


@pytest.mark.parametrize("order", ["C", "F"])
def test_data_is_not_written_to(order):
    X, y, _, _ = wide_data()
    weights = np.random.RandomState(0).uniform(size=len(y))
    X = np.array(X, order=order)
    copies = [array.copy() for array in (X, y, weights)]
    for array in (X, y, weights):
        array.flags.writeable = False
    for engine in ENGINES:
        AsyncLassoRegressor(0.1, engine=engine).fit(X, y, weights)
        AsyncLassoRegressor(0.1, engine=engine).fit(
            da.from_array(X, chunks=20), da.from_array(y, chunks=20), weights
        )
    for array, copy in zip((X, y, weights), copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    thin = sparse.csr_array(np.where(X > 1, X, 0))
    for part in (thin.data, thin.indices, thin.indptr):
        part.flags.writeable = False
    before = thin.copy()
    AsyncLassoRegressor(0.1).fit(thin, y)
    assert abs(thin - before).sum() == 0


@pytest.mark.parametrize("n_targets", [1, 3])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_targets_are_fitted_one_by_one(n_targets, container):
    X, Y, _, _ = wide_data(n_targets=3)
    Y = Y[:, :n_targets]
    model = AsyncLassoRegressor(0.1).fit(container(X), Y)
    reference = Lasso(0.1, tol=1e-12, max_iter=100_000).fit(container(X), Y)
    assert model.coef_.shape == reference.coef_.shape
    assert np.shape(model.intercept_) == np.shape(reference.intercept_)
    assert np.shape(model.dual_gap_) == np.shape(reference.dual_gap_)
    assert model.sparse_coef_.shape == reference.sparse_coef_.shape
    np.testing.assert_allclose(model.coef_, reference.coef_, atol=1e-6)
    np.testing.assert_allclose(model.intercept_, reference.intercept_, atol=1e-6)
    for target in range(n_targets):
        alone = AsyncLassoRegressor(0.1).fit(container(X), Y[:, target])
        np.testing.assert_allclose(np.atleast_2d(model.coef_)[target], alone.coef_, atol=1e-10)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("ndim", [1, 2])
def test_shapes_of_fitted_attributes(ndim, fit_intercept):
    X, y = make_regression(30, 4, random_state=0)
    y = y if ndim == 1 else y[:, np.newaxis]
    model = AsyncLassoRegressor(0.1, fit_intercept=fit_intercept).fit(X, y)
    reference = Lasso(0.1, fit_intercept=fit_intercept).fit(X, y)
    for name in ("coef_", "intercept_", "dual_gap_"):
        assert np.shape(getattr(model, name)) == np.shape(getattr(reference, name)), name
    assert model.predict(X).shape == reference.predict(X).shape
    assert not fit_intercept or model.intercept_ != 0
    assert fit_intercept or model.intercept_ == 0.0
    assert isinstance(model.n_iter_, int)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_precision_of_the_data_is_that_of_the_coefficients(fit_intercept):
    X, y, X_test, _ = wide_data(n_samples=30, n_features=20)
    fitted = {}
    for dtype in (np.float64, np.float32):
        model = AsyncLassoRegressor(0.5, fit_intercept=fit_intercept)
        model.fit(X.astype(dtype), y.astype(dtype))
        reference = Lasso(0.5, fit_intercept=fit_intercept)
        reference.fit(X.astype(dtype), y.astype(dtype))
        assert model.coef_.dtype == reference.coef_.dtype == dtype
        assert model.predict(X_test.astype(dtype)).dtype == dtype
        fitted[dtype] = model
    for name in ("coef_", "intercept_"):
        np.testing.assert_allclose(
            getattr(fitted[np.float32], name),
            getattr(fitted[np.float64], name),
            rtol=1e-4,
            atol=1e-5,
        )


def test_warm_start_gives_the_same_in_fewer_sweeps():
    X, y, _, _ = load("tall")[:4]
    cold = AsyncLassoRegressor(1.0, polish=False, n_blocks=4, engine="sync").fit(X, y)
    warm = AsyncLassoRegressor(1.0, polish=False, n_blocks=4, engine="sync", warm_start=True)
    warm.fit(X, y)
    assert warm.n_iter_ == cold.n_iter_
    np.testing.assert_array_equal(warm.coef_, cold.coef_)
    assert warm.fit(X, y).n_iter_ <= cold.n_iter_
    warm.set_params(alpha=5.0).fit(X, y)
    warm.set_params(alpha=1.0, tol=1e-12).fit(X, y)
    np.testing.assert_allclose(warm.coef_, cold.coef_, atol=1e-5 * np.abs(cold.coef_).max())
    polished = AsyncLassoRegressor(5.0, warm_start=True).fit(X, y)
    polished.set_params(alpha=1.0).fit(X, y)
    exact = AsyncLassoRegressor(1.0).fit(X, y)
    np.testing.assert_allclose(polished.coef_, exact.coef_, rtol=1e-8, atol=1e-12)
    # A warm start from two targets is one for each of them.
    both = AsyncLassoRegressor(1.0, warm_start=True).fit(X, np.column_stack([y, -y]))
    np.testing.assert_allclose(both.fit(X, np.column_stack([y, -y])).coef_[1], -exact.coef_)


@pytest.mark.parametrize("rows", [np.asarray, da.asarray])
def test_alpha_zero_warns_and_is_least_squares(rows):
    X, y, _, _ = load("diabetes")
    with pytest.warns(UserWarning, match="alpha=0"):
        model = AsyncLassoRegressor(0.0).fit(rows(X), rows(y))
    expected = LinearRegression().fit(X, y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6)
    assert model.intercept_ == pytest.approx(expected.intercept_)


def test_least_squares_of_collinear_columns_predicts_the_same():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(40, 5)) @ rng.normal(size=(5, 12))
    y = rng.normal(size=40)
    with pytest.warns(UserWarning, match="alpha=0"):
        model = AsyncLassoRegressor(0.0).fit(X, y)
    np.testing.assert_allclose(model.predict(X), LinearRegression().fit(X, y).predict(X), atol=1e-8)


@pytest.mark.parametrize("dtype", [int, np.int32, bool, object])
def test_targets_of_other_types(dtype):
    X = [[0, 0], [1, 1], [-1, -1], [2, 0.5]]
    y = [0, 1, 0, 1]
    expected = AsyncLassoRegressor(0.01).fit(X, np.array(y, dtype=float))
    model = AsyncLassoRegressor(0.01).fit(X, np.array(y, dtype=dtype))
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    assert model.coef_.dtype == np.float64


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(
    ("kind", "alpha"), [("memory", 0.01), ("memory", 0.1), ("memory", 1.0), ("dask", 0.1)]
)
def test_weights(kind, container, alpha, fit_intercept, thread_workers):
    rng = np.random.RandomState(0)
    X, y = rng.uniform(size=(60, 5)), rng.uniform(size=60)
    weights = rng.randint(0, 4, size=60)

    def fit(rows, target, sample_weight=None):
        model = AsyncLassoRegressor(alpha / 50, fit_intercept=fit_intercept, client=thread_workers)
        if kind == "dask":
            chunked = da.from_array(rows, chunks=(17, -1))
            if container is not np.asarray:
                chunked = chunked.map_blocks(
                    container, dtype=float, meta=container((0, 0), dtype=float)
                )
            return model.fit(chunked, da.from_array(target, chunks=17), sample_weight)
        return model.fit(container(rows), target, sample_weight)

    def assert_same(model, expected):
        np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8, atol=1e-12)
        assert model.intercept_ == pytest.approx(expected.intercept_, rel=1e-8)

    weighted = fit(X, y, weights)
    # A weight is a number of copies, zero is absence, and the scale does not matter.
    assert_same(fit(np.repeat(X, weights, axis=0), np.repeat(y, weights)), weighted)
    assert_same(fit(X[weights > 0], y[weights > 0], weights[weights > 0]), weighted)
    assert_same(fit(X, y, np.pi * weights), weighted)
    assert_same(fit(X, y, 0 * weights + 3), fit(X, y))
    assert_same(fit(X, y, 3.0), fit(X, y))
    reference = Lasso(alpha / 50, fit_intercept=fit_intercept, tol=1e-12)
    assert_same(weighted, reference.fit(X, y, weights))


@pytest.mark.parametrize("n_features", [4, 80])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_largest_useful_alpha(n_features, fit_intercept, weighted, container):
    rng = np.random.RandomState(1)
    X, y = rng.normal(size=(40, n_features)) + 1, rng.normal(size=40) + 2
    weights = rng.uniform(size=40) if weighted else np.ones(40)
    shares = weights / weights.sum()
    X_c, y_c = (X - shares @ X, y - shares @ y) if fit_intercept else (X, y)
    largest = np.abs(X_c.T @ (shares * y_c)).max()
    for factor, count in [(1 + 1e-10, 0), (1 - 1e-4, 1)]:
        model = AsyncLassoRegressor(largest * factor, fit_intercept=fit_intercept)
        model.fit(container(X), y, weights)
        assert np.count_nonzero(model.coef_) == count


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("alpha", [0.01, 0.1, 1.0])
def test_sparse_equals_dense(alpha, fit_intercept, positive):
    X, y = make_regression(100, 30, n_informative=5, noise=3, random_state=0)
    X[np.abs(X) < 0.8] = 0
    params = dict(alpha=alpha, fit_intercept=fit_intercept, positive=positive)
    dense = AsyncLassoRegressor(**params).fit(X, y)
    expected = Lasso(**params, tol=1e-12, max_iter=100_000).fit(X, y)
    for kind in (sparse.csr_array, sparse.csc_matrix):
        thin = AsyncLassoRegressor(**params).fit(kind(X), y)
        np.testing.assert_allclose(thin.coef_, dense.coef_, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(thin.coef_, expected.coef_, rtol=1e-6, atol=1e-8)
        assert thin.intercept_ == pytest.approx(expected.intercept_, rel=1e-6)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("polish", [True, False])
def test_too_few_iterations_warn(container, polish):
    X, y, _, _ = load("wide")
    model = AsyncLassoRegressor(0.01, max_iter=1, tol=1e-9, polish=polish)
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        model.fit(container(X), y)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("polish", [True, False])
def test_mean_prediction_is_the_mean_target(weighted, polish):
    rng = np.random.RandomState(0)
    X, y, weights = rng.normal(size=(80, 6)) + 3, rng.normal(size=80) + 7, rng.uniform(size=80)
    weights = weights if weighted else None
    model = AsyncLassoRegressor(0.1, polish=polish).fit(X, y, weights)
    assert np.average(model.predict(X), weights=weights) == pytest.approx(
        np.average(y, weights=weights)
    )


def test_pipeline_of_scaled_sparse_and_dense_rows():
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y = make_regression(100, 10, noise=3, random_state=0)
    X[X < 0.5] = 0
    pipeline = make_pipeline(StandardScaler(with_mean=False), AsyncLassoRegressor(0.1))
    dense = pipeline.fit(X, y).predict(X)
    np.testing.assert_allclose(pipeline.fit(sparse.csr_array(X), y).predict(X), dense)


def test_fitting_twice_is_fitting_once():
    X, y, weights, alpha = load("diabetes")
    model = AsyncLassoRegressor(alpha).fit(X, y, weights)
    coef = model.coef_.copy()
    model.fit(X[:50, :4], y[:50])
    assert model.coef_.shape == (4,)
    np.testing.assert_array_equal(model.fit(X, y, weights).coef_, coef)
