"""Cross-validation in one pass: scikit-learn's grid, errors and choice, for any splits."""

from __future__ import annotations

from itertools import cycle

import dask.array as da
import dask_ml.model_selection as dask_ml
import numpy as np
import pytest
import sklearn
from conftest import logged, reads
from scipy import sparse
from sklearn.datasets import make_regression
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.linear_model import ElasticNetCV, LassoCV, LassoLarsIC
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneOut,
    RepeatedKFold,
    ShuffleSplit,
    TimeSeriesSplit,
)
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.fixes import parse_version

from dask_lasso import (
    AsyncElasticNetCV,
    AsyncElasticNetRegressor,
    AsyncLassoCV,
    AsyncLassoRegressor,
)
from dask_lasso.solvers import width as _width

N = 503
X, y = make_regression(N, 12, n_informative=5, noise=20, random_state=0)
X += 3
RNG = np.random.default_rng(0)
WEIGHTS = RNG.uniform(0, 2, N)
GROUPS = RNG.integers(0, 12, N)
ROWS = (100, 203, 1, 199)
TIGHT = dict(tol=1e-13, max_iter=100_000)
FEW = dict(alphas=20)  # of which scikit-learn is done soon
OLD = parse_version(sklearn.__version__) < parse_version("1.9")


@pytest.fixture(params=["few columns", "many columns"])
def route(request, monkeypatch):
    """By the Gram of all columns, or by working sets."""
    if request.param == "many columns":
        monkeypatch.setattr(_width, "MAX_GRAM", 5)
        monkeypatch.setattr(_width, "MAX_MOMENTS", 5)
    return request.param


EVERY_ROUTE = pytest.mark.usefixtures("route")


def dask_data(rows=ROWS):
    return tuple(da.from_array(array, chunks=(rows, *array.shape[1:])) for array in (X, y, WEIGHTS))


def unknown(array):
    """The array with chunk sizes that nobody knows."""
    chunks = (np.nan,) * array.numblocks[0]
    return da.Array(array.dask, array.name, (chunks, *array.chunks[1:]), meta=array._meta)


def exactly(estimator, **params):
    """scikit-learn's estimator with a tight tolerance, given parameters by their names of today."""
    if OLD and isinstance(params.get("alphas"), int):
        params["n_alphas"] = params.pop("alphas")
    return estimator(**params, **TIGHT)


def assert_same_choice(ours, theirs):
    for name in ("alphas_", "mse_path_", "alpha_", "coef_", "intercept_"):
        expected = getattr(theirs, name)
        scale = np.abs(expected).max()
        got = getattr(ours, name)
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7 * scale, err_msg=name)
        assert np.shape(got) == np.shape(expected), name


def bootstrap():
    rng = np.random.default_rng(3)
    for _ in range(3):
        train = rng.integers(0, N, N)
        yield train, np.setdiff1d(np.arange(N), train)


SPLITTERS = {
    "default": lambda: None,
    "integer": lambda: 3,
    "kfold": lambda: KFold(4),
    "shuffled": lambda: KFold(4, shuffle=True, random_state=0),
    "repeated": lambda: RepeatedKFold(n_splits=3, n_repeats=3, random_state=0),
    "shuffle_split": lambda: ShuffleSplit(7, test_size=0.3, random_state=1),
    "time_series": lambda: TimeSeriesSplit(4),
    "pairs": lambda: list(KFold(3).split(X)),
    "masks": lambda: [(np.arange(N) >= 100, np.arange(N) < 100), (np.arange(N) < 400, [1, -1])],
    "bootstrap": lambda: list(bootstrap()),
}


@EVERY_ROUTE
@pytest.mark.parametrize(
    ("name", "weighted"),
    [
        *zip(SPLITTERS, cycle([False, True]), strict=False),
        *(
            pytest.param(*cell, marks=pytest.mark.slow)
            for cell in zip(SPLITTERS, cycle([True, False]), strict=False)
        ),
    ],
)
def test_any_splits(name, weighted, client):
    weights = WEIGHTS if weighted else None
    expected = exactly(LassoCV, cv=SPLITTERS[name](), **FEW).fit(X, y, weights)
    assert_same_choice(AsyncLassoCV(cv=SPLITTERS[name](), **FEW).fit(X, y, weights), expected)
    dX, dy, dw = dask_data()
    model = AsyncLassoCV(cv=SPLITTERS[name](), **FEW, client=client)
    assert_same_choice(model.fit(dX, dy, dw if weighted else None), expected)


