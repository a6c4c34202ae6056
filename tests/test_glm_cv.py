"""Paths and the choice of alpha, of losses of a mean: every point certified, folds share passes."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from conftest import assert_nothing_left
from scipy import sparse
from scipy.special import expit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import log_loss, mean_tweedie_deviance
from sklearn.model_selection import KFold, RepeatedKFold, ShuffleSplit, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from test_glm import LOSSES as ALL
from test_glm import POWERS, K, N, coefficients, model_of, objective, rows

from dask_lasso import (
    AsyncElasticNetCV,
    AsyncLassoCV,
    AsyncLassoRegressor,
    AsyncLogisticRegression,
    AsyncLogisticRegressionCV,
    lasso_path,
)
from dask_lasso.places.memory import InMemory

# Arithmetic, which the versions of the dependencies hardly touch.
pytestmark = pytest.mark.slow

LOSSES = {name: ALL[name] for name in ("logistic", *POWERS)}
PLACES = ["memory", "processes"]
ALPHAS = 12


def chooser(loss, **settings):
    settings = {"alphas": ALPHAS, **settings}
    if loss == "logistic":
        return AsyncLogisticRegressionCV(**settings)
    kind = AsyncElasticNetCV if "l1_ratio" in settings else AsyncLassoCV
    return kind(loss=loss, **settings)


def put(place, *arrays):
    if place == "memory":
        return arrays
    return [da.from_array(a, chunks=(150,) + (-1,) * (a.ndim - 1)).persist() for a in arrays]


def chosen(loss, place, client, *arrays, **settings):
    model = chooser(loss, **settings)
    if place == "processes":
        model.client = client
    return model.fit(*put(place, *arrays))


def folds_of(loss, X, y):
    return list((StratifiedKFold(5) if loss == "logistic" else KFold(5)).split(X, y))


def deviance(loss, model, X, y, **offset):
    if loss == "logistic":
        return 2 * log_loss(y, model.predict_proba(X, **offset)[:, 1])
    return mean_tweedie_deviance(y, model.predict(X, **offset), power=POWERS[loss])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_errors_are_those_of_fits_on_the_training_sets(loss, place, client):
    X, y = rows(loss)
    model = chosen(loss, place, client, X, y)
    assert model.deviance_path_.shape == (ALPHAS, 5)
    for fold, (train, test) in enumerate(folds_of(loss, X, y)):
        for number in (0, 4, ALPHAS - 1):
            one = model_of(loss, model.alphas_[number]).fit(X[train], y[train])
            expected = deviance(loss, one, X[test], y[test])
            assert model.deviance_path_[number, fold] == pytest.approx(expected, rel=1e-6)
    best = np.argmin(model.deviance_path_.mean(axis=1))
    assert model.alpha_ == model.alphas_[best]
    exact = model_of(loss, model.alpha_).fit(X, y)
    np.testing.assert_allclose(model.coef_, exact.coef_, rtol=0, atol=1e-8)
    assert model.dual_gap_ <= 1e-11
    assert model.n_passes_ <= 40  # of five folds and twelve alphas, and of the last fit


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("loss", POWERS)
def test_every_point_of_a_path_is_certified(loss, place, client):
    X, y = rows(loss)
    arrays = put(place, X, y)
    settings = dict(loss=loss, fit_intercept=True, client=client if place == "processes" else None)
    alphas, coefs, gaps = lasso_path(*arrays, alphas=15, **settings)
    assert not coefs[:, 0].any()
    assert np.count_nonzero(lasso_path(*arrays, alphas=[alphas[0] * 0.999], **settings)[1]) == 1
    for number in (0, 1, 7, 14):
        one = AsyncLassoRegressor(alphas[number], loss=loss, tol=1e-12).fit(X, y)
        np.testing.assert_allclose(coefs[:, number], one.coef_, rtol=0, atol=1e-6)
        least = objective(loss, X, y, *coefficients(one), alpha=alphas[number])
        intercept = one.intercept_
        excess = objective(loss, X, y, coefs[:, number], intercept, alpha=alphas[number]) - least
        assert excess <= 1e-9
    assert (gaps <= 1e-9).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"positive": True},
        {"fit_intercept": False},
        {"penalty_weights": np.r_[0.0, np.linspace(0.5, 2, K - 1)]},
        {"weights": True},
        {"offset": True},
        {"sparse": True},
        {"l1_ratio": 0.5},
        {"bounds": (-0.2, 0.3)},
    ],
    ids=lambda settings: next(iter(settings)),
)
@pytest.mark.parametrize("loss", ["logistic", "poisson"])
def test_problems(loss, settings):
    X, y = rows(loss)
    rng = np.random.default_rng(1)
    settings = dict(settings)
    beside = {}
    if settings.pop("weights", False):
        beside["sample_weight"] = rng.integers(0, 3, N).astype(float)
    if settings.pop("offset", False):
        beside["offset"] = rng.normal(size=N)
    is_sparse = settings.pop("sparse", False)
    model = chooser(loss, **settings).fit(sparse.csr_array(X) if is_sparse else X, y, **beside)
    train, test = folds_of(loss, X, y)[2]
    for number in (1, ALPHAS - 1):
        one = model_of(loss, model.alphas_[number], **settings)
        one.fit(X[train], y[train], **{name: values[train] for name, values in beside.items()})
        eta = X[test] @ np.ravel(one.coef_) + np.ravel(one.intercept_)
        eta += beside.get("offset", np.zeros(N))[test]
        of_loss = LOSSES[loss]
        values = of_loss.value(eta, y[test]) + of_loss.conjugate(0 * eta, y[test])
        weights = beside.get("sample_weight", np.ones(N))[test]
        expected = 2 * np.average(values, weights=weights)
        assert model.deviance_path_[number, 2] == pytest.approx(expected, rel=1e-6)
    # The grid begins where the first coefficient does, but for those that have no penalty.
    free = settings.get("penalty_weights", np.ones(K)) == 0
    at_first = model_of(loss, model.alphas_[0] * 1.0001, **settings).fit(X, y, **beside)
    below = model_of(loss, model.alphas_[0] * 0.99, **settings).fit(X, y, **beside)
    assert np.count_nonzero(np.ravel(at_first.coef_)[~free]) == 0
    assert np.count_nonzero(np.ravel(below.coef_)[~free]) == 1


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "cv",
    [
        KFold(4),
        KFold(3, shuffle=True, random_state=0),
        ShuffleSplit(4, test_size=0.2, random_state=0),
        RepeatedKFold(n_splits=3, n_repeats=2, random_state=0),
        StratifiedKFold(3),
    ],
    ids=lambda cv: type(cv).__name__,
)
def test_splitters(cv, place, client):
    X, y = rows("logistic")
    model = chosen("logistic", place, client, X, y, cv=cv, alphas=[0.05])
    expected = [
        deviance("logistic", AsyncLogisticRegression(0.05).fit(X[a], y[a]), X[b], y[b])
        for a, b in cv.split(X, y)
    ]
    np.testing.assert_allclose(np.ravel(model.deviance_path_), expected, rtol=1e-6)


@pytest.mark.parametrize("place", PLACES)
def test_it_chooses_what_scikit_learn_does(place, client):
    X, y = rows("logistic")
    labels = np.array(["no", "yes"])[y.astype(int)]
    model = AsyncLogisticRegressionCV(alphas=ALPHAS)
    if place == "processes":
        model.client = client
    model.fit(*put(place, X, labels))
    n_train = 4 * N // 5
    other = LogisticRegressionCV(
        Cs=1 / (n_train * model.alphas_[::3]),
        l1_ratios=(1.0,),
        solver="saga",
        tol=1e-7,
        max_iter=5000,
        scoring="neg_log_loss",
        use_legacy_attributes=True,
    ).fit(X, labels)
    scores = -2 * other.scores_["yes"][:, :, 0] if isinstance(other.scores_, dict) else None
    np.testing.assert_allclose(model.deviance_path_[::3].T, scores, rtol=1e-4)
    assert model.classes_.tolist() == ["no", "yes"]
    assert set(np.asarray(model.predict(put(place, X)[0]))) == {"no", "yes"}


@pytest.mark.parametrize("rule", ["min", "1se"])
def test_the_rule_and_several_ratios(rule):
    X, y = rows("poisson")
    model = AsyncElasticNetCV(loss="poisson", l1_ratio=[0.3, 1.0], alphas=6, rule=rule).fit(X, y)
    assert model.alphas_.shape == (2, 6)
    assert model.deviance_path_.shape == (2, 6, 5)
    mean = model.deviance_path_.mean(axis=-1)
    ratio, best = np.unravel_index(np.argmin(mean), mean.shape)
    assert model.l1_ratio_ == [0.3, 1.0][ratio]
    if rule == "min":
        assert model.alpha_ == model.alphas_[ratio, best]
    else:
        assert model.alpha_ > model.alphas_[ratio, best]


@pytest.mark.parametrize("criterion", ["aic", "bic"])
@pytest.mark.parametrize("loss", ["poisson", "logistic"])
def test_information(loss, criterion):
    X, y = rows(loss)
    model = chooser(loss, criterion=criterion, alphas=6).fit(X, y)
    factor = 2 if criterion == "aic" else np.log(N)
    for number in (0, 3, 5):
        one = model_of(loss, model.alphas_[number]).fit(X, y)
        expected = N * deviance(loss, one, X, y) + factor * np.count_nonzero(one.coef_)
        assert model.criterion_[number] == pytest.approx(expected, rel=1e-8)
    assert model.alpha_ == model.alphas_[np.argmin(model.criterion_)]
    with pytest.raises(ValueError, match="needs degrees of freedom"):
        chooser(loss, criterion=criterion, l1_ratio=0.5).fit(X, y)
    with pytest.raises(ValueError, match="needs the dispersion of y"):
        AsyncLassoCV(loss="gamma", criterion=criterion).fit(X, y + 0.1)


@pytest.mark.parametrize("kind", ["frame", "unknown"])
@pytest.mark.parametrize("loss", ["logistic", "poisson"])
def test_rows_that_have_to_be_counted(loss, kind, client):
    X, y = rows(loss)
    expected = chooser(loss, alphas=4).fit(X, y)
    model = chooser(loss, alphas=4, client=client)
    if kind == "unknown":
        dX, dy = put("processes", X, y)
        keep = dX[:, 0] < np.inf
        model.fit(dX[keep].persist(), dy[keep].persist())
    else:
        pd = pytest.importorskip("pandas")
        import dask.dataframe as dd

        names = [f"c{i}" for i in range(K)]
        frame = dd.from_pandas(pd.DataFrame(X, columns=names).assign(y=y), npartitions=7).persist()
        model.fit(frame[names], frame["y"])
        assert model.feature_names_in_.tolist() == names
    np.testing.assert_allclose(model.deviance_path_, expected.deviance_path_, rtol=1e-6)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=0, atol=1e-8)
    assert_nothing_left(client)


def hard_rows(kind):
    rng = np.random.default_rng(0)
    X = rng.standard_t(2.5, size=(600, 6))
    eta = np.clip(X[:, :3] @ [1.0, -0.8, 0.5], -8, 8)
    if kind == "counts":
        return "poisson", X, rng.poisson(np.exp(eta)).astype(float)
    if kind == "scales":
        return "gamma", X, rng.gamma(0.3, np.exp(eta) / 0.3) + 1e-9
    y = (eta > 0).astype(float)  # separable
    return "logistic", 1e3 * X, y


@pytest.mark.parametrize("kind", ["counts", "scales", "classes"])
def test_rows_on_which_the_curvature_changes_much(kind):
    loss, X, y = hard_rows(kind)
    model = chooser(loss, eps=1e-5, alphas=7).fit(X, y)
    train, test = folds_of(loss, X, y)[1]
    for number in (1, 6):
        one = model_of(loss, model.alphas_[number], tol=1e-9).fit(X[train], y[train])
        expected = deviance(loss, one, X[test], y[test])
        assert model.deviance_path_[number, 1] == pytest.approx(expected, rel=1e-3)
    # From nothing to nearly no penalty, at once.
    alone = chooser(loss, alphas=[model.alphas_[-1]]).fit(X, y)
    np.testing.assert_allclose(alone.deviance_path_, model.deviance_path_[-1], rtol=1e-3)


@pytest.mark.filterwarnings("error")
def test_a_null_model_that_is_far_from_the_rows():
    """Without an intercept: slopes explain more than the loss there, and steps are too long."""
    rng = np.random.default_rng(0)
    X = rng.integers(-128, 128, size=(60, 12)).astype(float)
    y = rng.poisson(30 * np.exp(X[:, :3] @ [0.01, -0.005, 0.003])).astype(float)
    largest = np.abs(X.T @ (y - 1)).max() / 60
    alphas = largest * np.array([1.5, 0.8, 0.5, 0.1, 0.01])
    settings = dict(loss="poisson", fit_intercept=False, tol=1e-9)
    _, coefs, _ = lasso_path(X, y, alphas=alphas, **settings)
    for alpha, coef in zip(alphas, coefs.T, strict=True):
        one = AsyncLassoRegressor(alpha, **settings).fit(X, y)
        np.testing.assert_allclose(coef, one.coef_, rtol=0, atol=1e-6)
    assert np.count_nonzero(coefs.any(axis=0)) == 4


@pytest.mark.parametrize("place", PLACES)
def test_a_fold_without_a_class(place, client):
    X, y = rows("logistic")
    y = np.zeros(N)
    y[:100] = 1
    model = chosen("logistic", place, client, X, y, alphas=3)  # stratified
    assert np.isfinite(model.deviance_path_).all()
    with pytest.raises(ValueError, match="training set of split 0 the best intercept is infinite"):
        chosen("logistic", place, client, X, y, cv=KFold(5))
    half = [(np.arange(200, 400), np.arange(50)), (np.arange(N), np.arange(N))]
    with pytest.raises(ValueError, match="training set of split 0"):
        chosen("logistic", place, client, X, y, cv=half)
    with pytest.raises(ValueError, match="only one class"):
        chosen("logistic", place, client, X, 0 * y)
    with pytest.raises(ValueError, match="best intercept is infinite"):
        chosen("poisson", place, client, X, 0 * y)
    with pytest.raises(ValueError, match="negative values"):
        chosen("poisson", place, client, X, y - 1)


def test_losses_without_a_certificate():
    X, y = rows("poisson")
    with pytest.raises(ValueError, match="with a conjugate"):
        lasso_path(X, y, loss=(lambda *args: 0.0, lambda *args: 0.0))
    with pytest.raises(ValueError, match="each target by itself"):
        lasso_path(X, np.column_stack([y, y]), loss="poisson")
    custom = AsyncLassoCV(loss=LOSSES["poisson"], alphas=3).fit(X, y)
    named = AsyncLassoCV(loss="poisson", alphas=3).fit(X, y)
    np.testing.assert_array_equal(custom.coef_, named.coef_)


@pytest.mark.parametrize("loss", ["logistic", "poisson"])
def test_max_time_chooses_among_what_is_done(loss, monkeypatch):
    X, y = rows(loss)
    complete = chooser(loss, alphas=40).fit(X, y)
    read, reduce = [], InMemory.reduce

    def in_time(self, *args, **options):
        read.append(args[0])
        if len(read) > 30:
            self.deadline = 0.0
        return reduce(self, *args, **options)

    monkeypatch.setattr(InMemory, "reduce", in_time)
    with pytest.warns(ConvergenceWarning, match="max_time"):
        model = chooser(loss, alphas=40, max_time=1e6).fit(X, y)
    done = np.isfinite(model.deviance_path_).all(axis=1)
    assert 0 < done.sum() < 40
    wanted = complete.deviance_path_[done]
    np.testing.assert_allclose(model.deviance_path_[done], wanted, rtol=1e-6)
    assert model.alpha_ in model.alphas_[done]


def test_check_estimator():
    # At 1e-3 of the largest alpha its 45 rows of three classes are nearly separated: coefficients
    # are large, and what is near zero beside them has fewer digits than are compared.
    model = AsyncLogisticRegressionCV(alphas=5, eps=1e-2)
    for result in check_estimator(model, on_skip=None):
        assert result["status"] == "passed" or result["check_name"] == "check_array_api_input"


def test_in_a_pipeline_and_calibrated():
    X, y = rows("logistic")
    scaled = make_pipeline(StandardScaler(), AsyncLogisticRegressionCV(alphas=4))
    calibrated = CalibratedClassifierCV(scaled, cv=3).fit(X, y)
    assert calibrated.score(X, y) > 0.6
    plain = CalibratedClassifierCV(AsyncLogisticRegression(0.01), cv=3).fit(X, y)
    np.testing.assert_allclose(plain.predict_proba(X).sum(axis=1), 1)


def test_its_boundary_is_drawn():
    pytest.importorskip("matplotlib").use("agg")
    from sklearn.inspection import DecisionBoundaryDisplay

    X, y = rows("logistic")
    model = AsyncLogisticRegression(0.01).fit(X[:, :2], np.where(y > 0, "yes", "no"))
    for method in ("predict", "predict_proba", "decision_function"):
        DecisionBoundaryDisplay.from_estimator(
            model, X[:, :2], response_method=method, grid_resolution=10
        )


def test_balanced_classes_in_every_fold():
    X, y = rows("logistic")
    keep = (y > 0) | (np.arange(N) % 3 == 0)
    X, y = X[keep], y[keep]
    model = AsyncLogisticRegressionCV(alphas=4, class_weight="balanced").fit(X, y)
    weights = (len(y) / (2 * np.bincount(y.astype(int))))[y.astype(int)]
    other = AsyncLogisticRegressionCV(alphas=4).fit(X, y, weights)
    np.testing.assert_allclose(model.deviance_path_, other.deviance_path_)
    assert expit(model.decision_function(X)).mean() == pytest.approx(0.5, abs=0.1)
