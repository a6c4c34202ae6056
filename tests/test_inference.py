"""Intervals: those of least squares where there is no penalty, and they cover elsewhere."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from intervals import DESIGNS, coverage
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold, StratifiedKFold

from dask_lasso import (
    AsyncElasticNetCV,
    AsyncElasticNetRegressor,
    AsyncLassoCV,
    AsyncLassoRegressor,
    AsyncLogisticRegression,
    AsyncLogisticRegressionCV,
)

N, K = 300, 6
rng = np.random.default_rng(0)
X = rng.normal(size=(N, K)) * [1, 10, 0.1, 1, 1, 1e4] + [5, 0, 0, 0, 3e3, 0]
y = X @ [1, 0, 2, 0, 0, 1e-4] + rng.normal(size=N) * np.abs(X[:, 0])
WEIGHTS = rng.uniform(0.1, 2, N)
OFFSET = rng.normal(size=N)

EACH = pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weights"])
INTERCEPT = pytest.mark.parametrize("fit_intercept", [True, False])


@EACH
@INTERCEPT
@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize("alpha", [0, 0.5])
@pytest.mark.filterwarnings("ignore:With alpha=0")
def test_least_squares_with_enough_rows(alpha, robust, fit_intercept, weights):
    """Whatever alpha: the estimates of statsmodels, and its errors."""
    api = pytest.importorskip("statsmodels.api", reason="the judge of this test")
    model = AsyncLassoRegressor(alpha, fit_intercept=fit_intercept).fit(X, y, weights)
    columns = np.column_stack([np.ones(N), X])[:, 0 if fit_intercept else 1 :]
    judge = api.WLS(y, columns, 1.0 if weights is None else weights)
    judge = judge.fit(cov_type="HC1", use_t=True) if robust else judge.fit()
    rows = dict(X=X, y=y, sample_weight=weights) if robust else {}
    table = model.inference(0.9, **rows)
    mine = slice(int(fit_intercept), None)
    for name, expected in (
        ("estimate", judge.params),
        ("std_error", judge.bse),
        ("p_value", judge.pvalues),
    ):
        np.testing.assert_allclose(table[name], expected[mine], rtol=1e-7)
    np.testing.assert_allclose(table[["lower", "upper"]], judge.conf_int(0.1)[mine], rtol=1e-6)
    np.testing.assert_array_equal(table.coefficient, model.coef_)


def test_the_robust_pass_is_the_same_on_dask(thread_workers):
    frame = pd.DataFrame(X, columns=list("abcdef"))
    here = AsyncLassoRegressor(0.5).fit(frame, y, WEIGHTS, offset=OFFSET)
    rows = [da.from_array(a, chunks=(70, *a.shape[1:])) for a in (X, y, WEIGHTS, OFFSET)]
    there = AsyncLassoRegressor(0.5, client=thread_workers)
    there.fit(*rows[:3], offset=rows[3])
    expected = here.inference(X=frame, y=y, sample_weight=WEIGHTS, offset=OFFSET)
    found = there.inference(X=rows[0], y=rows[1], sample_weight=rows[2], offset=rows[3])
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    assert expected.index.tolist() == list("abcdef")
    assert not np.allclose(expected.std_error, here.inference().std_error)


def test_units_do_not_count():
    few, scale = slice(0, 20), np.logspace(-6, 6, K)  # three rows for each column
    one = AsyncLassoRegressor(0.5).fit(X[few], y[few]).inference()
    other = AsyncLassoRegressor(500.0, penalty_weights=scale)
    other = other.fit(X[few] * scale, 1e3 * y[few]).inference()
    np.testing.assert_allclose(other.std_error * scale / 1e3, one.std_error, rtol=1e-6)
    np.testing.assert_allclose(other.p_value, one.p_value, rtol=1e-6)


def test_columns_that_say_nothing_have_no_error():
    odd = np.column_stack([X, np.full(N, 7.0)])
    table = AsyncLassoRegressor(0.5).fit(odd, y).inference()
    expected = AsyncLassoRegressor(0.5).fit(X, y).inference()
    np.testing.assert_allclose(table[:K].std_error, expected.std_error, rtol=1e-8)
    assert table[K:][["std_error", "lower", "upper", "p_value"]].isna().all(axis=None)
    # Dummies of a category add up to one: none has an infinite error.
    dummies = np.column_stack([X, np.eye(3)[np.arange(N) % 3]])
    table = AsyncLassoRegressor(0.05).fit(dummies, y).inference()
    assert (table.std_error[:K] < 10 * expected.std_error.to_numpy()).all()


def test_rows_of_weight_zero_are_no_rows(thread_workers, tmp_path):
    weights = np.where(np.arange(N) % 3, WEIGHTS, 0.0)
    on = weights > 0
    expected = AsyncLassoRegressor(0.5).fit(X[on], y[on], weights[on]).inference()
    model = AsyncLassoRegressor(0.5).fit(X, y, weights)
    assert model.n_samples_seen_ == N
    np.savez(tmp_path / "statistics.npz", **model.statistics_)
    chunks = [da.from_array(a, chunks=(70, *a.shape[1:])) for a in (X, y, weights)]
    parts = AsyncLassoRegressor(0.5).partial_fit(X[:99], y[:99], weights[:99])
    for same in (
        model,
        AsyncLassoRegressor(0.5, client=thread_workers).fit(*chunks),
        parts.partial_fit(X[99:], y[99:], weights[99:]),
        AsyncLassoRegressor(0.5).fit_statistics(np.load(tmp_path / "statistics.npz")),
    ):
        np.testing.assert_allclose(same.inference(), expected, rtol=1e-7)
    robust = AsyncLassoRegressor(0.5).fit(X[on], y[on], weights[on])
    robust = robust.inference(X=X[on], y=y[on], sample_weight=weights[on])
    found = model.inference(X=X, y=y, sample_weight=weights)
    np.testing.assert_allclose(found, robust, rtol=1e-7)
    # Five rows for each column, but fewer that weigh.
    few, weightless = slice(0, 40), np.arange(40) < 20
    table = AsyncLassoRegressor(0.5).fit(X[few], y[few], 1.0 * weightless).inference()
    expected = AsyncLassoRegressor(0.5).fit(X[:20], y[:20]).inference()
    np.testing.assert_allclose(table, expected, rtol=1e-7)


@pytest.mark.parametrize("n_others", [0, 1], ids=["", "beside a constant"])
@pytest.mark.parametrize("robust", [False, True])
def test_far_columns_without_an_intercept(robust, n_others):
    """The second is the first, and integers: both are known exactly, and so is what differs."""
    api = pytest.importorskip("statsmodels.api", reason="the judge of this test")
    draw = np.random.default_rng(1)
    z = draw.integers(-3, 4, (N, 2)).astype(float)
    other = np.ones((N, n_others))
    y = z[:, 0] - z[:, 1] + draw.normal(size=N) * (1 + np.abs(z[:, 0]))
    far = np.column_stack([z + 2.0**26, other])
    model = AsyncLassoRegressor(0.5, fit_intercept=False).fit(far, y)
    table = model.inference(**(dict(X=far, y=y) if robust else {}))
    for one in (0, 1):
        # The same coefficient beside the difference of this column from the other.
        known = [far[:, 1 - one] / 2.0**26, z[:, one] - z[:, 1 - one]]
        if n_others:
            known = [other[:, 0], z[:, 1 - one] - 0.0, z[:, one] - z[:, 1 - one]]
        judge = api.OLS(y, np.column_stack(known))
        judge = judge.fit(cov_type="HC1", use_t=True) if robust else judge.fit()
        expected = judge.params[-1], judge.bse[-1], judge.pvalues[-1]
        found = table.iloc[one][["estimate", "std_error", "p_value"]]
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("far", [0.0, 1e3, 2.0**27])
@pytest.mark.parametrize("robust", [False, True])
def test_few_rows_without_an_intercept(robust, far):
    """Wherever columns are: about zero those that are far from it are nearly the same."""
    draw = np.random.default_rng(2)
    z = np.round(8 * draw.normal(size=(40, 15)))
    y = z[:, 0] - z[:, 1] + 3 * draw.normal(size=40)
    X = np.column_stack([z + far, np.ones(40)])
    expected = AsyncLassoRegressor(1.0).fit(z, y)
    expected = expected.inference(**(dict(X=z, y=y) if robust else {}))
    table = AsyncLassoRegressor(1.0, fit_intercept=False).fit(X, y)
    table = table.inference(**(dict(X=X, y=y) if robust else {}))
    assert np.isnan(table.std_error.iloc[-1])
    np.testing.assert_allclose(table.std_error[:-1], expected.std_error, rtol=0.3)
    assert (abs(table.estimate[:-1] - expected.estimate) < expected.std_error).all()


FEW = 60
WIDE = np.random.default_rng(1).normal(size=(FEW, 2100))
STABLE = {
    "squared": (AsyncLassoCV(cv=4), AsyncLassoRegressor(), X, y),
    "a list of l1_ratio": (
        AsyncElasticNetCV(cv=4, l1_ratio=[0.3, 0.9]),
        AsyncElasticNetRegressor(),
        X,
        y,
    ),
    "two targets": (AsyncLassoCV(cv=4), AsyncLassoRegressor(), X, np.column_stack([y, X[:, 0]])),
    "one alpha": (
        AsyncLassoCV(cv=4, one_alpha=True),
        AsyncLassoRegressor(),
        X,
        np.column_stack([y, y[::-1]]),
    ),
    "many columns": (AsyncLassoCV(cv=4, alphas=7), AsyncLassoRegressor(), WIDE, y[:FEW]),
    "poisson": (
        AsyncLassoCV(cv=4, alphas=7, loss="poisson", standardize=True),
        AsyncLassoRegressor(loss="poisson"),
        X / X.std(axis=0),
        np.abs(y),
    ),
    "classes": (AsyncLogisticRegressionCV(alphas=7), AsyncLogisticRegression(), X, y > 0),
}


@pytest.mark.parametrize("name", STABLE)
def test_stability_is_how_many_training_sets_have_a_column(name):
    model, of_one, rows, target = STABLE[name]
    model.fit(rows, target)
    cv = StratifiedKFold(5) if name == "classes" else KFold(4)
    counts = np.zeros(model.coef_.shape)
    for train, _ in cv.split(rows, target):
        for index, alpha in enumerate(np.atleast_1d(model.alpha_)):
            of_one.set_params(alpha=alpha, tol=1e-12)
            if hasattr(model, "l1_ratio_") and "l1_ratio" in of_one.get_params():
                of_one.set_params(l1_ratio=model.l1_ratio_)
            found = of_one.fit(rows[train], target[train]).coef_ != 0
            if np.ndim(model.alpha_):
                counts[index] += found[index]
            else:
                counts += found
    np.testing.assert_array_equal(model.stability_, counts / cv.get_n_splits())
    assert np.ptp(counts) > 0
    if name == "squared":
        np.testing.assert_array_equal(model.inference().stability, model.stability_)
        assert not hasattr(AsyncLassoCV(criterion="bic").fit(X, y), "stability_")


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
def test_intervals_cover(design):
    """`python tests/intervals.py` has the table, of 500 data sets."""
    _, _, share, _ = coverage(design, 40)
    assert 0.92 < share < 0.98


def test_what_has_no_inference():
    with pytest.raises(NotFittedError):
        AsyncLassoRegressor().inference()
    with pytest.raises(ValueError, match="no statistics_"):
        AsyncLassoRegressor(loss="huber").fit(X, y).inference()
    with pytest.raises(ValueError, match="of one target, and the fit has 2"):
        AsyncLassoRegressor().fit(X, np.column_stack([y, y])).inference()
    with pytest.raises(ValueError, match="level == 1"):
        AsyncLassoCV(cv=2, alphas=3).fit(X, y).inference(1.0)
    with pytest.raises(ValueError, match=r"more rows \(4\) than coefficients"):
        AsyncLassoRegressor(1e-9).fit(X[:4], y[:4]).inference()
    with pytest.raises(ValueError, match="X has 10 rows, and the fit is of 300"):
        AsyncLassoRegressor().fit(X, y).inference(X=X[:10], y=y[:10])
    bad = X.copy()
    bad[3, 0] = np.nan
    with pytest.raises(ValueError, match="X contains NaN in column 0, row 3"):
        AsyncLassoRegressor().fit(X, y).inference(X=bad, y=y)
    assert not hasattr(AsyncLogisticRegression(), "inference")