@EVERY_ROUTE
def test_generator_of_pairs():
    expected = LassoCV(cv=bootstrap(), **TIGHT).fit(X, y)
    assert_same_choice(AsyncLassoCV(cv=bootstrap()).fit(X, y), expected)


PARAMS = [
    {"positive": True},
    {"fit_intercept": False},
    {"alphas": [0.3, 10.0, 2.0]},
    {"alphas": [1.0]},
    {"alphas": 7, "eps": 1e-2},
    {"positive": True, "fit_intercept": False},
]


def skip_if_old(params):
    if OLD and params == {"positive": True, "fit_intercept": False}:
        pytest.skip("before scikit-learn 1.9 the grid does not know of positive=True")


@EVERY_ROUTE
@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_parameters(params):
    skip_if_old(params)
    expected = exactly(LassoCV, **params).fit(X, y, WEIGHTS)
    assert_same_choice(AsyncLassoCV(**params).fit(X, y, WEIGHTS), expected)


@EVERY_ROUTE
@pytest.mark.parametrize("params", [{}, *PARAMS], ids=str)
@pytest.mark.parametrize("l1_ratio", [0.3, [0.1, 0.5, 0.95, 1]], ids=str)
def test_elastic_net(params, l1_ratio):
    skip_if_old(params)
    params = {**FEW, **params}
    expected = exactly(ElasticNetCV, l1_ratio=l1_ratio, cv=3, **params).fit(X, y, WEIGHTS)
    model = AsyncElasticNetCV(l1_ratio=l1_ratio, cv=3, **params).fit(X, y, WEIGHTS)
    assert_same_choice(model, expected)
    assert model.l1_ratio_ == expected.l1_ratio_


@EVERY_ROUTE
def test_elastic_net_on_dask(client):
    expected = exactly(ElasticNetCV, l1_ratio=[0.2, 0.9], **FEW).fit(X, y)
    dX, dy, _ = dask_data()
    model = AsyncElasticNetCV(l1_ratio=[0.2, 0.9], **FEW, client=client).fit(dX, dy)
    assert_same_choice(model, expected)


@EVERY_ROUTE
def test_lasso_is_the_elastic_net_without_ridge():
    lasso, net = AsyncLassoCV().fit(X, y), AsyncElasticNetCV(l1_ratio=1).fit(X, y)
    np.testing.assert_array_equal(lasso.mse_path_, net.mse_path_)
    assert not hasattr(lasso, "l1_ratio_")


@EVERY_ROUTE
@pytest.mark.parametrize(
    "cv",
    [
        dask_ml.KFold(4),
        dask_ml.KFold(3, shuffle=True, random_state=1),
        dask_ml.ShuffleSplit(3, test_size=0.2, random_state=0),
    ],
    ids=["kfold", "shuffled", "shuffle_split"],
)
def test_splitters_of_dask_ml(cv, client):
    dX, dy, _ = dask_data(100)
    pairs = [tuple(map(np.asarray, pair)) for pair in cv.split(dX)]
    expected = exactly(LassoCV, cv=pairs, **FEW).fit(X, y)
    assert_same_choice(AsyncLassoCV(cv=cv, **FEW, client=client).fit(dX, dy), expected)
    AsyncLassoCV(cv=cv, **FEW).fit(X, y)  # in memory it is one chunk


@EVERY_ROUTE
def test_groups(client):
    pairs = list(GroupKFold(4).split(X, y, GROUPS))
    expected = exactly(LassoCV, cv=pairs, **FEW).fit(X, y)
    dX, dy, _ = dask_data()
    dgroups = da.from_array(GROUPS, chunks=50)
    for cv in (4, GroupKFold(4)):
        assert_same_choice(AsyncLassoCV(cv=cv, **FEW).fit(X, y, groups=GROUPS), expected)
        model = AsyncLassoCV(cv=cv, **FEW, client=client)
        assert_same_choice(model.fit(dX, dy, groups=dgroups), expected)


