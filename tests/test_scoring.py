"""`scoring`: alpha is chosen by a score of the held-out rows, wherever these are."""

from __future__ import annotations

from itertools import product

import dask.array as da
import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer, make_scorer, max_error, mean_absolute_error
from sklearn.model_selection import KFold, ShuffleSplit, StratifiedKFold

from dask_lasso import (
    AsyncElasticNetCV,
    AsyncLassoCV,
    AsyncLassoRegressor,
    AsyncLogisticRegression,
    AsyncLogisticRegressionCV,
    CVDisplay,
)
from dask_lasso.penalties import MultiTask
from dask_lasso.solvers import scoring as held_out

RNG = np.random.default_rng(0)
X, Y = make_regression(150, 8, n_informative=4, n_targets=2, noise=30, random_state=0)
y = Y[:, 0]
WEIGHTS = RNG.uniform(0.5, 2, 150)
LABELS = np.array(["no", "yes"])[(X[:, 0] + X[:, 1] + RNG.normal(size=150) > 0.5).astype(int)]
COUNTS = RNG.poisson(np.exp(0.5 * X[:, 0] + 0.3))
ALPHAS = [30.0, 3.0, 0.3]
PLACES = ["memory", "cluster", "unknown chunks"]


def put(place, *arrays):
    if place == "memory":
        return arrays
    chunks = [da.from_array(a, chunks=(40, *a.shape[1:])) for a in arrays]
    if place == "unknown chunks":
        chunks = [a[da.from_array(np.ones(150, bool), chunks=40)] for a in chunks]
    return chunks


def expected(make, score, rows, cv, alphas, weights):
    """The score of a fit for each alpha and split."""
    X, y = rows
    found = np.empty((len(alphas), cv.get_n_splits(X, y)))
    for split, (train, test) in enumerate(cv.split(X, y)):
        for row, alpha in enumerate(alphas):
            of = [] if weights is None else [weights[train]]
            model = make(alpha).fit(X[train], y[train], *of)
            of = {} if weights is None else {"sample_weight": weights[test]}
            found[row, split] = get_scorer(score)(model, X[test], y[test], **of)
    return found


SCORES = ["r2", "neg_mean_squared_error", "neg_root_mean_squared_error"]
OF_ROWS = ["neg_mean_absolute_error", "explained_variance"]


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weighted"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("score", SCORES + OF_ROWS)
def test_scores_are_those_of_fits_on_the_training_sets(score, place, weights, thread_workers):
    settings = dict(alphas=ALPHAS, cv=3, scoring=score, client=thread_workers)
    rows = put(place, *((X, y) if weights is None else (X, y, weights)))
    model = AsyncLassoCV(**settings).fit(*rows)
    assert model.n_passes_ == 1 + (score in OF_ROWS)
    scores = expected(AsyncLassoRegressor, score, (X, y), KFold(3), ALPHAS, weights)
    np.testing.assert_allclose(model.score_path_, scores, rtol=1e-6)
    assert model.alpha_ == ALPHAS[scores.mean(axis=1).argmax()]
    assert not hasattr(model, "mse_path_")
    fit = AsyncLassoRegressor(model.alpha_).fit(X, y, weights)
    np.testing.assert_allclose(model.coef_, fit.coef_, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    ("score", "place"),
    [
        *product(["accuracy", "neg_log_loss"], PLACES[:1]),
        ("roc_auc", PLACES[1]),
        pytest.param("roc_auc", PLACES[0], marks=pytest.mark.slow),
        pytest.param("accuracy", PLACES[1], marks=pytest.mark.slow),
        pytest.param("neg_log_loss", PLACES[1], marks=pytest.mark.slow),
    ],
)
def test_scores_of_classes(score, place, thread_workers):
    alphas = [0.1, 0.03, 0.01]
    settings = dict(alphas=alphas, cv=3, scoring=score, client=thread_workers, tol=1e-10)
    model = AsyncLogisticRegressionCV(**settings).fit(*put(place, X, LABELS))

    def make(alpha):
        return AsyncLogisticRegression(alpha, tol=1e-10)

    scores = expected(make, score, (X, LABELS), StratifiedKFold(3), alphas, None)
    np.testing.assert_allclose(model.score_path_, scores, rtol=1e-5)
    assert model.alpha_ == alphas[model.score_path_.mean(axis=1).argmax()]
    assert model.predict(X)[0] in ("no", "yes")


@pytest.mark.parametrize(
    "score",
    [
        "neg_mean_poisson_deviance",
        pytest.param("neg_mean_absolute_error", marks=pytest.mark.slow),
    ],
)
def test_scores_of_counts(score, thread_workers):
    alphas = [0.1, 0.03, 0.01]
    settings = dict(loss="poisson", alphas=alphas, cv=3, scoring=score, tol=1e-10)
    model = AsyncLassoCV(**settings, client=thread_workers).fit(*put("cluster", X, COUNTS))

    def make(alpha):
        return AsyncLassoRegressor(alpha, loss="poisson", tol=1e-10)

    scores = expected(make, score, (X, COUNTS), KFold(3), alphas, None)
    np.testing.assert_allclose(model.score_path_, scores, rtol=1e-5)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("score", ["r2", "neg_mean_absolute_error"])
def test_scores_of_many_columns(score, kind, thread_workers):

    wide = np.hstack([X, RNG.normal(size=(150, 2100)) * (RNG.uniform(size=(150, 2100)) < 0.1)])
    wide += 0.5 if kind == "dense" else 0.0
    there = wide if kind == "dense" else sparse.csr_array(wide)
    alphas = [30.0, 10.0]
    model = AsyncLassoCV(alphas=alphas, cv=3, scoring=score, tol=1e-10).fit(there, y)

    def make(alpha):
        return AsyncLassoRegressor(alpha, tol=1e-10)

    scores = expected(make, score, (wide, y), KFold(3), alphas, None)
    np.testing.assert_allclose(model.score_path_, scores, rtol=1e-5)


