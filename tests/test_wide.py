"""More columns than a Gram matrix should have: what is of working sets alone.

What holds on every route is in test_routes.py; here a few hundred columns are many.
"""

from __future__ import annotations

import _thread
import uuid
import warnings
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from datasets import LIBRARIES
from numpy.testing import assert_allclose
from routes import BORDER, MANY_COLUMNS, alpha_max, gap_on_rows
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, LassoCV
from sklearn.linear_model import lasso_path as sklearn_path

from dask_lasso import (
    AsyncElasticNetRegressor,
    AsyncLassoCV,
    AsyncLassoRegressor,
    PathDisplay,
    lasso_path,
)
from dask_lasso.places.memory import InMemory
from dask_lasso.problem.support import Support
from dask_lasso.rows import chunk as _chunk
from dask_lasso.rows import columns as _columns
from dask_lasso.rows import passes as _passes
from dask_lasso.rows import tiles as _tiles
from dask_lasso.solvers import sets as _sets
from dask_lasso.solvers import width as _wide

N_ROWS, N_COLUMNS = 150, MANY_COLUMNS


@pytest.fixture(autouse=True)
def _many_columns_are_few():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_wide, "MAX_GRAM", BORDER)
        yield


def dense_rows(seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N_ROWS, N_COLUMNS)) * rng.uniform(0.3, 3.0, N_COLUMNS) + rng.normal(
        size=N_COLUMNS
    )
    return X, target(X, rng)


def sparse_rows(seed=0):
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(N_ROWS, N_COLUMNS))
    X = sparse.csr_array(np.where(rng.uniform(size=dense.shape) < 0.05, dense, 0.0))
    return X, target(X, rng)


def target(X, rng):
    w = np.zeros(X.shape[1])
    w[rng.choice(X.shape[1], 12, replace=False)] = rng.choice([-2, 2], 12)
    y = X @ w
    return y + 0.3 * y.std() * rng.normal(size=len(y)) + 5


def reference(X, y, alpha, sample_weight=None, **kwargs):
    X = X.toarray() if sparse.issparse(X) else X
    model = Lasso(alpha, tol=1e-14, max_iter=100_000, **kwargs)
    return model.fit(X, y, sample_weight=sample_weight)


def chunked(array, chunk=40):
    rest = (-1,) * (array.ndim - 1)
    return da.from_array(array, chunks=(chunk, *rest), asarray=False)


def on_disk(X, folder, rows=(40, 40, 40, 30)):
    """X as a dask array that is read from a file, and notes it there, each time."""
    np.save(folder / "X.npy", X)
    return da.map_blocks(
        read_and_note, str(folder), chunks=(rows, (X.shape[1],)), dtype=float, meta=np.empty((0, 0))
    )


def read_and_note(folder, block_info=None):
    (start, stop), _ = block_info[None]["array-location"]
    (Path(folder) / f"read-{uuid.uuid4()}").touch()
    return np.load(Path(folder) / "X.npy", mmap_mode="r")[start:stop]


def test_each_pass_reads_each_chunk_once(client, tmp_path):
    X, y = dense_rows()
    alpha = 0.1 * alpha_max(X, y)
    dX = on_disk(X, tmp_path)
    with pytest.warns(UserWarning, match=r"persist\(\)"):
        model = AsyncLassoRegressor(alpha, client=client).fit(dX, chunked(y))
    assert len(list(tmp_path.glob("read-*"))) == model.n_passes_ * dX.numblocks[0]
    assert 3 <= model.n_passes_ <= 8
    assert_allclose(model.coef_, reference(X, y, alpha).coef_, rtol=0, atol=1e-8)


def test_few_columns_are_one_pass(monkeypatch):
    monkeypatch.setattr(_wide, "MAX_GRAM", 2000)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 2001)), rng.normal(size=40)
    assert AsyncLassoRegressor(0.1).fit(X[:, :2000], y).n_passes_ == 1
    assert AsyncLassoRegressor(0.1).fit(X, y).n_passes_ > 1


