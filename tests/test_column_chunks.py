"""Rows whose columns are in chunks too, as genotypes come: no row is ever put together."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from conftest import assert_nothing_left
from numpy.testing import assert_allclose
from routes import BORDER, MANY_COLUMNS, N_ROWS
from scipy import sparse

from dask_lasso import (
    AsyncElasticNetCV,
    AsyncElasticNetRegressor,
    AsyncLassoCV,
    AsyncLassoRegressor,
    AsyncLogisticRegression,
    AsyncLogisticRegressionCV,
    lasso_path,
)
from dask_lasso.penalties import GroupLasso
from dask_lasso.places import joined as _joined
from dask_lasso.rows.chunk import read
from dask_lasso.solvers import newton_columns as _columns
from dask_lasso.solvers import width as _width

KINDS = {
    "int8": lambda X: X.astype(np.int8),
    "uint8": lambda X: X.astype(np.uint8),
    "bool": lambda X: X > 0,
    "float32, by columns": lambda X: np.asfortranarray(X, dtype=np.float32),
    "float64, by columns": np.asfortranarray,
    "CSR": sparse.csr_matrix,
    "CSC": sparse.csc_matrix,
}
FITS = {
    "fit": AsyncLassoRegressor(0.1),
    "no intercept": AsyncElasticNetRegressor(0.1, l1_ratio=0.5, fit_intercept=False),
    "ADMM": AsyncLassoRegressor(0.3, polish=False, tol=1e-8, n_blocks=2),
    "folds": AsyncLassoCV(alphas=[0.3, 0.2, 0.1], cv=3),
    "mixed folds": AsyncElasticNetCV(alphas=[0.3, 0.2], l1_ratio=0.7, cv=3),
}


pytestmark = pytest.mark.filterwarnings("ignore:fit reads the rows")


@pytest.fixture
def widths(monkeypatch):
    """How many columns each chunk had that was read; many are few here."""
    monkeypatch.setattr(_width, "MAX_GRAM", BORDER)
    found = []
    monkeypatch.setattr(
        _joined, "read", lambda X, *args: found.append(X.shape[1]) or read(X, *args)
    )
    return found


def dosages():
    rng = np.random.default_rng(0)
    X = rng.binomial(2, rng.uniform(0.05, 0.5, MANY_COLUMNS), (N_ROWS, MANY_COLUMNS)).astype(float)
    y = X[:, ::40] @ np.array([1.0, -1, 1, -1, 1, -1, 1]) + 0.3 * rng.normal(size=N_ROWS)
    return X, y, rng.uniform(0.5, 2, N_ROWS)


def in_chunks(X, rows, columns=(60, 50, 0, 100, 50)):
    """Of rows and of columns, of which one is empty."""
    if not sparse.issparse(X):
        return da.from_array(X, chunks=(rows, columns), asarray=False)
    starts = np.cumsum([0, *columns])[:-1]
    return da.concatenate(
        [
            da.from_array(X[:, start : start + n], chunks=(rows, n), asarray=False)
            for start, n in zip(starts, columns, strict=True)
            if n
        ],
        axis=1,
    )


def assert_close(found, expected):
    assert_allclose(found, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


SEVERAL = (40, 70, 0, 40)


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("int8", SEVERAL),
        ("bool", N_ROWS),
        ("float32, by columns", SEVERAL),
        ("float64, by columns", N_ROWS),
        ("CSR", N_ROWS),
        ("CSC", SEVERAL),
    ],
)
def test_a_path_is_that_of_joined_columns(kind, rows, widths, thread_workers):
    X, y, _ = dosages()
    X = KINDS[kind](X)
    settings = dict(alphas=6, eps=0.1, fit_intercept=True)
    _, expected, _ = lasso_path(X, y, **settings)
    widths.clear()
    with thread_workers.as_current():
        _, found, gaps = lasso_path(in_chunks(X, rows), y, **settings)
    assert_close(found, expected)
    assert gaps.max() <= 1e-6 * y.var()
    assert max(widths) < MANY_COLUMNS
    assert_nothing_left(thread_workers)


@pytest.mark.parametrize(
    ("fit", "is_persisted"),
    [(fit, fit not in ("fit", "folds")) for fit in FITS] + [("fit", True)],
)
def test_fits_are_those_of_joined_columns(fit, is_persisted, widths, thread_workers):
    X, y, weights = dosages()
    expected = FITS[fit].fit(X, y, weights)
    coef, gap = expected.coef_, np.max(expected.dual_gap_)
    widths.clear()
    there = in_chunks(X.astype(np.int8), 70)
    there = thread_workers.persist(there) if is_persisted else there
    model = FITS[fit].set_params(client=thread_workers).fit(there, y, weights)
    model.set_params(client=None)
    within = 1e-8 if fit != "ADMM" else 1e-4
    assert_allclose(model.coef_, coef, rtol=0, atol=within * np.abs(coef).max())
    assert np.max(model.dual_gap_) <= max(10 * gap, 1e-9)
    assert max(widths) < MANY_COLUMNS
    del there
    assert_nothing_left(thread_workers)


def test_several_targets(widths, thread_workers):
    X, y, _ = dosages()
    Y = np.column_stack([y, y[::-1]])
    expected = AsyncLassoRegressor(0.1).fit(X, Y).coef_
    widths.clear()
    model = AsyncLassoRegressor(0.1, client=thread_workers).fit(in_chunks(X, 70), Y)
    assert_close(model.coef_, expected)
    assert max(widths) < MANY_COLUMNS


def test_an_offset_and_far_columns_of_a_path(widths, thread_workers):
    X, y, offset = dosages()
    X = X + 1e6
    grid = dict(alphas=[0.3, 0.1], cv=3)
    expected = AsyncLassoCV(**grid).fit(X, y, offset=offset)
    widths.clear()
    model = AsyncLassoCV(**grid, client=thread_workers).fit(in_chunks(X, 70), y, offset=offset)
    assert_close(model.coef_, expected.coef_)
    assert max(widths) < MANY_COLUMNS


@pytest.mark.parametrize("kind", ["int8", "CSR"])
def test_alphas_at_which_there_are_no_coefficients(kind, widths, thread_workers):
    X, y, _ = dosages()
    X = KINDS[kind](X)
    settings = dict(alphas=[9.0, 8.0, 7.0, 6.0, 5.0, 0.1], fit_intercept=True)
    _, expected, _ = lasso_path(X, y, **settings)
    widths.clear()
    with thread_workers.as_current():
        _, found, gaps = lasso_path(in_chunks(X, SEVERAL), y, **settings)
    assert not found[:, :5].any()
    assert_close(found, expected)
    assert gaps.max() <= 1e-6 * y.var()
    assert max(widths) < MANY_COLUMNS


@pytest.mark.parametrize("argument", ["X", "y"])
def test_a_bad_value_is_located(argument, widths, thread_workers):
    X, y, _ = dosages()
    if argument == "X":
        X[101, 137] = np.nan
    else:
        y[101] = np.nan
    where = "column 137, row 101" if argument == "X" else "column 0, row 101"
    with pytest.raises(ValueError, match=rf"Input {argument} contains NaN in {where} \(chunk 1\)"):
        AsyncLassoRegressor(0.1, client=thread_workers).fit(in_chunks(X, 70), y)
    assert max(widths) < MANY_COLUMNS
    assert_nothing_left(thread_workers)


def target_of(loss):
    """Dosages, and what a loss takes for y; and numbers about one, for each row."""
    X, y, weights = dosages()
    y = (y - y.mean()) / y.std()
    targets = {
        "logistic": lambda: (y > 0).astype(float),
        "classes": lambda: np.digitize(y, [-0.5, 0.5]),
        "poisson": lambda: np.round(np.exp(y)),
        "gamma": lambda: np.exp(y),
        "huber": lambda: y,
    }
    return X, targets[loss](), weights


def one_fit(loss, alpha=0.08, **settings):
    if loss in ("logistic", "classes"):
        return AsyncLogisticRegression(alpha, **settings)
    return AsyncElasticNetRegressor(alpha, l1_ratio=0.9, loss=loss, **settings)


def choice(loss, **settings):
    settings = dict(alphas=[0.1, 0.07], cv=3, **settings)
    if loss in ("logistic", "classes"):
        return AsyncLogisticRegressionCV(**settings)
    return AsyncLassoCV(loss=loss, **settings)


@pytest.fixture
def wide_losses(monkeypatch, widths):
    """Columns that are too many for Gram matrices of training sets, and for Huber's loss."""
    monkeypatch.setattr(_width, "MAX_MOMENTS", BORDER)
    monkeypatch.setattr(_width, "_MOST_VALUES", 6 * BORDER**2)
    return widths


