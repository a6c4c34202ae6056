"""A loss and a penalty of the user's, each an object of a few methods, on every engine."""

from __future__ import annotations

import warnings

import dask.array as da
import numpy as np
import pytest
from conftest import ENGINES
from scipy.special import expit, xlogy
from sklearn.isotonic import isotonic_regression
from sklearn.linear_model import LogisticRegression

from dask_lasso import AsyncLassoRegressor, Loss, Penalty

# Arithmetic, which the versions of the dependencies hardly touch.
pytestmark = pytest.mark.slow

N, K, BLOCK = 600, 8, 2


class Logistic:
    """``log(1 + exp(eta)) - y eta``, for y in [0, 1]."""

    def value(self, eta, y):
        return np.logaddexp(0, eta) - y * eta

    def derivative(self, eta, y):
        return expit(eta) - y

    def curvature(self, eta, y):
        return expit(eta) * expit(-eta)

    def conjugate(self, slope, y):
        p = slope + y
        inside = (p >= 0) & (p <= 1)
        p = np.clip(p, 0, 1)
        return np.where(inside, xlogy(p, p) + xlogy(1 - p, 1 - p), np.inf)


class Groups:
    """The sum of the norms of neighbouring pairs of coefficients."""

    def value(self, w):
        return np.linalg.norm(w.reshape(-1, BLOCK), axis=1).sum()

    def prox(self, w, step):
        pairs = w.reshape(-1, BLOCK)
        norms = np.linalg.norm(pairs, axis=1, keepdims=True)
        shrunk = np.maximum(norms - step, 0) / np.where(norms > 0, norms, 1)
        return (shrunk * pairs).reshape(w.shape)


def rows(loss="squared"):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, K)) @ (np.eye(K) + 0.3)
    eta = X @ np.r_[1.0, -1.0, 0.5, np.zeros(K - 3)] + 0.5
    y = (rng.random(N) < expit(eta)).astype(float) if loss == "logistic" else eta
    return X, y + (0 if loss == "logistic" else rng.normal(size=N))


def chunked(X, y, client):
    return da.from_array(X, chunks=(150, -1)), da.from_array(y, chunks=150), client


PLACES = ["memory", "processes"]


def fitted(model, X, y, place, client, **fit):
    if place == "processes":
        X, y, model.client = chunked(X, y, client)
    return model.fit(X, y, **fit)


def logistic_objective(X, y, alpha, coef, intercept, weights=1.0):
    eta = X @ coef + intercept
    mean = np.average(Logistic().value(eta, y), weights=np.broadcast_to(weights, y.shape))
    return mean + alpha * np.abs(coef).sum()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_loss_with_a_conjugate_is_certified(engine, place, fit_intercept, client):
    X, y = rows("logistic")
    alpha = 0.02
    model = AsyncLassoRegressor(
        alpha, loss=Logistic(), engine=engine, fit_intercept=fit_intercept, tol=1e-9, n_blocks=4
    )
    model = fitted(model, X, y, place, client)
    exact = LogisticRegression(
        C=1 / (N * alpha),
        l1_ratio=1.0,
        solver="saga",
        fit_intercept=fit_intercept,
        tol=1e-12,
        max_iter=100_000,
    ).fit(X, y)
    least = logistic_objective(X, y, alpha, exact.coef_[0], np.ravel(exact.intercept_)[0])
    excess = logistic_objective(X, y, alpha, model.coef_, model.intercept_) - least
    assert model.certificate_ == "duality gap"
    assert excess <= model.dual_gap_ * (1 + 1e-6) + 1e-12
    assert model.dual_gap_ <= 1e-9 * 2 * np.log(2)
    np.testing.assert_allclose(model.coef_, exact.coef_[0], atol=2e-4)


@pytest.mark.parametrize("polish", [False, True])
def test_the_gap_of_a_loss_is_never_below_the_excess(polish):
    X, y = rows("logistic")
    weights = np.random.default_rng(1).integers(0, 3, size=N).astype(float)
    alpha = 0.01
    best = AsyncLassoRegressor(alpha, loss=Logistic(), tol=1e-12, n_blocks=2)
    best.fit(X, y, sample_weight=weights)
    least = logistic_objective(X, y, alpha, best.coef_, best.intercept_, weights)
    for sweeps in (1, 2, 3, 5, 8, 13):
        model = AsyncLassoRegressor(
            alpha, loss=Logistic(), tol=0, max_iter=sweeps, n_blocks=6, polish=polish
        )
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            model.fit(X, y, sample_weight=weights)
        # The steps that polish may end where primal and dual value agree to the last digit.
        warned = any("did not converge" in str(each.message) for each in said)
        assert warned == (model.dual_gap_ > 0)
        assert polish or model.dual_gap_ > 0
        excess = logistic_objective(X, y, alpha, model.coef_, model.intercept_, weights) - least
        assert excess + best.dual_gap_ >= 0
        assert excess <= model.dual_gap_ + 1e-12


@pytest.mark.parametrize("without", ["conjugate"])
def test_a_loss_without_a_conjugate_has_residuals(without):
    class Unknown(Logistic):
        conjugate = property()

    assert not hasattr(Unknown(), without)
    X, y = rows("logistic")
    certified = AsyncLassoRegressor(0.02, loss=Logistic(), tol=1e-10, n_blocks=3).fit(X, y)
    model = AsyncLassoRegressor(0.02, loss=Unknown(), tol=1e-7, n_blocks=3).fit(X, y)
    assert model.certificate_ == "residuals"
    assert np.isnan(model.dual_gap_)
    np.testing.assert_allclose(model.coef_, certified.coef_, atol=1e-5)


