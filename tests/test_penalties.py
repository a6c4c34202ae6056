"""dask_lasso.penalties: against other programs, by the gap, on every way to the answer."""

from __future__ import annotations

from itertools import product

import dask.array as da
import numpy as np
import pytest
from routes import dense_rows
from scipy.special import expit
from sklearn.linear_model import Lasso, MultiTaskElasticNetCV, MultiTaskLasso, MultiTaskLassoCV
from sklearn.model_selection import KFold

from dask_lasso import (
    AsyncElasticNetCV,
    AsyncElasticNetRegressor,
    AsyncLassoCV,
    AsyncLassoRegressor,
    Penalty,
)
from dask_lasso.penalties import MCP, SCAD, SLOPE, GroupLasso, MultiTask, SparseGroupLasso

K = 20
GROUPS = np.array(list("abcde" * 4))
RNG = np.random.default_rng(0)
SEVERAL = ["group", "sparse group", "multi-task"]
PENALTIES = {
    "group": GroupLasso(GROUPS, weights={name: 1 + 4 * i for i, name in enumerate("abcde")}),
    "sparse group": SparseGroupLasso(GROUPS, 0.3),
    "multi-task": MultiTask(),
    "SLOPE": SLOPE(np.linspace(2, 0.5, K)),
}


def rows(n_targets=1):
    X, y, weights = dense_rows(K)
    if n_targets > 1:
        y = np.column_stack([y, X[:, 0] - y])
    return X, y, weights


def objective(X, y, weights, model, alpha, penalty, l1_ratio):
    r = y - X @ model.coef_.T - model.intercept_
    loss = np.average((r**2).reshape(len(y), -1).sum(axis=1), weights=weights) / 2
    ridge = (1 - l1_ratio) / 2 * (model.coef_**2).sum()
    return loss + alpha * (l1_ratio * penalty.value(model.coef_.T) + ridge)


@pytest.mark.parametrize("name", PENALTIES)
def test_prox_and_dual_norm_are_of_the_value(name):
    penalty = PENALTIES[name]
    assert isinstance(penalty, Penalty)
    for shape in [(K,), (K, 2)]:
        w, c = RNG.normal(size=(2, *shape))
        w[RNG.uniform(size=shape) < 0.5] = 0
        near = penalty.prox(c, 0.7)
        least = 0.7 * penalty.value(near) + ((near - c) ** 2).sum() / 2
        for _ in range(100):
            other = near + 10.0 ** RNG.uniform(-4, 0) * RNG.normal(size=shape)
            assert 0.7 * penalty.value(other) + ((other - c) ** 2).sum() / 2 >= least
        size = penalty.dual_norm(c)
        assert (c * w).sum() <= size * penalty.value(w)
        # Moreau: the prox is zero from the dual norm on, and not before.
        assert not penalty.prox(c, size * (1 + 1e-9)).any()
        assert penalty.prox(c, size * (1 - 1e-6)).any()