COLUMNS = np.random.default_rng(5).uniform(0.5, 2.0, MANY_COLUMNS)
COLUMNS[[3, 130]] = 0.0
LOSSES = ["logistic", "classes", "poisson", "gamma", "huber"]


@pytest.mark.parametrize(
    ("loss", "kind", "settings", "beside", "rows"),
    [
        *((loss, "int8", {}, (), SEVERAL) for loss in LOSSES),
        ("logistic", "int8", {}, (), N_ROWS),
        ("logistic", "uint8", dict(penalty_weights=COLUMNS), ("sample_weight",), SEVERAL),
        ("logistic", "bool", dict(standardize=True), (), N_ROWS),
        ("logistic", "float32, by columns", dict(fit_intercept=False), ("offset",), SEVERAL),
        ("poisson", "float64, by columns", dict(positive=True), ("offset", "sample_weight"), 70),
        ("classes", "uint8", dict(penalty_weights=COLUMNS), ("sample_weight",), N_ROWS),
        ("classes", "CSR", dict(fit_intercept=False), (), SEVERAL),
        ("logistic", "CSC", dict(positive=True), ("sample_weight",), N_ROWS),
        ("huber", "float32, by columns", dict(positive=True), ("sample_weight",), 70),
    ],
)
def test_losses_are_those_of_joined_columns(
    loss, kind, settings, beside, rows, wide_losses, thread_workers
):
    X, y, values = target_of(loss)
    X = KINDS[kind](X)
    beside = {name: values - (name == "offset") for name in beside}
    expected = one_fit(loss, **settings).fit(X, y, **beside)
    wide_losses.clear()
    model = one_fit(loss, client=thread_workers, **settings)
    model.fit(in_chunks(X, rows), y, **beside)
    within = 1e-5 if "float32" in kind else 1e-8
    assert_allclose(model.coef_, expected.coef_, rtol=0, atol=within * abs(expected.coef_).max())
    assert_allclose(model.intercept_, expected.intercept_, rtol=within, atol=within)
    assert np.count_nonzero(model.coef_)
    assert np.sum(model.dual_gap_) <= 1e-6
    assert max(wide_losses) < MANY_COLUMNS
    model.set_params(client=None)
    assert_nothing_left(thread_workers)