@EVERY_ROUTE
def test_sparse(client):
    S = sparse.random(N, 12, density=0.3, random_state=0, format="csr")
    expected = exactly(LassoCV, **FEW).fit(S, y)
    for cv in (None, KFold(5)):
        assert_same_choice(AsyncLassoCV(cv=cv, **FEW).fit(S, y), expected)
    dS, dy = da.from_array(S, chunks=(100, 12), asarray=False), da.from_array(y, chunks=100)
    assert_same_choice(AsyncLassoCV(client=client, **FEW).fit(dS, dy), expected)


@EVERY_ROUTE
def test_leave_one_out():
    expected = exactly(LassoCV, cv=LeaveOneOut(), **FEW).fit(X[:40], y[:40])
    model = AsyncLassoCV(cv=LeaveOneOut(), **FEW)
    assert_same_choice(model.fit(X[:40], y[:40]), expected)


@pytest.mark.parametrize("rows", [(503,), (0, 250, 0, 253), (1,) * 10 + (493,), (37,) * 13 + (22,)])
@pytest.mark.parametrize("known", [True, False])
def test_chunks_do_not_matter(rows, known, route, client):
    if not known and route == "many columns":
        pytest.skip("splits are made by the numbers of rows before the first pass")
    dX, dy, dw = dask_data(rows)
    if not known:
        dX, dy, dw = map(unknown, (dX, dy, dw))
    expected = AsyncLassoCV(cv=4, **FEW).fit(X, y, WEIGHTS)
    model = AsyncLassoCV(cv=4, **FEW, client=client).fit(dX, dy, dw)
    np.testing.assert_allclose(model.mse_path_, expected.mse_path_, rtol=1e-10)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8, atol=1e-10)
    assert model.n_samples_seen_ == N


def test_data_frame(client):
    dd = pytest.importorskip("dask.dataframe")
    import pandas as pd

    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(12)]).assign(y=y)
    ddf = dd.from_pandas(frame, npartitions=5)
    model = AsyncLassoCV(client=client).fit(ddf.drop(columns="y"), ddf["y"])
    assert_same_choice(model, LassoCV(**TIGHT).fit(X, y))
    assert list(model.feature_names_in_) == list(frame.columns[:12])


def test_each_chunk_is_read_once(client, tmp_path):
    dX, dy, _ = dask_data()
    AsyncLassoCV(cv=7, client=client).fit(logged(tmp_path, dX), dy)
    assert reads(tmp_path) == {str(chunk): 1 for chunk in range(len(ROWS))}


@EVERY_ROUTE
def test_coefficients_are_those_of_the_regressor():
    model = AsyncLassoCV().fit(X, y)
    lasso = AsyncLassoRegressor(alpha=model.alpha_).fit(X, y)
    np.testing.assert_allclose(model.coef_, lasso.coef_, rtol=1e-10)
    np.testing.assert_allclose(model.predict(X), lasso.predict(X), rtol=1e-10)
    assert model.dual_gap_ <= 1e-6 * np.var(y)


@EVERY_ROUTE
def test_one_standard_error_rule():
    least = AsyncLassoCV(cv=5).fit(X, y)
    sparser = AsyncLassoCV(cv=5, rule="1se").fit(X, y)
    mean = least.mse_path_.mean(axis=1)
    best = mean.argmin()
    bound = mean[best] + least.mse_path_[best].std(ddof=1) / np.sqrt(5)
    assert sparser.alpha_ == least.alphas_[mean <= bound].max() > least.alpha_