@pytest.mark.parametrize("engine", ["sync", "async"])
def test_admm_on_working_sets(engine):
    X, y = dense_rows()
    alpha = 0.3 * alpha_max(X, y)
    model = AsyncLassoRegressor(alpha, engine=engine, polish=False, tol=1e-12, n_blocks=3)
    model.fit(X, y)
    assert_allclose(model.coef_, reference(X, y, alpha).coef_, rtol=0, atol=1e-6)
    assert gap_on_rows(model, X, y) < 1e-12
    assert model.n_iter_ > 1  # sweeps over blocks, not solutions
    assert len(model.staleness_) == 3
    assert np.nanmax(model.history_["rho"]) > 0


@pytest.mark.slow
@LIBRARIES
def test_chunks_of_other_libraries(library, monkeypatch):
    dtype = np.float32
    X, y = dense_rows()
    X, y = X.astype(dtype), y.astype(dtype)
    library(X[:1])
    monkeypatch.setattr(_tiles, "DEVICE_ITEMS", 10 * N_COLUMNS)  # several tiles
    weight = np.random.default_rng(1).uniform(0, 2, len(y))
    there = chunked(X).map_blocks(library, dtype=dtype, meta=np.empty((0, 0), dtype=dtype))
    alpha = 0.6 * alpha_max(X, y, weight)
    expected = AsyncLassoRegressor(alpha).fit(X, y, weight)
    for settings, atol in (({}, 1e-6), ({"polish": False}, 1e-2)):
        model = AsyncLassoRegressor(alpha, **settings)
        with pytest.warns(UserWarning, match="persist"):
            model.fit(there, chunked(y), chunked(weight))
        assert_allclose(model.coef_, expected.coef_, rtol=0, atol=atol)
        assert model.dual_gap_ <= 1e-6 * np.average(
            (y - np.average(y, weights=weight)) ** 2, weights=weight
        )
    grid = np.geomspace(1, 0.3, 4) * alpha
    expected = AsyncLassoCV(alphas=grid, cv=3).fit(X, y)
    with pytest.warns(UserWarning, match="persist"):
        model = AsyncLassoCV(alphas=grid, cv=3).fit(there, chunked(y))
    assert_allclose(model.mse_path_, expected.mse_path_, rtol=1e-5)
    X[87, 3] = np.nan
    there = chunked(X).map_blocks(library, dtype=dtype, meta=np.empty((0, 0), dtype=dtype))
    with pytest.raises(ValueError, match="X contains NaN in column 3, row 87"):
        AsyncLassoRegressor(alpha).fit(there, chunked(y))


def test_a_warm_start_saves_passes():
    X, y = dense_rows()
    model = AsyncLassoRegressor(0.05 * alpha_max(X, y), warm_start=True).fit(X, y)
    first = model.n_passes_
    assert model.fit(X, y).n_passes_ < first


# -- choice of alpha -------------------------------------------------------------------

GRID = dict(cv=3, eps=0.1)
TIGHT = dict(tol=1e-11, max_iter=100_000)


def selected(model, expected):
    assert_allclose(model.alphas_, expected.alphas_, rtol=1e-9)
    assert_allclose(model.mse_path_, expected.mse_path_, rtol=1e-6)
    assert model.alpha_ == pytest.approx(expected.alpha_)
    assert_allclose(model.coef_, expected.coef_, rtol=0, atol=1e-6)
    assert_allclose(model.intercept_, expected.intercept_, atol=1e-6)


@pytest.fixture(scope="module")
def n_alphas():
    """The argument that gives a number of alphas: `n_alphas` before scikit-learn 1.7."""
    return {"alphas" if "n_alphas" not in LassoCV().get_params() else "n_alphas": 12}


@pytest.mark.parametrize(
    ("rows", "settings"),
    [(dense_rows, {}), (sparse_rows, {"fit_intercept": False}), (sparse_rows, {"positive": True})],
    ids=["dense", "sparse, raw", "sparse, positive"],
)
def test_cross_validation_equals_scikit_learns(rows, settings, n_alphas):
    X, y = rows()
    model = AsyncLassoCV(alphas=12, **GRID, **settings).fit(X, y)
    dense = X.toarray() if sparse.issparse(X) else X
    if "positive" in settings:  # for which scikit-learn 1.6 has a grid of its own
        n_alphas = {"alphas": model.alphas_}
    selected(model, LassoCV(**{**n_alphas, **GRID, **TIGHT, **settings}).fit(dense, y))
    assert 3 <= model.n_passes_ < 24
    assert model.dual_gap_ < 1e-9 * (y**2).mean()
    r = dense @ model.coef_ + model.intercept_ - y
    objective = r @ r / (2 * len(y)) + model.alpha_ * np.abs(model.coef_).sum()
    assert model.history_["objective"][-1] == pytest.approx(objective, rel=1e-9)