SHOWN_AGAIN = pytest.mark.slow


@pytest.mark.parametrize(
    ("loss", "kind", "rows"),
    [
        ("logistic", "int8", SEVERAL),
        ("classes", "CSR", N_ROWS),
        ("huber", "CSR", SEVERAL),
        *(pytest.param(loss, "int8", N_ROWS, marks=SHOWN_AGAIN) for loss in LOSSES[1:]),
        *(pytest.param(loss, "CSR", SEVERAL, marks=SHOWN_AGAIN) for loss in ("poisson", "gamma")),
    ],
)
def test_folds_of_losses_are_those_of_joined_columns(loss, kind, rows, wide_losses, thread_workers):
    X, y, weights = target_of(loss)
    X = KINDS[kind](X)
    expected = choice(loss).fit(X, y, weights)
    wide_losses.clear()
    model = choice(loss, client=thread_workers).fit(in_chunks(X, rows), y, weights)
    assert model.alpha_ == expected.alpha_
    assert_close(model.coef_, expected.coef_)
    assert_allclose(model.deviance_path_, expected.deviance_path_, rtol=1e-6)
    assert max(wide_losses) < MANY_COLUMNS
    model.set_params(client=None)
    assert_nothing_left(thread_workers)


@pytest.mark.parametrize("loss", [pytest.param("poisson", marks=SHOWN_AGAIN), "huber"])
def test_a_path_of_a_loss_is_that_of_joined_columns(loss, wide_losses, thread_workers):
    X, y, _ = target_of(loss)
    settings = dict(alphas=4, eps=0.3, loss=loss, fit_intercept=True)
    alphas, expected, _ = lasso_path(X, y, **settings)
    wide_losses.clear()
    with thread_workers.as_current():
        found_alphas, found, _ = lasso_path(in_chunks(X.astype(np.int8), SEVERAL), y, **settings)
    assert_allclose(found_alphas, alphas)
    assert_close(found, expected)
    assert max(wide_losses) < MANY_COLUMNS


