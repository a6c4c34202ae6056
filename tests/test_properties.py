"""A few hundred random problems; thousands are ``python tests/properties.py``."""

from __future__ import annotations

import judge
import loss_judge
import loss_properties
import numpy as np
import properties
import pytest
from scipy import linalg, optimize
from sklearn.linear_model import ElasticNet

from dask_lasso import AsyncElasticNetRegressor, AsyncLassoRegressor

pytestmark = pytest.mark.skipif(
    not judge.EXTENDED, reason="the judge needs a long double of 64 bits of mantissa"
)

N_PROBLEMS = 300
GROUP = 20


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(first, marks=[pytest.mark.slow] if first >= 100 else [])
        for first in range(0, N_PROBLEMS, GROUP)
    ],
)
def test_no_wrong_number_says_that_it_is_right(first):
    outcomes = [properties.check_seed(seed) for seed in range(first, first + GROUP)]
    assert not "\n".join(map(str, (outcome for outcome in outcomes if outcome.failures)))


@pytest.mark.slow
def test_a_first_gap_that_is_too_large_to_be_multiplied():
    outcome = properties.check_seed(102_739)  # the first block is a row, another is far from it
    assert not outcome.failures


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 60, GROUP))
def test_no_wrong_number_of_another_loss_says_that_it_is_right(first):
    outcomes = [loss_properties.check_seed(seed) for seed in range(first, first + GROUP)]
    assert not "\n".join(map(str, (outcome for outcome in outcomes if outcome.failures)))


@pytest.mark.parametrize("seed", [5_000_735, 5_000_999])
def test_a_newton_step_that_is_too_long_is_no_defect(seed):
    """Counts, many columns, and folds of a path: means at the end of a step overflow."""
    outcome = loss_properties.check_seed(seed)
    assert not outcome.failures


@pytest.mark.parametrize("loss", loss_judge.LOSSES)
def test_the_judge_of_losses_catches_wrong_coefficients(loss):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), rng.integers(0, 2, size=(60, 1)) + (loss == "gamma")
    params = {"fit_intercept": True, "bounds": (-1.0, 1.0)}
    nothing = dict.fromkeys(["weight", "class_weight", "offset"])
    problem = dict(nothing, X=X, y=y, loss=loss, l1_ratio=0.9, power=1.5, params=params, tol=1e-9)
    judge_of = loss_properties.judged(problem, 0.01)
    _, coef, intercept = judge_of.minimum()
    model = AsyncElasticNetRegressor(0.01, l1_ratio=0.9, tol=1e-12, bounds=(-1.0, 1.0), loss=loss,
                                     huber_delta=1.5) if loss != "logistic" else None  # fmt: skip
    if model is not None:
        np.testing.assert_allclose(model.fit(X, y[:, 0]).coef_, coef.astype(float), atol=1e-7)
    for factor, is_right in ((1, True), (1 + 1e-3, False), (2, False)):
        outcome, off = properties.Outcome(0, []), coef.astype(float) * factor
        found = loss_properties._complaints(problem, judge_of, off, intercept, 0.0, outcome)
        assert (not found) == is_right
    assert loss_properties._complaints(problem, judge_of, coef + 2.0, intercept, 1.0, outcome)


@pytest.mark.parametrize("loss", ["squared", "huber"])
def test_the_judge_of_losses_has_digits_far_from_zero(loss):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), 1e8 + rng.normal(size=60)
    problem = loss_judge.Problem(X, y, loss, 0.01, power=1.5)
    value, coef, intercept = problem.minimum()
    assert abs(problem.objective(coef, intercept) - value) <= 1e-17 * problem.null()
    best = problem.best_constant(X @ coef)
    assert abs(problem.objective(coef, best) - value) <= 1e-17 * problem.null()


def test_problems_are_of_every_kind():
    problems = [properties.make(seed) for seed in range(N_PROBLEMS)]
    assert str(properties.make(7)) == str(problems[7])
    assert {p.door for p in problems} == {"lasso", "net", "lasso_cv", "net_cv", "path"}
    assert {p.route for p in problems} == {"tall", "wide", "raw"}
    assert {p.place for p in problems} == {"numpy", "dask"}
    counts = {
        "more columns than rows": sum(p.X.shape[0] < p.X.shape[1] for p in problems),
        "far columns": sum("far" in p.tags for p in problems),
        "special columns": sum("special" in p.tags for p in problems),
        "units": sum("scales" in p.tags for p in problems),
        "float32": sum("dtype" in p.tags for p in problems),
        "sparse": sum("sparse" in p.tags for p in problems),
        "rows without weight": sum(p.tags.get("weights") == "zeros" for p in problems),
        "unpenalised": sum(0 in p.params.get("penalty_weights", ()) for p in problems),
        "positive": sum(p.params["positive"] for p in problems),
        "several targets": sum(p.y.ndim == 2 for p in problems),
        "empty chunks": sum(0 in p.row_chunks for p in problems),
        "by the gap": sum(p.params.get("polish") is False for p in problems),
        "in batches": sum(bool(p.batches) for p in problems),
        "ridge": sum(p.l1_ratio == 0 for p in problems),
    }
    assert min(counts.values()) >= 8, counts


