"""Metadata routing: weights, offsets and groups through pipelines, searches and choices."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.model_selection import GridSearchCV, GroupKFold, LeaveOneGroupOut, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.fixes import parse_version
from test_glm import LOSSES, rows

from dask_lasso import (
    AsyncElasticNetCV,
    AsyncElasticNetRegressor,
    AsyncLassoCV,
    AsyncLassoRegressor,
    AsyncLogisticRegression,
    AsyncLogisticRegressionCV,
)

N = 240
rng = np.random.default_rng(5)
BESIDE = {
    "sample_weight": rng.integers(1, 4, N).astype(float),
    "offset": 0.5 * rng.normal(size=N),
}
GROUPS = rng.permutation(np.repeat(np.arange(6), N // 6))
ALPHAS = [0.1, 0.02]
ONE = {
    "logistic": AsyncLogisticRegression(0.02),
    "classes": AsyncLogisticRegression(0.02),
    **{loss: AsyncLassoRegressor(0.02, loss=loss) for loss in ("squared", "poisson", "huber")},
    "gamma": AsyncElasticNetRegressor(0.02, l1_ratio=0.8, loss="gamma"),
}
CHOICES = {
    "logistic": AsyncLogisticRegressionCV(alphas=ALPHAS),
    "classes": AsyncLogisticRegressionCV(alphas=ALPHAS),
    **{loss: AsyncLassoCV(alphas=ALPHAS, loss=loss) for loss in ("squared", "poisson", "huber")},
    "gamma": AsyncElasticNetCV(alphas=ALPHAS, l1_ratio=0.8, loss="gamma"),
}
needs_scores_of_pipelines = pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.8"),
    reason="scikit-learn before 1.8 does not find what the steps of a pipeline ask for in score",
)
# In a plain run.
SOME = [
    name if name in ("logistic", "poisson") else pytest.param(name, marks=pytest.mark.slow)
    for name in ONE
]


@pytest.fixture(autouse=True)
def _routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def problem(name):
    """Rows of a loss, and what goes with them: several classes have no offset."""
    if name == "classes":
        X, y = rows("logistic")
        y = y + (X[:, 3] > 1)
    else:
        X, y = rows("huber" if name == "squared" else name)
    beside = {k: v for k, v in BESIDE.items() if name != "classes" or k != "offset"}
    return X[:N], y[:N], beside


def asking(model, beside):
    """A pipeline whose last step asks for what goes with the rows, in each of its methods."""
    model, on = clone(model), dict.fromkeys(beside, True)
    model.set_fit_request(**on)
    model.set_score_request(**on)
    if "offset" in beside:
        for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
            if hasattr(model, method):
                getattr(model, f"set_{method}_request")(offset=True)
    scaler = StandardScaler().set_fit_request(sample_weight=True)
    return make_pipeline(scaler, model)


def assert_same(model, other, rtol=1e-9):
    np.testing.assert_allclose(model.coef_, other.coef_, rtol=rtol, atol=1e-12)
    np.testing.assert_allclose(model.intercept_, other.intercept_, rtol=rtol)


@pytest.mark.parametrize("name", ONE)
def test_through_a_pipeline(name):
    X, y, beside = problem(name)
    pipeline = asking(ONE[name], beside).fit(X, y, **beside)
    scaled = StandardScaler().fit(X, sample_weight=beside["sample_weight"]).transform(X)
    direct = clone(ONE[name]).fit(scaled, y, **beside)
    assert_same(pipeline[-1], direct)
    without = clone(ONE[name]).fit(scaled, y)
    assert not np.allclose(without.coef_, direct.coef_, rtol=1e-3)
    assert pipeline.score(X, y, **beside) == direct.score(scaled, y, **beside)
    of_rows = {k: v for k, v in beside.items() if k == "offset"}
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        if hasattr(direct, method):
            found = getattr(pipeline, method)(X, **of_rows)
            np.testing.assert_array_equal(found, getattr(direct, method)(scaled, **of_rows))


@needs_scores_of_pipelines
@pytest.mark.parametrize("name", SOME)
def test_through_a_search(name):
    X, y, beside = problem(name)
    pipeline = asking(ONE[name], beside)
    grid = {f"{pipeline.steps[-1][0]}__alpha": ALPHAS}
    search = GridSearchCV(pipeline, grid, cv=GroupKFold(3), error_score="raise")
    search.fit(X, y, groups=GROUPS, **beside)
    for fold, (train, test) in enumerate(GroupKFold(3).split(X, y, GROUPS)):
        of_train, of_test = ({k: v[index] for k, v in beside.items()} for index in (train, test))
        for number, alpha in enumerate(ALPHAS):
            one = asking(clone(ONE[name]).set_params(alpha=alpha), beside)
            one.fit(X[train], y[train], **of_train)
            expected = one.score(X[test], y[test], **of_test)
            found = search.cv_results_[f"split{fold}_test_score"][number]
            assert found == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("place", ["memory", "threads"])
@pytest.mark.parametrize("name", SOME)
def test_groups_of_a_choice(name, place, request):
    X, y, beside = problem(name)
    splits = list(GroupKFold(3).split(X, y, GROUPS))
    model = clone(CHOICES[name]).set_params(cv=splits)
    expected = model.fit(X, y, **beside)
    found = clone(CHOICES[name]).set_params(cv=GroupKFold(3))
    if place == "memory":
        found = asking(found, beside)
        # The splitter asks for groups, and so its model does.
        found.set_params(standardscaler="passthrough").fit(X, y, groups=GROUPS, **beside)
        found = found[-1]
    else:
        found.client = request.getfixturevalue("thread_workers")
        X, y, groups = (da.from_array(of, chunks=(70, -1)[: of.ndim]) for of in (X, y, GROUPS))
        beside = {k: da.from_array(v, chunks=70) for k, v in beside.items()}
        found.fit(X, y, groups=groups, **beside)
    errors = "mse_path_" if name == "squared" else "deviance_path_"
    np.testing.assert_allclose(getattr(found, errors), getattr(expected, errors), rtol=1e-6)
    assert_same(found, expected, rtol=1e-7)


@pytest.mark.parametrize("name", [loss for loss in CHOICES if loss in LOSSES])
def test_errors_of_a_choice_are_those_of_its_training_sets(name):
    X, y, beside = problem(name)
    model = clone(CHOICES[name]).set_params(cv=LeaveOneGroupOut())
    model.fit(X, y, groups=GROUPS, **beside)
    train, test = next(LeaveOneGroupOut().split(X, y, GROUPS))
    one = clone(ONE[name]).set_params(alpha=ALPHAS[1])
    one.fit(X[train], y[train], **{k: v[train] for k, v in beside.items()})
    eta = X[test] @ np.ravel(one.coef_) + np.ravel(one.intercept_)[0] + beside["offset"][test]
    loss = one._loss()
    value = loss.value(eta, y[test]) + loss.conjugate(np.zeros(len(test)), y[test])
    expected = 2 * np.average(value, weights=beside["sample_weight"][test])
    assert model.deviance_path_[1, 0] == pytest.approx(expected, rel=1e-6)


@needs_scores_of_pipelines
@pytest.mark.parametrize("name", ["logistic", "poisson"])
def test_choices_inside_a_cross_validation(name):
    X, y, beside = problem(name)
    model = asking(clone(CHOICES[name]).set_params(cv=GroupKFold(3)), beside)
    found = cross_validate(
        model,
        X,
        y,
        cv=LeaveOneGroupOut(),
        params={"groups": GROUPS, **beside},
        return_estimator=True,
        return_indices=True,
    )
    train = found["indices"]["train"][0]
    of_train = {k: v[train] for k, v in beside.items()}
    alone = asking(clone(CHOICES[name]).set_params(cv=GroupKFold(3)), beside)
    alone.fit(X[train], y[train], groups=GROUPS[train], **of_train)
    assert_same(found["estimator"][0][-1], alone[-1])


def test_what_nobody_asks_for_is_an_error():
    X, y, beside = problem("poisson")
    for model, name in (
        (ONE["poisson"], "sample_weight"),
        (ONE["poisson"], "offset"),
        (clone(CHOICES["poisson"]).set_params(cv=3), "groups"),
    ):
        given = GROUPS if name == "groups" else beside[name]
        with pytest.raises(UnsetMetadataPassedError, match=name):
            make_pipeline("passthrough", clone(model)).fit(X, y, **{name: given})