@pytest.mark.parametrize(("n_targets", "l1_ratio"), [(1, 1.0), (2, 1.0), (1, 0.8), (2, 0.8)])
@pytest.mark.parametrize("name", PENALTIES)
def test_every_way_to_the_answer(name, n_targets, l1_ratio, thread_workers):
    X, y, weights = rows(n_targets)
    penalty, alpha = PENALTIES[name], 0.3
    net = dict(penalty=penalty, l1_ratio=l1_ratio)
    exact = AsyncElasticNetRegressor(alpha, **net).fit(X, y, weights)
    null = np.average((y - np.average(y, axis=0, weights=weights)) ** 2, axis=0, weights=weights)
    assert exact.certificate_ == "duality gap"
    assert np.sum(exact.dual_gap_) <= 1e-12 * np.sum(null)
    assert exact.n_passes_ == 1
    assert 0 < np.count_nonzero(exact.coef_) < exact.coef_.size
    least = objective(X, y, weights, exact, alpha, penalty, l1_ratio)
    chunks = [da.from_array(a, chunks=(40, *a.shape[1:])) for a in (X, y, weights)]
    there = AsyncElasticNetRegressor(alpha, **net, client=thread_workers).fit(*chunks)
    np.testing.assert_allclose(there.coef_, exact.coef_, rtol=1e-6, atol=1e-8)
    for settings in (dict(polish=False), dict(local_solver="lbfgs")):
        settings = dict(tol=1e-8, n_blocks=3, **settings)
        model = AsyncElasticNetRegressor(alpha, **net, **settings).fit(X, y, weights)
        assert model.certificate_ == "duality gap"
        assert np.sum(model.dual_gap_) <= 1.1e-8 * np.sum(null)
        excess = objective(X, y, weights, model, alpha, penalty, l1_ratio) - least
        assert -1e-9 * np.sum(null) <= excess <= np.sum(model.dual_gap_)
    parts = AsyncElasticNetRegressor(alpha, **net)
    parts.partial_fit(X[:70], y[:70], weights[:70]).partial_fit(X[70:], y[70:], weights[70:])
    np.testing.assert_allclose(parts.coef_, exact.coef_, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_several_targets_equal_scikit_learn(fit_intercept):
    X, Y, _ = rows(2)
    expected = MultiTaskLasso(0.5, tol=1e-13, max_iter=10**6, fit_intercept=fit_intercept)
    expected.fit(X, Y)
    model = AsyncLassoRegressor(0.5, penalty=MultiTask(), fit_intercept=fit_intercept).fit(X, Y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6, atol=1e-8)


def test_columns_in_units_far_apart():
    X, y, _ = rows()
    unit = 10.0 ** np.repeat([-4.0, 0, 3, -2, 5], 4)
    order = np.argsort(GROUPS, kind="stable")
    X = X.copy()
    X[:, order] *= unit
    for fit_intercept in (True, False):
        model = AsyncLassoRegressor(0.3, penalty=GroupLasso(GROUPS), fit_intercept=fit_intercept)
        model.fit(X, y)
        assert model.dual_gap_ <= 1e-10 * y.var()


def test_one_group_for_each_column_is_the_lasso():
    X, y, _ = rows()
    lasso = Lasso(0.3, tol=1e-13).fit(X, y).coef_
    for penalty in (GroupLasso(range(K)), SparseGroupLasso(GROUPS, 1.0), SLOPE(np.ones(K))):
        model = AsyncLassoRegressor(0.3, penalty=penalty).fit(X, y)
        np.testing.assert_allclose(model.coef_, lasso, atol=1e-8)


def test_sizes_by_rank_of_more_columns_than_rows():
    rng = np.random.default_rng(0)
    X, penalty = rng.normal(size=(40, 300)), SLOPE(np.linspace(2, 1, 300))
    y = X[:, :100] @ rng.normal(size=100)
    alpha = 0.01 * penalty.dual_norm((X - X.mean(axis=0)).T @ y / 40)
    model = AsyncLassoRegressor(alpha, penalty=penalty).fit(X, y)
    assert model.dual_gap_ <= 1e-9 * y.var()


def test_other_losses_have_a_gap_too():
    from test_plugs import Logistic

    X, y, _ = rows()
    labels = (y > y.mean()).astype(float)
    model = AsyncLassoRegressor(0.02, penalty=GroupLasso(GROUPS), loss=Logistic(), tol=1e-7)
    model.fit(X, labels)
    assert model.certificate_ == "duality gap"
    assert model.dual_gap_ <= 2e-7
    r = labels - expit(X @ model.coef_ + model.intercept_)
    norms = np.sqrt(np.bincount(np.unique(GROUPS, return_inverse=True)[1], (X.T @ r / 150) ** 2))
    assert norms.max() <= 0.02 * 2 * (1 + 1e-3)


@pytest.mark.parametrize("penalty", [MCP(), MCP(1.5), SCAD()], ids=["MCP", "MCP 1.5", "SCAD"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_concave_penalties_are_stationary(penalty, fit_intercept):
    X, y, weights = rows()
    X, alpha = X / X.std(axis=0), 0.5
    model = AsyncLassoRegressor(alpha, penalty=penalty, fit_intercept=fit_intercept)
    model.fit(X, y, weights)
    assert model.certificate_ == "stationarity"
    assert model.stationarity_ <= 1e-6
    assert np.isnan(model.dual_gap_)
    coef = model.coef_
    gradient = (X.T * weights) @ (y - X @ coef - model.intercept_) / weights.sum()
    # The slope of the value, by differences.
    steps = [penalty.value(np.abs(coef) + step, alpha) for step in (-1e-6, 1e-6)]
    slope = np.sign(coef) * (steps[1] - steps[0]) / 2e-6
    size = np.sqrt(np.average(y**2, weights=weights))
    np.testing.assert_allclose(gradient[coef != 0], slope[coef != 0], atol=2e-6 * size)
    assert (np.abs(gradient[coef == 0]) <= alpha * (1 + 1e-6)).all()
    # Large coefficients are not shrunk: least squares of the support, if all are large.
    lasso = AsyncLassoRegressor(alpha, fit_intercept=fit_intercept).fit(X, y, weights)
    assert np.abs(coef).sum() > np.abs(lasso.coef_).sum()

    def of(fitted):
        r = y - X @ fitted.coef_ - fitted.intercept_
        return (
            np.average(r**2, weights=weights) / 2 + penalty.value(np.abs(fitted.coef_), alpha).sum()
        )

    assert of(model) <= of(lasso)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["group", "MCP", "SCAD", "SLOPE"])
def test_objectives_are_those_of_skglm(name):
    skglm = pytest.importorskip("skglm")
    X, y, _ = rows()
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    y = y - y.mean()
    alpha, settings = 0.4, dict(fit_intercept=False)
    if name == "group":
        order = np.argsort(GROUPS, kind="stable")
        peer = skglm.GroupLasso(4, alpha, tol=1e-12, max_iter=10**4, **settings)
        peer.fit(np.asfortranarray(X[:, order]), y)
        coef = np.empty(K)
        coef[order] = peer.coef_
        penalty = GroupLasso(GROUPS, np.ones(5))
        value = penalty.value
    elif name == "SLOPE":
        weights = np.linspace(2, 0.5, K)
        peer = skglm.GeneralizedLinearEstimator(
            skglm.datafits.Quadratic(),
            skglm.penalties.SLOPE(alpha * weights),
            skglm.solvers.FISTA(max_iter=10**4, tol=1e-12, opt_strategy="fixpoint"),
        )
        coef = peer.fit(X, y).coef_
        penalty = SLOPE(weights)
        value = penalty.value
    else:
        penalty, gamma = (MCP(), 3.0) if name == "MCP" else (SCAD(), 3.7)
        of = skglm.penalties.MCPenalty if name == "MCP" else skglm.penalties.SCAD
        solver = skglm.solvers.AndersonCD(
            tol=1e-12, max_iter=10**4, warm_start=True, fit_intercept=False
        )
        peer = skglm.GeneralizedLinearEstimator(
            skglm.datafits.Quadratic(), of(alpha, gamma), solver
        )
        peer.coef_, peer.intercept_ = Lasso(alpha, **settings).fit(X, y).coef_, 0.0
        coef = peer.fit(np.asfortranarray(X), y).coef_

        def value(w):
            return penalty.value(np.abs(w), alpha).sum() / alpha

    model = AsyncLassoRegressor(alpha, penalty=penalty, **settings).fit(X, y)
    found, theirs = (
        ((y - X @ w) ** 2).mean() / 2 + alpha * value(w) for w in (model.coef_, np.ravel(coef))
    )
    assert found <= theirs + 1e-9 * y.var()
    if name in ("group", "SLOPE"):
        assert theirs <= found + 1e-6 * y.var()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GroupLasso(GROUPS[:3]), "groups has 3 labels, and X has 20 features"),
        (lambda: GroupLasso(GROUPS, {"a": 1}), r"weights has none of the groups \['b'"),
        (lambda: GroupLasso(GROUPS, [1, 2]), "a positive number for each of the 5 groups"),
        (lambda: GroupLasso(3), "groups must be a label for each column"),
        (lambda: SparseGroupLasso(GROUPS, 2.0), "share must be within 0 and 1"),
        (lambda: SLOPE([1, 2]), "weights must be numbers that fall"),
        (lambda: SLOPE([1, 0.5]), "SLOPE has 2 weights, and X has 20 features"),
        (lambda: MCP(1.0), "gamma must be above 1"),
        (lambda: SCAD(2.0), "gamma must be above 2"),
    ],
)
def test_bad_penalties(make, message):
    with pytest.raises(ValueError, match=message):
        AsyncLassoRegressor(penalty=make()).fit(*rows())