# -- the judge ---------------------------------------------------------------------------


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("l1_ratio", [0.01, 0.5, 1.0])
@pytest.mark.parametrize(("n", "k"), [(60, 8), (10, 25)])
@pytest.mark.parametrize("alpha", [0.3, 1e-3])
def test_judge_finds_the_optimum(n, k, l1_ratio, fit_intercept, positive, alpha):
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(n, k)), rng.uniform(0, 2, n)
    y = X[:, 0] - 2 * X[:, 1] + rng.normal(size=n) + 5
    problem = judge.Lasso(
        X,
        y,
        alpha * l1_ratio,
        alpha * (1 - l1_ratio),
        weight,
        positive=positive,
        fit_intercept=fit_intercept,
    )
    rows = judge.rows_of(problem)
    best = judge.optimum(problem, rows)
    assert abs(best.primal - best.dual) < 1e-15 * best.primal
    model = ElasticNet(
        alpha,
        l1_ratio=l1_ratio,
        fit_intercept=fit_intercept,
        positive=positive,
        tol=1e-14,
        max_iter=1_000_000,
    ).fit(X, y, weight)
    assert judge.objective(problem, rows, model.coef_) >= best.primal * (1 - 1e-15)
    np.testing.assert_allclose(model.coef_, best.coef.astype(float), atol=1e-4)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_judge_finds_the_optimum_without_an_l1_term(ridge, fit_intercept):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 8)), rng.normal(size=60) + 5
    centred = [a - a.mean(axis=0) if fit_intercept else a for a in (X, y)]
    rows = np.vstack([centred[0], np.sqrt(60 * ridge) * np.eye(8)])
    targets = np.concatenate([centred[1], np.zeros(8)])
    for positive, expected in (
        (False, linalg.lstsq(rows, targets)[0]),
        (True, optimize.nnls(rows, targets)[0]),
    ):
        problem = judge.Lasso(X, y, 0.0, ridge, positive=positive, fit_intercept=fit_intercept)
        best = judge.optimum(problem, judge.rows_of(problem))
        np.testing.assert_allclose(best.coef.astype(float), expected, atol=1e-13)
        assert abs(best.primal - best.dual) < 1e-15 * best.primal


def test_judge_knows_unpenalised_and_dependent_columns():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 6))
    X[:, 3], X[:, 4], X[:, 5] = X[:, 2], -X[:, 2], 0
    X = np.column_stack([X, 1e6 + rng.normal(size=50), np.full(50, 1.7e18)])
    y = rng.normal(size=50)
    for u in ([1] * 8, [0, 1, 1, 1, 1, 1, 0, 1], [1, 1, 0, 0, 0, 0, 1, 0]):
        for l1 in (0.0, 1e-6, 1e-2):
            for fit_intercept in (True, False):
                problem = judge.Lasso(
                    X, y, l1, penalty_weights=np.array(u), fit_intercept=fit_intercept
                )
                best = judge.optimum(problem, judge.rows_of(problem))
                assert abs(best.primal - best.dual) < 1e-13


def fitted():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 5))
    X[:, 4] += 1e4
    y = X[:, 0] - X[:, 4] + rng.normal(size=80)
    model = AsyncLassoRegressor(alpha=0.1).fit(X, y)
    return judge.Lasso(X, y, 0.1), model


def test_judge_accepts_what_is_right():
    problem, model = fitted()
    verdict = judge.judge(problem, model.coef_)
    assert not properties.complaints(verdict, model.dual_gap_, warned=False)


@pytest.mark.parametrize("off", [1e-3, 1e-4, -1e-4])
def test_judge_catches_wrong_coefficients(off):
    problem, model = fitted()
    coef = model.coef_ * [1, 1, 1, 1, 1 + off]
    verdict = judge.judge(problem, coef)
    assert any("without a warning" in c for c in properties.complaints(verdict, 1.0, False))
    assert not properties.complaints(verdict, 1.0, warned=True)


def test_judge_catches_an_understated_gap():
    problem, model = fitted()
    coef = model.coef_ * (1 + 1e-6)
    verdict = judge.judge(problem, coef)
    excess = verdict.excess * verdict.null
    assert 1e-13 < verdict.excess < properties.ALLOWED
    assert not properties.complaints(verdict, 1.01 * excess, warned=False)
    for gap in (0.0, 0.9 * excess, -excess, np.nan):
        assert properties.complaints(verdict, gap, warned=True)


def test_judge_catches_what_is_worse_than_nothing():
    problem, model = fitted()
    verdict = judge.judge(problem, -model.coef_)
    assert any("no coefficients" in c for c in properties.complaints(verdict, 1e3, warned=True))