def test_a_scorer_of_ones_own_and_splits_that_overlap():
    mean_of_errors = make_scorer(mean_absolute_error, greater_is_better=False)

    def median(estimator, X, y):
        return -np.median(np.abs(y - estimator.predict(X)))

    cv = ShuffleSplit(4, test_size=0.4, random_state=0)
    for score in (mean_of_errors, median):
        model = AsyncLassoCV(alphas=ALPHAS, cv=cv, scoring=score, rule="1se").fit(X, y)
        scores = expected(AsyncLassoRegressor, score, (X, y), cv, ALPHAS, None)
        np.testing.assert_allclose(model.score_path_, scores, rtol=1e-6)
        mean, best = scores.mean(axis=1), scores.mean(axis=1).argmax()
        error = scores[best].std(ddof=1) / 2
        assert model.alpha_ == ALPHAS[np.argmax(mean >= mean[best] - error)]


@pytest.mark.parametrize("settings", [{}, dict(one_alpha=True), dict(penalty=MultiTask())], ids=str)
@pytest.mark.parametrize("score", ["r2", "neg_mean_absolute_error"])
def test_several_targets(settings, score):
    penalty = settings.get("penalty", "l1")
    model = AsyncLassoCV(alphas=ALPHAS, cv=3, scoring=score, **settings).fit(X, Y)

    def make(alpha):
        return AsyncLassoRegressor(alpha, penalty=penalty)

    rows = [Y] if penalty != "l1" else list(Y.T)
    found = [expected(make, score, (X, of), KFold(3), ALPHAS, None) for of in rows]
    if settings:
        mean = np.mean(found, axis=0)
        assert np.unique(model.alpha_) == ALPHAS[mean.mean(axis=1).argmax()]
        np.testing.assert_allclose(np.atleast_3d(model.score_path_.T).T[0], mean, rtol=1e-6)
    else:
        np.testing.assert_allclose(model.score_path_, found, rtol=1e-6)


def test_ratios_and_shares():
    ratios = [0.5, 1.0]
    model = AsyncElasticNetCV(
        l1_ratio=ratios, alphas=ALPHAS, cv=3, scoring="neg_median_absolute_error"
    ).fit(X, y)
    flat = np.array([-model.score_path_[i].mean(axis=1) for i in range(2)])
    assert model.l1_ratio_ == ratios[flat.min(axis=1).argmin()]
    relaxed = AsyncLassoCV(
        alphas=ALPHAS, cv=3, relaxed=[1, 0], scoring="neg_median_absolute_error"
    ).fit(X, y)
    assert relaxed.score_path_.shape == (2, 3, 3)
    np.testing.assert_allclose(relaxed.score_path_[0], model.score_path_[1], rtol=1e-8)


def test_too_many_predictions(monkeypatch):
    monkeypatch.setattr(held_out, "MOST_BYTES", 1000)
    with pytest.raises(
        ValueError, match=r"scoring='neg_median_absolute_error' .* 150 of them at 3 points"
    ):
        AsyncLassoCV(alphas=ALPHAS, scoring="neg_median_absolute_error").fit(X, y)
    for score in ("r2", "neg_mean_absolute_error"):  # no row leaves its chunk
        AsyncLassoCV(alphas=ALPHAS, scoring=score).fit(X, y)


def test_time_that_ends_before_all_rows_are_read():
    class FirstBlocks:
        def run(self, run):
            for result, _ in zip(run.completed(), range(6), strict=False):
                run.absorb(result)
            run.stopped_by = "max_time"

    settings = dict(alphas=ALPHAS, n_blocks=10, engine=FirstBlocks(), cv=5)
    with pytest.raises(TimeoutError, match="not all rows have been read that scores are of"):
        AsyncLassoCV(scoring="neg_mean_absolute_error", **settings).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="with 4 of 10 blocks not read"):
        model = AsyncLassoCV(scoring="r2", **settings).fit(X, y)
    assert np.isnan(model.score_path_[0]).tolist() == [False] * 3 + [True] * 2


def test_scores_that_there_are_not():
    with pytest.raises(ValueError, match="'scoring' parameter of AsyncLassoCV"):
        AsyncLassoCV(scoring="nonsense").fit(X, y)
    with pytest.raises(TypeError, match="sample_weight"):
        AsyncLassoCV(alphas=ALPHAS, scoring=make_scorer(max_error)).fit(X, y, WEIGHTS)


def test_pictures_say_what_they_show():
    def label(model):
        display = CVDisplay.from_estimator(model)
        assert np.isin(display.one_se_alpha_, model.alphas_)
        assert display.one_se_alpha_ >= model.alpha_
        return display.ax_.get_ylabel()

    assert label(AsyncLassoCV(alphas=ALPHAS).fit(X, y)) == "Mean squared error"
    assert label(AsyncLassoCV(alphas=ALPHAS, scoring="r2").fit(X, y)) == "r2"
    classes = AsyncLogisticRegressionCV(alphas=[0.1, 0.01]).fit(X, LABELS)
    assert label(classes) == "Mean deviance"


def test_an_information_criterion_has_no_scoring():
    X, y = np.eye(4), np.arange(4.0)
    with pytest.raises(ValueError, match="scoring needs criterion=\"cv\", got 'bic'"):
        AsyncLassoCV(scoring="r2", criterion="bic").fit(X, y)