def test_concave_penalties_are_of_the_squared_loss():
    for settings in (dict(loss="huber"), dict(polish=False), dict(local_solver="lbfgs")):
        with pytest.raises(ValueError, match="MCP and SCAD are solved from statistics"):
            AsyncLassoRegressor(penalty=MCP(), **settings).fit(*rows())


CHOSEN = {**PENALTIES, "MCP": MCP(), "SCAD": SCAD()}


@pytest.mark.parametrize(
    ("name", "n_targets"),
    [
        pytest.param(
            *cell, marks=[pytest.mark.slow] * (cell in [("SCAD", 2), ("MCP", 1), ("SLOPE", 2)])
        )
        for cell in product(CHOSEN, [1, 2])
    ],
)
def test_cross_validation_is_a_fit_for_each_fold_and_alpha(name, n_targets, thread_workers):
    X, y, weights = rows(n_targets)
    X, penalty, n_folds = X / X.std(axis=0), CHOSEN[name], 3
    model = AsyncLassoCV(penalty=penalty, alphas=6, eps=0.05, cv=n_folds, client=thread_workers)
    chunks = [da.from_array(a, chunks=(40, *a.shape[1:])) for a in (X, y, weights)]
    model.fit(*chunks)
    assert model.n_passes_ == 1
    is_joint = name not in ("MCP", "SCAD")
    for target in range(1 if is_joint else n_targets):
        one = y if is_joint or n_targets == 1 else y[:, target]
        of = [np.asarray(getattr(model, a)) for a in ("alphas_", "mse_path_", "alpha_", "coef_")]
        if not is_joint and n_targets == 2:
            of = [values[target] for values in of]
        alphas, mse, chosen, coef = of
        chosen = float(chosen)
        expected = np.empty((len(alphas), n_folds))
        for fold, (train, test) in enumerate(KFold(n_folds).split(X)):
            for row, alpha in enumerate(alphas):
                fit = AsyncLassoRegressor(alpha, penalty=penalty)
                fit.fit(X[train], one[train], weights[train])
                squares = (one[test] - fit.predict(X[test])) ** 2
                squares = squares.reshape(len(test), -1).mean(axis=1)
                expected[row, fold] = np.average(squares, weights=weights[test])
        np.testing.assert_allclose(mse, expected, rtol=1e-6)
        assert chosen == alphas[expected.mean(axis=1).argmin()]
        fit = AsyncLassoRegressor(chosen, penalty=penalty).fit(X, one, weights)
        assert model.certificate_ == fit.certificate_
        size = np.abs(fit.coef_).max()
        np.testing.assert_allclose(coef, fit.coef_, rtol=1e-6, atol=1e-7 * size)
        # The first alpha is the smallest at which there is nothing.
        largest = alphas[0] * np.array([1 + 1e-9, 1 - 1e-3])
        nothing, something = (
            AsyncLassoRegressor(alpha, penalty=penalty).fit(X, one, weights).coef_
            for alpha in largest
        )
        assert np.abs(nothing).max() <= 1e-12 * size
        assert np.abs(something).max() > 1e-9 * size