@pytest.mark.parametrize("settings", [{}, {"positive": True}, {"fit_intercept": True}])
def test_a_path_equals_scikit_learns(settings):
    X, y = dense_rows()
    alphas, coefs, gaps = lasso_path(X, y, alphas=15, eps=0.05, **settings)
    fitted = settings.pop("fit_intercept", False)
    mean = (X.mean(axis=0), y.mean()) if fitted else (0.0, 0.0)
    _, expected, _ = sklearn_path(X - mean[0], y - mean[1], alphas=alphas, tol=1e-11, **settings)
    assert_allclose(coefs, expected, rtol=0, atol=1e-6)
    assert (gaps < 1e-9 * (y**2).mean()).all()


@pytest.mark.parametrize("n_columns", [200, N_COLUMNS])
def test_the_gaps_of_a_path_are_what_tol_asks_for(n_columns, monkeypatch):
    """Of many columns, in fewer passes where fewer digits are asked for."""
    X, y = dense_rows()
    X, null_loss, passes = X[:, :n_columns], (y**2).mean(), {}
    for tol in (0.2, 1e-6, 0.0):
        passes[tol] = out_of_time_after(monkeypatch, np.inf)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            _, _, gaps = lasso_path(X, y, alphas=5, eps=0.01, tol=tol)
        assert len(told) == np.any(gaps > tol * null_loss)
        assert (gaps <= max(tol, 1e-12) * null_loss).all()
        monkeypatch.undo()
    if n_columns == N_COLUMNS:
        assert len(passes[0.2]) < len(passes[0.0])


def test_a_path_is_drawn_from_lasso_path():
    X, y = dense_rows()
    alphas, coefs, _ = lasso_path(X, y, alphas=5, eps=0.3)
    assert len(PathDisplay(alphas, coefs).plot().lines_) == N_COLUMNS
    with pytest.raises(ValueError, match=r"lasso_path\(X, y\)"):
        PathDisplay.from_estimator(AsyncLassoRegressor(0.3).fit(X, y))


def test_a_path_of_chunks(client):
    X, y = sparse_rows()
    alphas = np.geomspace(1, 0.05, 30) * alpha_max(X, y)
    expected = lasso_path(X, y, alphas=alphas)
    dX, dy = client.persist([chunked(X), chunked(y)])
    found = lasso_path(dX, dy, alphas=alphas, client=client)
    for ours, of_rows in zip(found, expected, strict=True):
        assert_allclose(ours, of_rows, rtol=0, atol=1e-9)


def test_penalty_weights_in_cross_validation():
    X, y = dense_rows()
    weights = np.random.default_rng(2).uniform(0.5, 2.0, N_COLUMNS)
    model = AsyncLassoCV(alphas=8, **GRID, penalty_weights=weights).fit(X, y)
    scaled = AsyncLassoCV(alphas=8, **GRID).fit(X / weights, y)
    assert_allclose(model.mse_path_, scaled.mse_path_, rtol=1e-8)
    assert_allclose(model.coef_, scaled.coef_ / weights, rtol=0, atol=1e-8)


def out_of_time_after(monkeypatch, n_passes):
    """Let the time of a fit in memory be over after so many passes; those that there were."""
    passes = []

    def reduce(self, *args, **options):
        passes.append(self)
        if len(passes) > n_passes:
            self.deadline = 0.0
        return in_time(self, *args, **options)

    in_time = InMemory.reduce
    monkeypatch.setattr(InMemory, "reduce", reduce)
    return passes


def test_cross_validation_out_of_time_chooses_among_what_is_done(monkeypatch):
    X, y = dense_rows()
    unhurried = AsyncLassoCV(alphas=12, **GRID).fit(X, y)
    out_of_time_after(monkeypatch, unhurried.n_passes_ - 1)
    with pytest.warns(ConvergenceWarning, match="max_time"):
        model = AsyncLassoCV(alphas=12, **GRID, max_time=1e6).fit(X, y)
    done = ~np.isnan(model.mse_path_).any(axis=1)
    assert done.any()
    assert not done.all()
    assert model.alpha_ in model.alphas_[done]


