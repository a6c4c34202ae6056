"""Paths that are a fit for every point: of several classes, Huber's loss, many columns."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from conftest import assert_nothing_left
from scipy import sparse
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import KFold, RepeatedKFold, ShuffleSplit, StratifiedKFold
from test_glm import model_of, sklearn_version
from test_wide_glm import rows as wide_rows

from dask_lasso import (
    AsyncLassoCV,
    AsyncLassoRegressor,
    AsyncLogisticRegression,
    AsyncLogisticRegressionCV,
    lasso_path,
)
from dask_lasso.places.memory import InMemory
from dask_lasso.places.together import Together
from dask_lasso.problem.losses import loss_of
from dask_lasso.solvers import newton_columns, width

DELTA, SPLITS, ALPHAS = 0.9, 3, 4
WIDE = ["logistic", "poisson", "gamma"]
KINDS = ["classes", "huber", "wide huber", "wide classes", *(f"wide {loss}" for loss in WIDE)]
# One of each in a plain run.
SOME = [
    k if k in ("classes", "huber", "wide logistic") else pytest.param(k, marks=pytest.mark.slow)
    for k in KINDS
]


def problem(kind):
    """Rows, the loss of one fit, and whether labels are what is fitted."""
    loss = kind.split()[-1]
    size = dict(n=150, k=60) if "wide" in kind else dict(n=150, k=10)
    X, y = wide_rows("logistic" if loss == "huber" else loss, **size)
    if loss == "huber":
        rng = np.random.default_rng(3)
        y = X[:, :4] @ [1.0, 2.0, -1.0, 0.5] + rng.standard_t(2, len(y))
    return X, y, loss


@pytest.fixture
def limit(monkeypatch):
    """A function that makes few columns many, of a kind of rows that has them."""

    def limit(kind):
        if "wide" in kind:
            monkeypatch.setattr(width, "MAX_GRAM", 20)
            monkeypatch.setattr(width, "MAX_MOMENTS", 20)
            monkeypatch.setattr(width, "_MOST_VALUES", 2 * 60**2 - 1)

    return limit


def chooser(loss, **settings):
    settings = dict(alphas=ALPHAS, cv=SPLITS, eps=0.05, **settings)
    if loss in ("classes", "logistic"):
        return AsyncLogisticRegressionCV(**settings)
    return AsyncLassoCV(loss=loss, huber_delta=DELTA, **settings)


def one(loss, alpha, **settings):
    if loss == "huber":
        return AsyncLassoRegressor(alpha, loss="huber", huber_delta=DELTA, **settings)
    return model_of("logistic" if loss == "classes" else loss, alpha, **settings)


def losses(loss, model, X, y, dtype=np.float64):
    """The loss of each row, but for a function of y that makes it half the deviance."""
    eta = X.astype(dtype) @ model.coef_.T.astype(dtype) + np.asarray(model.intercept_, dtype)
    if loss == "classes":
        return logsumexp(eta, axis=1) - eta[np.arange(len(y)), y]
    if loss == "logistic":
        return np.logaddexp(dtype(0), eta[:, 0]) - y * eta[:, 0]
    of = loss_of(loss, DELTA, 1.5)
    return of.value(eta, y.astype(dtype)) + of.conjugate(np.zeros_like(y), y)


def splits(loss, X, y):
    kind = StratifiedKFold if loss in ("classes", "logistic") else KFold
    return list(kind(SPLITS).split(X, y))


@pytest.mark.parametrize("kind", SOME)
def test_points_are_fits_on_training_sets(kind, limit, monkeypatch):
    X, y, loss = problem(kind)
    limit(kind)
    model = chooser(loss).fit(sparse.csr_array(X) if "wide" in kind else X, y)
    grid = model.alphas_
    assert model.deviance_path_.shape == (ALPHAS, SPLITS)
    monkeypatch.undo()  # the others have a Gram matrix of all columns
    for fold, (train, test) in enumerate(splits(loss, X, y)):
        for number in (0, 1, ALPHAS - 1):
            alone = one(loss, grid[number]).fit(X[train], y[train])
            expected = 2 * losses(loss, alone, X[test], y[test]).mean()
            assert model.deviance_path_[number, fold] == pytest.approx(expected, rel=1e-6)
    assert model.alpha_ == grid[np.argmin(model.deviance_path_.mean(axis=1))]
    exact = one(loss, model.alpha_).fit(X, y)
    np.testing.assert_allclose(model.coef_, exact.coef_, rtol=0, atol=1e-8)
    np.testing.assert_allclose(model.intercept_, exact.intercept_, rtol=0, atol=1e-8)
    assert model.dual_gap_ <= 1e-8
    assert 0 < np.count_nonzero(model.stability_) < model.stability_.size * SPLITS
    assert model.stability_.shape == model.coef_.shape
    # The grid begins where the first coefficient does.
    assert not one(loss, grid[0]).fit(X, y).coef_.any()
    assert np.count_nonzero(one(loss, 0.99 * grid[0]).fit(X, y).coef_) == 1


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=[pytest.mark.slow] * (k not in ("classes", "huber"))) for k in KINDS],
)
def test_every_place_gives_the_same(kind, limit, thread_workers):
    X, y, loss = problem(kind)
    limit(kind)
    expected = chooser(loss).fit(X, y)
    convert = sparse.csr_array if "wide" in kind else np.asarray
    blocks = da.from_array(convert(X), chunks=(40, -1), asarray=False)
    arrays = thread_workers.persist([blocks, da.from_array(y, chunks=40)])
    model = chooser(loss, client=thread_workers).fit(*arrays)
    np.testing.assert_allclose(model.deviance_path_, expected.deviance_path_, rtol=1e-6)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=0, atol=1e-8)
    del arrays
    assert_nothing_left(thread_workers)


@pytest.mark.parametrize(
    ("kind", "values", "at_once"),
    [
        ("wide poisson", 7 * 60**2, None),  # of three cells and four training sets
        ("wide poisson", 7 * 60**2 - 1, [4, 1, 1, 1, 1]),  # in working sets, which grow
        ("wide huber", 6 * 60**2 * 3, [3, 1, 3, 1]),  # of all columns, six of each fit
        ("classes", 6 * 33**2 * 2, [4, 2, 2]),  # in working sets, which grow
        ("free poisson", 6 * 60**2, [1] * 8),  # no working sets, for columns without a penalty
    ],
)
def test_gram_matrices_take_so_much_memory(kind, values, at_once, monkeypatch):
    X, y, loss = problem(kind.replace("free", "wide"))
    settings = dict(alphas=6)  # five at once, and one
    if "free" in kind:
        settings["penalty_weights"] = np.r_[np.zeros(2), np.ones(58)]
    expected = chooser(loss).set_params(**settings).fit(X, y)
    together, run = [], Together.run

    def spy(self, function, sets):
        together.append(len(sets))
        return run(self, function, sets)

    monkeypatch.setattr(Together, "run", spy)
    monkeypatch.setattr(newton_columns, "_MOST_FREE", 0)
    monkeypatch.setattr(width, "_MOST_VALUES", values)
    model = chooser(loss).set_params(**settings).fit(X, y)
    assert together == (at_once or [])
    np.testing.assert_allclose(model.deviance_path_, expected.deviance_path_, rtol=1e-6)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=0, atol=1e-8)
    assert model.dual_gap_ <= 1e-8


@pytest.mark.parametrize("kind", ["huber", "wide huber", "wide poisson", "wide gamma"])
def test_gaps_are_no_smaller_than_the_excess(kind, limit):
    X, y, loss = problem(kind)
    limit(kind)
    settings = dict(loss=loss, huber_delta=DELTA, fit_intercept=True, alphas=5, eps=0.05)
    alphas, coefs, gaps = lasso_path(X, y, **settings)
    assert (gaps <= 1e-7).all()
    with pytest.warns(ConvergenceWarning, match="did not converge for"):
        _, early, bounds = lasso_path(X, y, **settings, max_iter=2)

    def objective(number, coef):
        model = AsyncLassoRegressor()
        model.coef_ = coef
        # The best intercept is at most as good as the one that the gap is of.
        tries = [
            losses(loss, _with(model, b), X, y, np.longdouble).mean()
            for b in at_best[number] + np.linspace(-0.5, 0.5, 101)
        ]
        return min(tries) + alphas[number] * np.abs(coef.astype(np.longdouble)).sum()

    at_best = [one(loss, alpha, tol=1e-12).fit(X, y).intercept_ for alpha in alphas]
    apart = []
    for number, bound in enumerate(bounds):
        excess = objective(number, early[:, number]) - objective(number, coefs[:, number])
        apart.append(excess)
        assert excess <= bound + 1e-12
    assert max(apart) > 1e-6  # there was something to bound


def _with(model, intercept):
    model.intercept_ = intercept
    return model


def l1_logistic(C, **settings):
    of_version = {"l1_ratio": 1.0} if sklearn_version >= (1, 8) else {"penalty": "l1"}
    return LogisticRegression(C=C, **of_version, **settings)


def test_classes_as_scikit_learn_has_them():
    X, y, loss = problem("classes")
    model = chooser(loss).fit(X, y)
    for fold, (train, test) in enumerate(splits(loss, X, y)):
        for number in (1, ALPHAS - 1):
            C = 1 / (len(train) * model.alphas_[number])
            other = l1_logistic(C, solver="saga", tol=1e-9, max_iter=100_000)
            expected = 2 * log_loss(y[test], other.fit(X[train], y[train]).predict_proba(X[test]))
            assert model.deviance_path_[number, fold] == pytest.approx(expected, rel=1e-4)


def test_many_columns_as_liblinear_has_them(limit):
    X, y, loss = problem("wide logistic")
    limit("wide logistic")
    model = chooser(loss, fit_intercept=False).fit(X, y)
    for fold, (train, test) in enumerate(splits(loss, X, y)):
        for number in (1, ALPHAS - 1):
            C = 1 / (len(train) * model.alphas_[number])
            settings = dict(fit_intercept=False, tol=1e-8, max_iter=10_000)
            other = l1_logistic(C, solver="liblinear", **settings)
            expected = 2 * log_loss(y[test], other.fit(X[train], y[train]).predict_proba(X[test]))
            assert model.deviance_path_[number, fold] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["huber", "wide huber"])
def test_huber_as_a_quadratic_program_has_it(kind, limit):
    cp = pytest.importorskip("cvxpy")
    X, y, _ = problem(kind)
    limit(kind)
    alphas, coefs, _ = lasso_path(X, y, loss="huber", huber_delta=DELTA, alphas=3, eps=0.1)
    for number in (1, 2):
        w = cp.Variable(X.shape[1])
        values = cp.sum(cp.huber(y - X @ w, DELTA)) / (2 * len(y))
        cp.Problem(cp.Minimize(values + alphas[number] * cp.norm1(w))).solve(
            solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11
        )
        np.testing.assert_allclose(coefs[:, number], w.value, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scoring", ["accuracy", "neg_log_loss", "roc_auc_ovr"])
def test_scores_of_classes(scoring):
    X, y, loss = problem("classes")
    names = np.array(["a", "b", "c"])[y]
    model = chooser(loss, scoring=scoring).fit(X, names)
    assert model.score_path_.shape == (ALPHAS, SPLITS)
    train, test = splits(loss, X, y)[2]
    alone = AsyncLogisticRegression(model.alphas_[2]).fit(X[train], names[train])
    if scoring == "accuracy":
        expected = accuracy_score(names[test], alone.predict(X[test]))
    elif scoring == "neg_log_loss":
        expected = -log_loss(names[test], alone.predict_proba(X[test]))
    else:
        from sklearn.metrics import roc_auc_score

        expected = roc_auc_score(names[test], alone.predict_proba(X[test]), multi_class="ovr")
    assert model.score_path_[2, 2] == pytest.approx(expected, rel=1e-6)
    assert model.classes_.tolist() == ["a", "b", "c"]
    assert model.score(X, names) > 0.5


@pytest.mark.parametrize(
    "settings",
    [
        dict(l1_ratio=[0.5, 1.0]),
        dict(positive=True),
        dict(fit_intercept=False),
        dict(standardize=True),
        dict(penalty_weights=np.r_[0.0, 2.0, np.ones(8)]),
        dict(class_weight="balanced"),
        dict(rule="1se"),
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_of_classes(settings):
    X, y, loss = problem("classes")
    weights = np.random.default_rng(5).integers(0, 3, len(y)).astype(float)
    model = chooser(loss, **settings).fit(X, y, weights)
    settings.pop("rule", None)
    settings = {**settings, "l1_ratio": model.l1_ratio_}
    exact = AsyncLogisticRegression(model.alpha_, **settings).fit(X, y, weights)
    np.testing.assert_allclose(model.coef_, exact.coef_, rtol=0, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("criterion", ["aic", "bic"])
@pytest.mark.parametrize("kind", ["classes", "wide logistic", "wide poisson"])
def test_information(kind, criterion, limit):
    X, y, loss = problem(kind)
    limit(kind)
    model = chooser(loss, criterion=criterion).fit(X, y)
    factor = 2 if criterion == "aic" else np.log(len(y))
    for number in (0, ALPHAS - 1):
        alone = one(loss, model.alphas_[number]).fit(X, y)
        deviance = 2 * losses(loss, alone, X, y).sum()
        expected = deviance + factor * np.count_nonzero(alone.coef_)
        assert model.criterion_[number] == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("kind", ["classes", "wide logistic"])
@pytest.mark.parametrize(
    "cv",
    [
        KFold(3, shuffle=True, random_state=0),
        ShuffleSplit(2, test_size=0.3, random_state=0),
        RepeatedKFold(n_splits=2, n_repeats=2, random_state=0),
        [(np.r_[0:100, 0:50], np.r_[100:150])],  # rows that count twice
    ],
    ids=["shuffled", "random", "repeated", "twice"],
)
def test_splitters(cv, kind, limit):
    X, y, loss = problem(kind)
    limit(kind)
    model = chooser(loss).set_params(cv=cv, alphas=[0.03]).fit(X, y)
    pairs = cv if isinstance(cv, list) else cv.split(X, y)
    expected = [
        2 * losses(loss, one(loss, 0.03).fit(X[train], y[train]), X[test], y[test]).mean()
        for train, test in pairs
    ]
    np.testing.assert_allclose(np.ravel(model.deviance_path_), expected, rtol=1e-6)


def test_training_sets_without_a_class():
    X, y, loss = problem("classes")
    y = np.sort(y)
    with pytest.raises(ValueError, match="training set of split 0 the best intercept is infinite"):
        chooser(loss).set_params(cv=KFold(3)).fit(X, np.repeat([0, 1, 2], 50))
    chooser(loss).fit(X, y)
    with pytest.raises(ValueError, match="test set of split 0 has no rows"):
        chooser(loss).set_params(cv=[(np.arange(150), np.arange(0))]).fit(X, y)


@pytest.mark.parametrize("kind", ["classes", "wide poisson"])
def test_rows_that_cannot_be_used_are_named(kind, limit, thread_workers):
    X, y, loss = problem(kind)
    limit(kind)
    X[70, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        chooser(loss).fit(X, y)
    arrays = da.from_array(X, chunks=(40, -1)), da.from_array(y, chunks=40)
    with pytest.raises(ValueError, match=r"row 70 \(chunk 1\)"):
        chooser(loss, client=thread_workers).fit(*thread_workers.persist(list(arrays)))
    assert_nothing_left(thread_workers)


@pytest.mark.parametrize("n_reads", [6, pytest.param(45, marks=pytest.mark.slow)])
def test_max_time_chooses_among_what_is_done(n_reads, monkeypatch):
    X, y, loss = problem("classes")
    complete = chooser(loss).set_params(alphas=15).fit(X, y)
    done, in_time = [], InMemory.reduce

    def reduce(self, *args, **options):
        done.append(args[0])
        if len(done) > n_reads:
            self.deadline = 0.0
        return in_time(self, *args, **options)

    monkeypatch.setattr(InMemory, "reduce", reduce)
    model = chooser(loss, max_time=1e6).set_params(alphas=15)
    if n_reads < 10:
        with pytest.raises(TimeoutError, match="max_time"):
            model.fit(X, y)
        return
    with pytest.warns(ConvergenceWarning, match="max_time"):
        model.fit(X, y)
    is_done = np.isfinite(model.deviance_path_).all(axis=1)
    assert 0 < is_done.sum() < 15
    wanted = complete.deviance_path_[is_done]
    np.testing.assert_allclose(model.deviance_path_[is_done], wanted, rtol=1e-6)
    assert model.alpha_ in model.alphas_[is_done]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_ends_a_pass_ends_the_fits(error, monkeypatch):
    import threading

    X, y, loss = problem("classes")
    reads, reduce = [], InMemory.reduce

    def broken(self, *args, **options):
        reads.append(args[0])
        if len(reads) == 12:
            raise error
        return reduce(self, *args, **options)

    monkeypatch.setattr(InMemory, "reduce", broken)
    with pytest.raises(error):
        chooser(loss).fit(X, y)
    for thread in threading.enumerate():
        if thread.name.startswith("dask-lasso-set"):
            thread.join(10)
            assert not thread.is_alive()