def violation(X, y, alpha, model):
    """By how much the subgradient conditions of the group lasso are violated."""
    r = y - X @ model.coef_ - model.intercept_
    slopes = (X.T @ r / N).reshape(-1, BLOCK)
    pairs = model.coef_.reshape(-1, BLOCK)
    norms = np.linalg.norm(pairs, axis=1, keepdims=True)
    inside = np.maximum(np.linalg.norm(slopes, axis=1, keepdims=True) - alpha, 0)
    on = np.linalg.norm(slopes - alpha * pairs / np.where(norms, norms, 1), axis=1, keepdims=True)
    return max(np.where(norms > 0, on, inside).max(), abs(r.mean()))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("local_solver", ["gram", "lbfgs"])
def test_a_penalty_of_the_user(engine, place, local_solver, client):
    X, y = rows()
    alpha = 0.3
    model = AsyncLassoRegressor(
        alpha, penalty=Groups(), engine=engine, local_solver=local_solver, tol=1e-8, n_blocks=4
    )
    model = fitted(model, X, y, place, client)
    assert model.certificate_ == "residuals"
    assert violation(X, y, alpha, model) <= 1e-6
    norms = np.linalg.norm(model.coef_.reshape(-1, BLOCK), axis=1)
    assert 0 < (norms == 0).sum() < len(norms)


class Falling:
    """The lasso of coefficients that fall, to zero: as in docs/penalties.md."""

    def value(self, w):
        return np.abs(w).sum()

    def prox(self, w, step):
        return np.maximum(isotonic_regression(w - step, increasing=False), 0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("local_solver", ["gram", "lbfgs"])
def test_ordered_coefficients(engine, local_solver):
    X, y = rows()
    settings = dict(engine=engine, local_solver=local_solver, tol=1e-9, n_blocks=4)
    model = AsyncLassoRegressor(0.3, penalty=Falling(), **settings).fit(X, np.abs(y) + X[:, 0])
    # They are sums of steps that are not negative: a lasso of sums of columns.
    steps = AsyncLassoRegressor(0.3, positive=True, penalty_weights=np.arange(1.0, K + 1))
    steps.fit(np.cumsum(X, axis=1), np.abs(y) + X[:, 0])
    expected = np.cumsum(steps.coef_[::-1])[::-1]
    np.testing.assert_allclose(model.coef_, expected, atol=1e-5 * expected.max())


def test_a_penalty_sees_the_users_units():
    """Columns in other units are another problem for it; a common unit is not."""
    X, y = rows()
    fits = [
        AsyncLassoRegressor(0.3 * unit, penalty=Groups(), tol=1e-9, n_blocks=4).fit(unit * X, y)
        for unit in (1.0, 1e6)
    ]
    np.testing.assert_allclose(1e6 * fits[1].coef_, fits[0].coef_, rtol=1e-6, atol=1e-9)


def test_a_penalty_of_several_targets_together():
    class Rows:
        """One support for all targets."""

        def value(self, w):
            return np.linalg.norm(w, axis=1).sum()

        def prox(self, w, step):
            norms = np.linalg.norm(w, axis=1, keepdims=True)
            return np.maximum(norms - step, 0) / np.where(norms > 0, norms, 1) * w

    from sklearn.linear_model import MultiTaskLasso

    X, y = rows()
    Y = np.column_stack([y, X[:, 4] - y])
    model = AsyncLassoRegressor(0.3, penalty=Rows(), tol=1e-9, n_blocks=3).fit(X, Y)
    exact = MultiTaskLasso(0.3, tol=1e-12, max_iter=10_000).fit(X, Y)
    np.testing.assert_allclose(model.coef_, exact.coef_, atol=1e-6)


def test_they_are_what_the_protocols_say():
    assert isinstance(Logistic(), Loss)
    assert isinstance(Groups(), Penalty)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"penalty": Groups}, r"penalty is the class Groups: pass an instance of it"),
        ({"loss": Logistic}, r"loss is the class Logistic: pass an instance of it"),
        ({"penalty": "l2"}, "'penalty' parameter"),
        ({"penalty": Groups(), "positive": True}, "positive is of penalty='l1' alone"),
        (
            {"penalty": Groups(), "penalty_weights": np.ones(K)},
            "penalty_weights is of penalty='l1'",
        ),
    ],
)
def test_what_cannot_be_plugged_together(params, match):
    with pytest.raises(ValueError, match=match):
        AsyncLassoRegressor(**params).fit(*rows())


def test_a_penalty_whose_prox_is_of_another_shape():
    class Wrong(Groups):
        def prox(self, w, step):
            return w[:-1]

    with pytest.raises(ValueError, match=r"penalty: prox returned an array of shape"):
        AsyncLassoRegressor(penalty=Wrong()).fit(*rows())


def test_statistics_are_of_penalties_that_are_known():
    model = AsyncLassoRegressor(0.3, penalty=Groups())
    with pytest.raises(ValueError, match="partial_fit needs a penalty that is known as a norm"):
        model.partial_fit(*rows())
    assert not hasattr(model.fit(*rows()), "degrees_of_freedom_")