@pytest.mark.parametrize("loss", ["squared", "poisson", "huber"])
def test_a_path_out_of_time_ends_with_the_alphas_that_are_done(loss, monkeypatch):
    X, y = dense_rows()
    if loss == "poisson":
        y = np.round(np.exp(y / y.std()))
    settings = dict(alphas=12, eps=0.1, fit_intercept=True, loss=loss, tol=1e-4)
    passes = out_of_time_after(monkeypatch, np.inf)
    alphas, coefs, gaps = lasso_path(X, y, **settings)
    n_passes = len(passes)
    monkeypatch.undo()
    out_of_time_after(monkeypatch, n_passes - 1)
    with pytest.warns(ConvergenceWarning, match=r"max_time=1000000\.0 after \d+ of 12 alphas"):
        found = lasso_path(X, y, **settings, max_time=1e6)
    n_done = len(found[0])
    assert 0 < n_done < 12
    for of_path, expected in zip(found, (alphas, coefs, gaps), strict=True):
        assert_allclose(of_path, expected[..., :n_done], rtol=1e-12, atol=1e-12)
    monkeypatch.undo()
    out_of_time_after(monkeypatch, 1)
    with pytest.raises(TimeoutError, match=r"lasso_path was stopped by max_time=1000000\.0 before"):
        lasso_path(X, y, **settings, max_time=1e6)


@pytest.mark.parametrize("end", [KeyboardInterrupt, TimeoutError])
def test_a_path_that_is_interrupted_while_it_solves(end, monkeypatch):
    X, y = dense_rows()
    calls, solve = [], Support.solve

    def ends(self, *args):
        calls.append(self)
        if len(calls) == 3 and end is KeyboardInterrupt:
            _thread.interrupt_main()
        elif len(calls) == 3:
            monkeypatch.setattr(_sets.time, "perf_counter", lambda: np.inf)
        return solve(self, *args)

    monkeypatch.setattr(Support, "solve", ends)
    with pytest.raises(end):
        lasso_path(X, y, alphas=12, eps=0.1, max_time=1e6)
    assert len(calls) < 12


class Watches:
    """A callback that keeps what it is told of, and stops a fit after so many estimates."""

    def __init__(self, most):
        self.seen, self._most = [], most

    def setup(self, estimator, context): ...
    def teardown(self, estimator, context): ...
    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        self.seen.append(fitted_estimator)
        return len(self.seen) >= self._most


@pytest.mark.parametrize("loss", ["squared", "poisson"])
def test_callbacks_see_what_is_chosen_so_far_and_may_stop(loss):
    pytest.importorskip("sklearn.callback", reason="scikit-learn < 1.9 has no callbacks")
    X, y = dense_rows()
    if loss != "squared":
        X, y = X[:, :20], np.round(np.exp(y / y.std()))
    name = "mse_path_" if loss == "squared" else "deviance_path_"
    watches = Watches(2)
    model = AsyncLassoCV(alphas=30, loss=loss, **GRID).set_callbacks(watches)
    model.fit(X, y)
    done = [~np.isnan(getattr(seen, name)).any(axis=1) for seen in watches.seen[:2]]
    assert 0 < done[0].sum() < done[1].sum() < 30
    for seen, of_alphas in zip(watches.seen, done, strict=False):
        assert seen.alpha_ in seen.alphas_[of_alphas]
    assert len(model.history_["objective"]) == 2
    assert model.alpha_ == watches.seen[1].alpha_
    assert_allclose(model.coef_, watches.seen[1].coef_)


@pytest.mark.parametrize("cv", [2, 5])
def test_a_fit_that_is_interrupted_while_it_solves(cv, monkeypatch):
    """By Ctrl-C, or by the time: in one thread or several, and it is as it was before."""
    X, y = dense_rows()
    model = AsyncLassoCV(alphas=12, eps=0.1, cv=cv).fit(X, y)
    before, solve = dict(vars(model)), Support.solve
    for end in (KeyboardInterrupt, TimeoutError):
        calls = []  # nine are the first alphas of two folds and of all rows

        def ends(self, *args, end=end, calls=calls):
            calls.append(self)
            if len(calls) == 8 and end is KeyboardInterrupt:
                _thread.interrupt_main()
            elif len(calls) == 8:
                monkeypatch.setattr(_sets.time, "perf_counter", lambda: np.inf)
            return solve(self, *args)

        monkeypatch.setattr(Support, "solve", ends)
        with pytest.raises(end):
            model.set_params(max_time=1e6).fit(X, y)
        monkeypatch.undo()
        assert vars(model.set_params(max_time=None)) == before
        assert len(calls) < 12 * (cv + 1)