@pytest.mark.parametrize("scoring", ["roc_auc", pytest.param("accuracy", marks=SHOWN_AGAIN)])
def test_scores_of_held_out_rows(scoring, wide_losses, thread_workers):
    X, y, _ = target_of("logistic")
    expected = choice("logistic", scoring=scoring).fit(X, y)
    wide_losses.clear()
    model = choice("logistic", scoring=scoring, client=thread_workers)
    model.fit(in_chunks(X.astype(np.int8), SEVERAL), y)
    assert_allclose(model.score_path_, expected.score_path_)
    assert max(wide_losses) < MANY_COLUMNS


def test_a_warm_start_of_a_loss(wide_losses, thread_workers):
    X, y, _ = target_of("logistic")
    there = in_chunks(X.astype(np.int8), SEVERAL)
    model = one_fit("logistic", 0.12, client=thread_workers, warm_start=True).fit(there, y)
    model.set_params(alpha=0.08).fit(there, y)
    assert_close(model.coef_, one_fit("logistic").fit(X, y).coef_)
    assert max(wide_losses) < MANY_COLUMNS


@pytest.mark.parametrize(("argument", "value"), [("X", np.nan), ("y", np.nan), ("y", -1.0)])
def test_a_bad_value_is_located_with_a_loss(argument, value, wide_losses, thread_workers):
    X, y, _ = target_of("poisson")
    if argument == "X":
        X[101, 137] = value
    else:
        y[101] = value
    with pytest.raises(ValueError, match=rf"Input {argument} .*row 101 \(chunk 1\)"):
        one_fit("poisson", client=thread_workers).fit(in_chunks(X, 70), y)
    assert max(wide_losses) < MANY_COLUMNS
    assert_nothing_left(thread_workers)


def test_groups_of_columns(thread_workers):
    X, y, _ = dosages()
    penalty = GroupLasso(np.arange(MANY_COLUMNS) // 4)
    expected = AsyncLassoRegressor(0.1, penalty=penalty).fit(X, y).coef_
    there = in_chunks(X.astype(np.int8), SEVERAL)
    model = AsyncLassoRegressor(0.1, penalty=penalty, client=thread_workers).fit(there, y)
    assert np.count_nonzero(model.coef_)
    assert_close(model.coef_, expected)


def test_a_sample_is_of_some_chunks_of_few_columns(thread_workers, monkeypatch):
    X, y, _ = target_of("logistic")
    X = X[:, ::40]
    expected = one_fit("logistic", 0.01).fit(X, y)
    monkeypatch.setattr(_columns, "ENOUGH", 1)  # else every chunk is looked at
    there = da.from_array(X, chunks=(5, 2))
    model = one_fit("logistic", 0.01, client=thread_workers).fit(there, da.from_array(y, 5))
    assert_close(model.coef_, expected.coef_)