def test_a_choice_of_several_targets_is_that_of_scikit_learn():
    X, Y, _ = rows(2)
    alphas = np.geomspace(3, 0.03, 8)
    model = AsyncLassoCV(penalty=MultiTask(), alphas=alphas, cv=3).fit(X, Y)
    known = MultiTaskLassoCV(alphas=alphas, cv=3, tol=1e-12, max_iter=10**6).fit(X, Y)
    assert model.alpha_ == known.alpha_
    np.testing.assert_allclose(model.mse_path_, known.mse_path_, rtol=1e-6)
    np.testing.assert_allclose(model.coef_, known.coef_, rtol=1e-6, atol=1e-8)
    assert model.predict(X).shape == Y.shape
    np.testing.assert_allclose(model.score(X, Y), known.score(X, Y), rtol=1e-6)


@pytest.mark.slow
def test_a_choice_beside_a_ridge_term_is_that_of_scikit_learn():
    X, Y, _ = rows(2)
    settings = dict(l1_ratio=[0.3, 0.7, 1.0], cv=3)
    given = np.geomspace(3, 0.03, 8)
    # scikit-learn's name of how many there are differs between versions; 100 is the default.
    for grid in (dict(alphas=given), dict(eps=0.1)):
        model = AsyncElasticNetCV(penalty=MultiTask(), **grid, **settings).fit(X, Y)
        known = MultiTaskElasticNetCV(**grid, **settings, tol=1e-12, max_iter=10**6)
        known.fit(X, Y)
        np.testing.assert_allclose(model.alphas_, known.alphas_, rtol=1e-9)
        assert (model.alpha_, model.l1_ratio_) == pytest.approx((known.alpha_, known.l1_ratio_))
        np.testing.assert_allclose(model.mse_path_, known.mse_path_, rtol=1e-6)
        np.testing.assert_allclose(model.coef_, known.coef_, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", PENALTIES)
def test_a_ridge_term_beside_a_norm_is_rows_more(name):
    X, y, weights = rows()
    alpha, l1_ratio, total = 0.5, 0.6, weights.sum()
    settings = dict(l1_ratio=l1_ratio, penalty=PENALTIES[name])
    model = AsyncElasticNetRegressor(alpha, **settings).fit(X, y, weights)
    centred, target = (a - np.average(a, axis=0, weights=weights) for a in (X, y))
    more = np.vstack([centred, np.sqrt(total * alpha * (1 - l1_ratio)) * np.eye(K)])
    alpha *= l1_ratio * total / (total + K)
    expected = AsyncLassoRegressor(alpha, penalty=PENALTIES[name], fit_intercept=False)
    expected.fit(more, np.r_[target, np.zeros(K)], np.r_[weights, np.ones(K)])
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("penalty", [MCP(), SCAD()], ids=["MCP", "SCAD"])
def test_concave_penalties_are_stationary_beside_a_ridge_term(penalty):
    X, y, weights = rows()
    X, alpha, l1_ratio = X / X.std(axis=0), 0.5, 0.6
    model = AsyncElasticNetRegressor(alpha, l1_ratio=l1_ratio, penalty=penalty)
    coef = model.fit(X, y, weights).coef_
    pull = (X.T * weights) @ (y - model.predict(X)) / weights.sum()
    pull -= alpha * (1 - l1_ratio) * coef
    slope = alpha * l1_ratio * penalty.weights(np.abs(coef), alpha * l1_ratio)
    is_on = coef != 0
    np.testing.assert_allclose(pull[is_on], (slope * np.sign(coef))[is_on], atol=1e-7)
    assert (np.abs(pull) <= slope + 1e-7).all()
    assert 0 < is_on.sum() < K
    assert model.stationarity_ <= 1e-9


@pytest.mark.parametrize("loss", ["huber", "logistic"])
def test_other_losses_beside_a_ridge_term(loss):
    from test_plugs import Logistic

    X, y, _ = rows()
    if loss == "logistic":
        y, loss = (y > y.mean()).astype(float), Logistic()
    settings = dict(loss=loss, l1_ratio=0.5, penalty=GroupLasso(range(K)))
    model = AsyncElasticNetRegressor(0.02, tol=1e-8, **settings).fit(X, y)
    assert model.certificate_ == "duality gap"
    assert model.dual_gap_ <= 1e-8 * y.var()
    settings["penalty"] = "l1"
    known = AsyncElasticNetRegressor(0.02, tol=1e-12, **settings).fit(X, y)
    np.testing.assert_allclose(model.coef_, known.coef_, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", ["group", "MCP"])
def test_a_choice_of_the_l1_ratio_is_a_fit_for_each(name):
    X, y, weights = rows()
    X, penalty, l1_ratios = X / X.std(axis=0), CHOSEN[name], [0.4, 1.0]
    settings = dict(alphas=4, eps=0.1, cv=3, penalty=penalty, l1_ratio=l1_ratios)
    model = AsyncElasticNetCV(**settings).fit(X, y, weights)
    train, test = np.arange(50, 150), np.arange(50)
    for ratio, (alphas, errors) in enumerate(zip(model.alphas_, model.mse_path_, strict=True)):
        for alpha, error in zip(alphas, errors[:, 0], strict=True):
            fit = AsyncElasticNetRegressor(alpha, l1_ratio=l1_ratios[ratio], penalty=penalty)
            fit.fit(X[train], y[train], weights[train])
            square = np.average((y[test] - fit.predict(X[test])) ** 2, weights=weights[test])
            np.testing.assert_allclose(error, square, rtol=1e-6)
    fit = AsyncElasticNetRegressor(model.alpha_, l1_ratio=model.l1_ratio_, penalty=penalty)
    fit.fit(X, y, weights)
    assert model.certificate_ == fit.certificate_
    np.testing.assert_allclose(model.coef_, fit.coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(model.alphas_[0, 0], model.alphas_[1, 0] / 0.4, rtol=1e-12)


def test_the_path_of_a_chosen_penalty():
    X, y, weights = rows()
    model = AsyncLassoCV(penalty=PENALTIES["group"], alphas=[3.0, 0.3, 0.0], cv=3)
    model.fit(X, y, weights)
    for coef, alpha in zip(model.coef_path_.T, model.alphas_, strict=True):
        penalty = PENALTIES["group"] if alpha else "l1"
        fit = AsyncLassoRegressor(alpha or 1e-300, penalty=penalty).fit(X, y, weights)
        np.testing.assert_allclose(coef, fit.coef_, rtol=1e-6, atol=1e-8)


class NoNorm:
    def value(self, w):
        return np.abs(w).sum()

    def prox(self, w, step):
        return np.sign(w) * np.maximum(np.abs(w) - step, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(penalty=GroupLasso), "penalty must be|penalty is the class GroupLasso"),
        (dict(loss="poisson"), "loss='poisson' is of penalty='l1' alone: use loss='squared'"),
        (dict(relaxed=True), "relaxed=True is of penalty='l1' alone: use relaxed=False"),
        (dict(criterion="bic"), "criterion='bic' is of penalty='l1' alone: use criterion='cv'"),
        (dict(positive=True), "positive is of penalty='l1' alone"),
        (dict(penalty=NoNorm()), "penalty has no dual_norm, .* GridSearchCV"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_choices_that_there_are_not(settings, message):
    settings = {"penalty": PENALTIES["group"], **settings}
    for make in (AsyncLassoCV, AsyncElasticNetCV):
        if settings.keys() <= make().get_params().keys():
            with pytest.raises(ValueError, match=message):
                make(**settings).fit(*rows()[:2])


@pytest.mark.parametrize("l1_ratio", [0.0, [0.5, 0.0]])
def test_a_ridge_term_alone_has_no_penalty(l1_ratio):
    for make in (AsyncElasticNetRegressor, AsyncElasticNetCV):
        if make is AsyncElasticNetCV or np.ndim(l1_ratio) == 0:
            model = make(l1_ratio=l1_ratio, penalty=MultiTask())
            with pytest.raises(ValueError, match="l1_ratio=0 is a ridge term alone, without the"):
                model.fit(*rows()[:2])


def test_a_penalty_of_the_user_beside_a_ridge_term():
    X, y, _ = rows()
    settings = dict(l1_ratio=0.5, tol=1e-8)
    model = AsyncElasticNetRegressor(0.3, penalty=NoNorm(), n_blocks=3, **settings).fit(X, y)
    assert model.certificate_ == "residuals"
    known = AsyncElasticNetRegressor(0.3, **settings).fit(X, y)
    np.testing.assert_allclose(model.coef_, known.coef_, atol=1e-5)


def test_penalties_are_shown_as_they_were_made():
    assert repr(MCP()) == "MCP(gamma=3.0)"
    assert repr(SCAD(4.0)) == "SCAD(gamma=4.0)"
    assert repr(MultiTask()) == "MultiTask()"
    assert repr(SLOPE([2, 1])) == "SLOPE(weights=[2, 1])"
    assert repr(GroupLasso(list("aab"))) == "GroupLasso(groups=['a', 'a', 'b'], weights=None)"
    assert repr(SparseGroupLasso([1, 2], 0.3)) == (
        "SparseGroupLasso(groups=[1, 2], share=0.3, weights=None)"
    )
    assert "penalty=MCP(gamma=2.0)" in repr(AsyncLassoRegressor(penalty=MCP(2.0)))
    assert len(repr(GroupLasso(np.arange(10_000)))) < 100