def test_out_of_time_in_the_first_pass(monkeypatch):
    X, y = dense_rows()
    model = AsyncLassoCV(**GRID, max_time=1e6).fit(X, y)
    before = dict(vars(model))
    out_of_time_after(monkeypatch, 0)
    with pytest.raises(TimeoutError, match=r"max_time=1000000\.0 before there was any estimate"):
        model.fit(X, y)
    assert vars(model) == before


def test_out_of_time_is_the_last_estimate_with_a_certificate(monkeypatch):
    X, y = dense_rows()
    alpha = 0.05 * alpha_max(X, y)
    out_of_time_after(monkeypatch, 4)
    with pytest.warns(ConvergenceWarning, match="stopped by max_time"):
        model = AsyncLassoRegressor(alpha, max_time=1e6).fit(X, y)
    null_loss = ((y - y.mean()) ** 2).mean()
    assert_allclose(model.dual_gap_, null_loss * gap_on_rows(model, X, y), rtol=1e-8)


def test_chunks_that_are_not_aligned():
    X, y = dense_rows()
    raw = np.empty(X.nbytes + 1, dtype=np.uint8)
    odd = raw[1:].view(np.float64).reshape(X.shape)
    odd[:] = X
    assert not odd.flags.aligned
    chunks, reverse = [_chunk.read(odd, y)], [_chunk.read(np.asfortranarray(X), y)]
    for found, expected in zip(
        _columns.column_moments(chunks), _columns.column_moments(reverse), strict=True
    ):
        if found is not None:
            assert_allclose(found, expected, rtol=1e-12)
    chosen = _passes.Chosen(np.array([3, 70]), X[:, [3, 70]].mean(axis=0))
    coef, y_mean = np.array([[1.0], [-2.0]]), np.array([y.mean()])
    for task, args in (
        (_passes.products, (chosen, 2)),
        (_passes.residuals, (chosen, coef, y_mean)),
    ):
        for found, expected in zip(task(chunks, *args), task(reverse, *args), strict=True):
            assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_cross_validation_of_many_columns_needs_chunk_sizes():
    X, y = dense_rows()
    dX, dy = chunked(X[:20]), chunked(y[:20])
    wide = da.concatenate([dX] * 40, axis=1)
    wide._chunks, dy._chunks = ((np.nan,), wide.chunks[1]), ((np.nan,),)
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        AsyncLassoCV(cv=3).fit(wide, dy)


# -- the border ------------------------------------------------------------------------


@pytest.mark.parametrize("as_sparse", [True, False])
def test_duplicate_constant_and_empty_columns(as_sparse):
    X, y = dense_rows()
    X[:, 100:180] = X[:, 180:260]
    X[:, 50] = 0.0
    X[:, 51] = 7.0
    alpha = 0.1 * alpha_max(X, y)
    data = sparse.csr_array(X) if as_sparse else X
    model = AsyncLassoRegressor(alpha).fit(data, y)
    assert gap_on_rows(model, X, y) < 1e-9
    assert not model.coef_[50:52].any()
    expected = reference(X, y, alpha)
    assert_allclose(model.predict(data), expected.predict(X), rtol=0, atol=1e-7)


@pytest.mark.parametrize("fraction", [1e-2, 1e-4])
def test_more_columns_wanted_than_rows_allow(fraction):
    X, y = dense_rows()
    alpha = fraction * alpha_max(X, y)
    model = AsyncLassoRegressor(alpha).fit(X, y)
    assert gap_on_rows(model, X, y) < 1e-6
    assert np.count_nonzero(model.coef_) < N_ROWS


# -- bad input and limits --------------------------------------------------------------