@pytest.mark.parametrize("criterion", ["aic", "bic"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_information_criteria(criterion, fit_intercept, client):
    lars = LassoLarsIC(criterion, fit_intercept=fit_intercept).fit(X, y)
    # On the alphas where the path of LARS bends, the criteria are those of its own.
    alphas = lars.alphas_[lars.alphas_ > 0]
    model = AsyncLassoCV(criterion=criterion, alphas=alphas, fit_intercept=fit_intercept)
    model.fit(X, y)
    assert model.noise_variance_ == pytest.approx(lars.noise_variance_)
    # At a bend a coefficient is on the point of leaving zero, so look where none is.
    between = np.sqrt(alphas[:-1] * alphas[1:])
    model.set_params(alphas=between).fit(X, y)
    coefs = np.array(
        [AsyncLassoRegressor(a, fit_intercept=fit_intercept).fit(X, y).coef_ for a in between]
    )
    x_mean, y_mean = (X.mean(axis=0), y.mean()) if fit_intercept else (0.0, 0.0)
    residuals = (y - y_mean)[:, np.newaxis] - (X - x_mean) @ coefs.T
    squares = (residuals**2).sum(axis=0)
    factor = 2 if criterion == "aic" else np.log(N)
    expected = (
        N * np.log(2 * np.pi * lars.noise_variance_)
        + squares / lars.noise_variance_
        + factor * (coefs != 0).sum(axis=1)
    )
    np.testing.assert_allclose(model.criterion_, expected, rtol=1e-9)
    assert model.alpha_ == between[np.argmin(expected)]
    dX, dy, _ = dask_data()
    lazy = AsyncLassoCV(
        criterion=criterion, alphas=between, fit_intercept=fit_intercept, client=client
    )
    np.testing.assert_allclose(
        lazy.fit(unknown(dX), unknown(dy)).criterion_, model.criterion_, rtol=1e-9
    )


def test_information_criteria_need_rows():
    with pytest.raises(ValueError, match="variance of the noise"):
        AsyncLassoCV(criterion="bic").fit(X[:10], y[:10])


@pytest.mark.parametrize(
    "estimator",
    [AsyncLassoCV(rule="1se"), pytest.param(AsyncElasticNetCV(), marks=pytest.mark.slow)],
)
def test_check_estimator(estimator):
    results = check_estimator(estimator, on_skip=None)
    undone = {r["check_name"] for r in results if r["status"] != "passed"}
    assert undone <= {"check_array_api_input"}


@EVERY_ROUTE
def test_column_vector_warns():
    with pytest.warns(DataConversionWarning, match="1d array was expected"):
        model = AsyncLassoCV().fit(X, y[:, np.newaxis])
    assert model.coef_.shape == (12,)
    assert np.ndim(model.intercept_) == 0


@EVERY_ROUTE
@pytest.mark.parametrize(
    ("params", "fit_params", "message"),
    [
        ({"cv": 600}, {}, "n_splits=600"),
        ({"alphas": [1.0, -1.0]}, {}, r"alphas\[1\]"),
        ({"cv": [(np.arange(10), np.arange(600))]}, {}, "row 599"),
        ({"cv": [(np.arange(10), [])]}, {}, "test set of split 0 has no rows"),
        ({"rule": "2se"}, {}, "rule"),
        ({"criterion": "mse"}, {}, "criterion"),
        ({}, {"sample_weight": np.r_[np.ones(100), np.zeros(403)]}, "no rows, or none with"),
    ],
)
def test_bad_parameters(params, fit_params, message):
    model = AsyncLassoCV(**params)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, **fit_params)
    assert not hasattr(model, "coef_")
    assert not hasattr(model, "n_features_in_")


def test_grid_needs_an_l1_term():
    with pytest.raises(ValueError, match="l1_ratio=0"):
        AsyncElasticNetCV(l1_ratio=0).fit(X, y)


@EVERY_ROUTE
def test_splits_of_unknown_rows(client):
    dX, dy, _ = dask_data()
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        AsyncLassoCV(cv=KFold(3, shuffle=True), client=client).fit(unknown(dX), unknown(dy))


@EVERY_ROUTE
def test_defects_of_shuffled_rows_are_found(client):
    bad = X.copy()
    bad[250, 3] = np.nan
    dX, cv = da.from_array(bad, chunks=(ROWS, 12)), KFold(5, shuffle=True, random_state=0)
    with pytest.raises(ValueError, match="NaN in column 3, row 250"):
        AsyncLassoCV(cv=cv, client=client).fit(dX, da.from_array(y, chunks=ROWS))


@EVERY_ROUTE
def test_constant_target():
    model = AsyncLassoCV().fit(X, np.ones(N))
    # As in scikit-learn; see its test_uniform_targets in test_sklearn_own.
    np.testing.assert_array_equal(model.alphas_, np.full(100, np.finfo(float).resolution))
    np.testing.assert_array_equal(model.coef_, np.zeros(12))


def test_what_the_regressor_has(client, capsys):
    dX, dy, dw = dask_data()
    model = AsyncElasticNetCV(client=client, verbose=1, penalty_weights=np.linspace(1, 2, 12))
    model.fit(dX, dy, dw)
    assert "dual gap" in capsys.readouterr().out
    assert model.n_passes_ == 1
    assert model.certificate_ == "duality gap"
    assert model.sparse_coef_.shape == (1, 12)
    assert model.history_["samples_seen"].tolist() == [N]
    assert model.train_score_ == pytest.approx(model.score(X, y, WEIGHTS))
    with client.as_current():
        assert model.score(dX, dy, dw) == pytest.approx(model.train_score_)
        np.testing.assert_allclose(model.predict(dX).compute(), model.predict(X))
    # And on with new rows, by the regressor.
    params = dict(l1_ratio=model.l1_ratio_, penalty_weights=model.penalty_weights)
    regressor = AsyncElasticNetRegressor(model.alpha_, **params)
    regressor.fit_statistics(model.statistics_)
    np.testing.assert_allclose(regressor.coef_, model.coef_, rtol=1e-10, atol=1e-12)
    regressor.partial_fit(X[:100], y[:100], WEIGHTS[:100])
    assert regressor.n_samples_seen_ == N + 100


class FirstBlocks:
    """An engine that takes in some blocks and calls it a day."""

    def __init__(self, n):
        self.n = n

    def run(self, run):
        for result, _ in zip(run.completed(), range(self.n), strict=False):
            run.absorb(result)
        run.stopped_by = "max_time"


def test_time_that_ends_before_all_folds_are_read():
    settings = dict(cv=KFold(5), n_blocks=10)
    with pytest.warns(ConvergenceWarning, match="with 4 of 10 blocks not read"):
        model = AsyncLassoCV(engine=FirstBlocks(6), **settings).fit(X, y)
    read = model.n_samples_seen_
    pairs = [(train[train < read], test[test < read]) for train, test in KFold(5).split(X)]
    expected = AsyncLassoCV(cv=pairs[:3]).fit(X[:read], y[:read])
    np.testing.assert_array_equal(np.isnan(model.mse_path_[0]), [False] * 3 + [True] * 2)
    np.testing.assert_allclose(model.mse_path_[:, :3], expected.mse_path_, rtol=1e-9)
    assert model.alpha_ == pytest.approx(expected.alpha_)
    with pytest.raises(ValueError, match="set of split 4 has no rows"):
        AsyncLassoCV(engine=FirstBlocks(1), **settings).fit(X, y)


@EVERY_ROUTE
@pytest.mark.filterwarnings("ignore:Objective did not converge. fit was stopped")
def test_paths_that_do_not_converge_warn():
    steep = X * np.logspace(-3, 3, 12) + X[:, :1]
    with pytest.warns(ConvergenceWarning, match="alpha_ was chosen by"):
        AsyncLassoCV(max_iter=1, tol=1e-15, eps=1e-9).fit(steep, y)


@EVERY_ROUTE
@pytest.mark.parametrize("engine", ["sync", "async"])
def test_the_engine_does_not_change_the_choice(client, engine):
    dX, dy, _ = dask_data()
    expected = AsyncLassoCV(**FEW, client=client).fit(dX, dy)
    model = AsyncLassoCV(**FEW, engine=engine, client=client).fit(dX, dy)
    assert_same_choice(model, expected)
