"""An offset: what is added to the linear predictor of each row, with a coefficient of one."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from scipy import sparse
from scipy.special import expit
from sklearn.metrics import accuracy_score, d2_tweedie_score, r2_score
from test_glm import ALPHA, LOSSES, POWERS, K, N, coefficients, model_of, rows

from dask_lasso import AsyncElasticNetCV, AsyncLassoCV, AsyncLassoRegressor, AsyncLogisticRegression

OFFSET = np.random.default_rng(7).normal(size=N)
PLACES = ["memory", "processes"]


def rows_of(loss):
    """X and y, which is of another scale in each row: counts in years of exposure, say."""
    X, y = rows(loss)
    if loss == "logistic":
        odds = X[:, 0] - X[:, 1] + 2 * OFFSET
        return X, (np.random.default_rng(3).random(N) < expit(odds)).astype(float)
    return X, np.random.default_rng(3).poisson(np.exp(OFFSET)) + 0.1 if loss == "gamma" else y


def put(place, *arrays):
    """The arrays at a place, in chunks of 150 rows; others in other chunks."""
    if place == "memory":
        return arrays
    return [
        da.from_array(a, chunks=(150 if number < 2 else 200,) + (-1,) * (a.ndim - 1))
        for number, a in enumerate(arrays)
    ]


def fitted(model, place, client, X, y, offset=OFFSET, weights=None):
    if place == "processes":
        model.client = client
    X, y, offset = put(place, X, y, offset)
    return model.fit(X, y, weights, offset=offset)


def violation(loss, X, y, coef, intercept, weights=None):
    """By how much the conditions of optimality are violated, in units of alpha."""
    weights = np.ones(N) if weights is None else weights
    slope = -weights * LOSSES[loss].derivative(X @ coef + intercept + OFFSET, y) / weights.sum()
    correlation = X.T @ slope
    beside = np.where(
        coef != 0, np.abs(correlation - ALPHA * np.sign(coef)), np.abs(correlation) - ALPHA
    )
    return max(beside.max(), abs(slope.sum())) / ALPHA


@pytest.mark.parametrize(
    ("place", "weighted"),
    [
        ("memory", False),
        ("memory", True),
        ("processes", True),
        pytest.param("processes", False, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("loss", LOSSES)
def test_it_is_optimal_and_certified(loss, weighted, place, client):
    X, y = rows_of(loss)
    weights = np.random.default_rng(1).integers(0, 4, size=N).astype(float) if weighted else None
    model = fitted(model_of(loss), place, client, X, y, weights=weights)
    coef, intercept = coefficients(model)
    assert violation(loss, X, y, coef, intercept, weights) <= 1e-6
    assert model.dual_gap_ <= (1e-7 if loss == "huber" else 1e-11)
    assert not np.allclose(coef, coefficients(model_of(loss).fit(X, y, weights))[0], atol=1e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gap_is_never_below_the_excess(loss):
    X, y = rows_of(loss)
    best = model_of(loss, tol=1e-12).fit(X, y, offset=OFFSET)
    found = [
        model_of(loss, tol=tol, polish=polish) for tol in (1e-2, 1e-4) for polish in (True, False)
    ]
    wide = np.longdouble

    def objective(model):
        coef, intercept = coefficients(model)
        eta = X.astype(wide) @ coef.astype(wide) + wide(intercept) + OFFSET
        return LOSSES[loss].value(eta, y.astype(wide)).mean() + wide(ALPHA) * np.abs(coef).sum()

    for model in found:
        model.fit(X, y, offset=OFFSET)
        assert objective(model) - objective(best) <= model.dual_gap_ + 1e-15
    assert found[1].dual_gap_ > 0


@pytest.mark.parametrize("engine", ["sync", "async", "batched"])
@pytest.mark.parametrize("loss", LOSSES)
def test_admm_gives_the_same(loss, engine):
    X, y = rows_of(loss)
    settings = dict(polish=False, engine=engine, tol=1e-10, n_blocks=4)
    model = model_of(loss, **settings).fit(X, y, offset=OFFSET)
    exact = model_of(loss).fit(X, y, offset=OFFSET)
    np.testing.assert_allclose(model.coef_, exact.coef_, rtol=0, atol=1e-4)
    assert model.certificate_ == "duality gap"


def test_exposure_is_a_weight_of_rates():
    X, y = rows("poisson")
    exposure = np.exp(OFFSET)
    counts = AsyncLassoRegressor(ALPHA, loss="poisson").fit(X, y, offset=OFFSET)
    rates = AsyncLassoRegressor(ALPHA * N / exposure.sum(), loss="poisson")
    rates.fit(X, y / exposure, exposure)
    np.testing.assert_allclose(counts.coef_, rates.coef_, rtol=0, atol=1e-8)
    np.testing.assert_allclose(counts.intercept_, rates.intercept_, rtol=0, atol=1e-8)


def test_the_offset_of_a_scale_is_a_unit_of_y():
    X, y = rows_of("gamma")
    model = AsyncLassoRegressor(ALPHA, loss="gamma").fit(X, y, offset=OFFSET)
    scaled = AsyncLassoRegressor(ALPHA, loss="gamma").fit(X, y * np.exp(-OFFSET))
    np.testing.assert_allclose(model.coef_, scaled.coef_, rtol=0, atol=1e-8)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "settings",
    [{}, {"polish": False}, {"loss": "huber"}, {"local_solver": "lbfgs"}],
    ids=lambda settings: str(*settings.values()),
)
def test_of_a_residual_it_is_taken_from_y(settings, place, client):
    X, y = rows("gamma")
    model = fitted(AsyncLassoRegressor(ALPHA, tol=1e-10, **settings), place, client, X, y)
    other = AsyncLassoRegressor(ALPHA, tol=1e-10, **settings).fit(X, y - OFFSET)
    np.testing.assert_allclose(model.coef_, other.coef_, rtol=0, atol=1e-5 if settings else 1e-12)
    if not settings:
        half = AsyncLassoRegressor(ALPHA).partial_fit(X[:500], y[:500], offset=OFFSET[:500])
        half.partial_fit(X[500:], y[500:], offset=OFFSET[500:])
        np.testing.assert_allclose(model.coef_, half.coef_, rtol=0, atol=1e-12)
    expected = r2_score(y, X @ model.coef_ + model.intercept_ + OFFSET)
    arrays = put(place, X, y, OFFSET)
    assert model.score(*arrays[:2], offset=arrays[2]) == pytest.approx(expected, rel=1e-9)


def test_alpha_is_chosen_with_it():
    X, y = rows("gamma")
    Y = np.column_stack([y, -y]) - OFFSET[:, np.newaxis]
    model = AsyncLassoCV(alphas=20).fit(X, y, offset=OFFSET)
    other = AsyncLassoCV(alphas=20).fit(X, y - OFFSET)
    np.testing.assert_allclose(model.mse_path_, other.mse_path_, rtol=1e-12)
    net = AsyncElasticNetCV(alphas=5).fit(*put("processes", X, y), offset=OFFSET)
    np.testing.assert_allclose(net.coef_, AsyncElasticNetCV(alphas=5).fit(X, y - OFFSET).coef_)
    several = AsyncLassoRegressor(ALPHA).fit(X, np.column_stack([y, -y]), offset=OFFSET)
    np.testing.assert_allclose(several.coef_, AsyncLassoRegressor(ALPHA).fit(X, Y).coef_)


@pytest.mark.parametrize(
    "kind", ["sparse", "sparse chunks", "memory beside dask", "dask beside memory", "frame"]
)
@pytest.mark.parametrize("loss", ["poisson", "logistic"])
def test_collections(loss, kind, client):
    X, y = rows_of(loss)
    expected = model_of(loss).fit(X, y, offset=OFFSET)
    model = model_of(loss, client=client)
    dX, dy, offset = put("processes", X, y, OFFSET)
    of_memory = expected.predict(X, OFFSET)
    if kind == "sparse":
        model.fit(sparse.csr_array(X), y, offset=OFFSET)
        predicted = model.predict(sparse.csr_array(X), OFFSET)
    elif kind == "sparse chunks":
        there = da.from_array(X, chunks=(100, -1)).map_blocks(sparse.csr_array)
        model.fit(there, da.from_array(y, chunks=100), offset=OFFSET)
        predicted = model.predict(there, OFFSET).compute()
    elif kind == "memory beside dask":
        model.fit(dX, dy, offset=OFFSET)
        predicted = model.predict(dX, offset=OFFSET).compute()
    elif kind == "dask beside memory":
        model.fit(X, y, offset=offset)
        predicted = model.predict(dX, offset=offset).compute()
    else:
        pd = pytest.importorskip("pandas")
        import dask.dataframe as dd

        names = [f"c{i}" for i in range(K)]
        frame = pd.DataFrame(X, columns=names).assign(y=y, offset=OFFSET)
        frame = dd.from_pandas(frame, npartitions=5)
        model.fit(frame[names], frame["y"], offset=frame["offset"])
        lazy = model.predict(frame[names], offset=frame["offset"])
        assert lazy.npartitions == 5
        predicted = lazy.compute().to_numpy()
        array = model.predict(frame[names].to_dask_array(), offset=frame["offset"])
        np.testing.assert_allclose(array.compute(), predicted)
        with pytest.raises(ValueError, match="offset is in memory"):
            model.predict(frame[names], offset=OFFSET)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=0, atol=1e-8)
    np.testing.assert_allclose(predicted, of_memory, rtol=1e-6)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("loss", POWERS)
def test_predictions_and_scores(loss, place, client):
    X, y = rows_of(loss)
    model = fitted(model_of(loss), place, client, X, y)
    arrays = put(place, X, y, OFFSET)
    expected = np.exp(X @ model.coef_ + model.intercept_ + OFFSET)
    np.testing.assert_allclose(model.predict(arrays[0], arrays[2]), expected, rtol=1e-12)
    d2 = d2_tweedie_score(y, expected, power=POWERS[loss])
    assert model.score(*arrays[:2], offset=arrays[2]) == pytest.approx(d2, rel=1e-9)


@pytest.mark.parametrize("place", PLACES)
def test_predictions_of_classes(place, client):
    X, y = rows_of("logistic")
    model = fitted(AsyncLogisticRegression(ALPHA), place, client, X, y)
    arrays = put(place, X, y, OFFSET)
    eta = X @ model.coef_[0] + model.intercept_[0] + OFFSET
    offset = {"offset": arrays[2]}
    np.testing.assert_allclose(model.decision_function(arrays[0], **offset), eta, rtol=1e-10)
    np.testing.assert_allclose(model.predict_proba(arrays[0], **offset)[:, 1], expit(eta))
    np.testing.assert_array_equal(model.predict(arrays[0], **offset), eta > 0)
    logs = np.asarray(model.predict_log_proba(arrays[0], **offset))
    np.testing.assert_allclose(np.exp(logs[:, 1]), expit(eta))
    assert model.score(*arrays[:2], **offset) == accuracy_score(y, eta > 0)
    assert model.score(*arrays[:2]) < accuracy_score(y, eta > 0)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda o: np.where(np.arange(N) == 700, np.nan, o), "offset contains NaN"),
        (lambda o: np.where(np.arange(N) == 700, np.inf, o), "offset contains (NaN or )?infinity"),
        (lambda o: o[:-1], "inconsistent numbers of samples"),
        (lambda o: np.column_stack([o, o]), "offset must be a 1D array"),
        (lambda o: o + 1j, "[Cc]omplex"),
        (lambda o: 2.0, "with a value for each row"),
    ],
    ids=["NaN", "infinity", "length", "columns", "complex", "number"],
)
@pytest.mark.parametrize("loss", ["squared", "poisson"])
def test_offsets_that_cannot_be(loss, change, match, place, client):
    X, y = rows("poisson")
    offset = change(OFFSET)
    if place == "processes" and np.ndim(offset):
        offset = da.from_array(offset, chunks=(150,) + (-1,) * (offset.ndim - 1))
    X, y = put(place, X, y)
    model = AsyncLassoRegressor(ALPHA, loss=loss, client=client)
    with pytest.raises(ValueError, match=match) as raised:
        model.fit(X, y, offset=offset)
    if "NaN or" in match and place == "processes":
        assert "row 700 (chunk 4)" in str(raised.value)
    assert not hasattr(model, "coef_")


def test_a_loss_of_chunks_has_none():
    X, y = rows("poisson")
    pair = (lambda beta, X, y: 0.0, lambda beta, X, y: np.zeros_like(beta))
    with pytest.raises(ValueError, match="offset cannot be used with"):
        AsyncLassoRegressor(loss=pair).fit(X, y, offset=OFFSET)