def test_a_bad_value_of_rows_that_are_not_in_memory_is_located(client):
    X, y = dense_rows()
    X[87, 3] = np.nan
    with pytest.raises(ValueError, match=r"X contains NaN in column 3, row 87 \(chunk 2\)"):
        AsyncLassoRegressor(client=client).fit(chunked(X), chunked(y))


def test_what_needs_all_moments_says_so():
    X = np.zeros((10, _wide.MAX_MOMENTS + 1))
    X[0] = 1.0
    y = np.arange(10.0)
    for model in (
        AsyncLassoRegressor(penalty_weights=np.arange(X.shape[1])),
        AsyncElasticNetRegressor(l1_ratio=0),
        AsyncLassoCV(criterion="bic"),
    ):
        with pytest.raises(ValueError, match=f"X has {X.shape[1]} columns"):
            model.fit(X, y)


@pytest.mark.slow
def test_raw_rows_of_many_columns_need_no_moments():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, _wide.MAX_MOMENTS + 1))
    y = X[:, :3].sum(axis=1) + rng.normal(size=60)
    alpha = 0.8 * alpha_max(X, y)
    expected = AsyncLassoRegressor(alpha).fit(X, y)
    for loss in ("squared", "huber"):
        settings = dict(loss=loss, huber_delta=1e6, local_solver="lbfgs")
        model = AsyncLassoRegressor(alpha, n_blocks=1, **settings).fit(X, y)
        assert_allclose(model.coef_, expected.coef_, rtol=0, atol=1e-2)
        assert model.dual_gap_ <= 1e-6 * y.var()


@pytest.mark.parametrize("weight", [1.0, 2.0**600], ids=["units of X", "units of weights"])
@pytest.mark.parametrize(
    "settings", [{}, {"bounds": (-np.inf, 0.1)}, {"positive": True}], ids=["", "bounds", "positive"]
)
@pytest.mark.parametrize("is_held", [True, False])
def test_products_of_squares_may_be_too_large(is_held, settings, weight, monkeypatch):
    if not is_held:
        monkeypatch.setattr(_sets, "_MOST_VALUES", 0)
    X, y = sparse_rows()
    X, y = X.toarray()[:60, :110], y[:60]
    x_unit, y_unit = (2.0**495, 2.0**300) if weight == 1 else (1.0, 1.0)
    found = []
    for of_x, of_y, of_rows in [(1.0, 1.0, 1.0), (x_unit, y_unit, weight)]:
        bounds = settings.get("bounds")
        limits = {} if bounds is None else {"bounds": tuple(b * (of_y / of_x) for b in bounds)}
        grid = np.array([0.3, 0.1, 0.03]) * (of_x * of_y)
        weights = np.full(60, of_rows)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            _, coefs, _ = lasso_path(
                X * of_x,
                y * of_y,
                alphas=grid,
                sample_weight=weights,
                fit_intercept=True,
                tol=1e-12,
                **settings | limits,
            )
            cv = AsyncLassoCV(alphas=grid, cv=3, **settings | limits)
            cv.fit(X * of_x, y * of_y, sample_weight=weights)
        found.append(np.column_stack([coefs, cv.coef_]) * (of_x / of_y))
    assert_allclose(found[1], found[0], rtol=0, atol=1e-8 * np.abs(found[0]).max())


@pytest.mark.parametrize("is_held", [True, False])
def test_squares_of_coefficients_may_be_too_large(is_held, monkeypatch):
    """They are of a ridge term, and where there is none nothing is made of them."""
    if not is_held:
        monkeypatch.setattr(_sets, "_MOST_VALUES", 0)
    X, y = sparse_rows()
    X, y = X.toarray()[:60, :110], y[:60]
    of_x, of_y, found = 2.0**-500, 2.0**20, []
    for x_unit, y_unit in [(1.0, 1.0), (of_x, of_y)]:
        unit = x_unit * y_unit
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            _, coefs, gaps = lasso_path(X * x_unit, y * y_unit, alphas=[0.1 * unit, 0.03 * unit])
            model = AsyncLassoRegressor(0.03 * unit, tol=1e-9).fit(X * x_unit, y * y_unit)
        assert np.isfinite([*gaps, model.dual_gap_]).all()
        found.append(np.column_stack([coefs, model.coef_]) * (x_unit / y_unit))
    assert_allclose(found[1], found[0], rtol=0, atol=1e-8 * np.abs(found[0]).max())
