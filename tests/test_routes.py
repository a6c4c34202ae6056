"""One lasso, whatever the way to it and wherever the rows are: each promise, on each of them."""

from __future__ import annotations

import warnings
from contextlib import suppress

import numpy as np
import pytest
from numpy.testing import assert_allclose
from routes import (
    BORDER,
    CELLS,
    CHUNKS,
    PLACES,
    PROBLEMS,
    ROUTES,
    TARGETS,
    WHERE,
    Place,
    alpha_max,
    alpha_of,
    at,
    gap_on_rows,
    in_chunks,
    reference,
    violation,
)
from sklearn.exceptions import ConvergenceWarning

from dask_lasso.solvers import width

# Arithmetic, which the versions of the dependencies hardly touch.
pytestmark = pytest.mark.slow

PLAIN = PROBLEMS["plain"]
EVERYWHERE = pytest.mark.parametrize(("route", "place"), WHERE, indirect=True)


@pytest.fixture(autouse=True)
def _many_columns_are_few(monkeypatch):
    monkeypatch.setattr(width, "MAX_GRAM", BORDER)


@pytest.fixture
def route(request):
    return ROUTES[request.param]


@pytest.fixture
def place(request):
    place = Place(PLACES[request.param](request))
    yield place
    place.assert_nothing_left()


def assert_solved(model, route, name):
    """Optimal on the raw rows, where it ends with a linear system; and scikit-learn's."""
    problem, expected = PROBLEMS[name], reference(name_of(route), name)
    if route.exact:
        for target in range(problem.n_targets or 1):
            assert violation(route, problem, model, target) <= 100 * problem.accuracy
    if expected is None:
        return
    coef, intercept = expected
    accuracy = problem.accuracy if route.exact else max(problem.accuracy, 30 * np.sqrt(model.tol))
    scale = np.abs(coef).max()
    assert_allclose(model.coef_, coef, rtol=0, atol=accuracy * scale)
    assert_allclose(model.intercept_, intercept, rtol=accuracy, atol=10 * accuracy * scale)


def name_of(route):
    return next(name for name, other in ROUTES.items() if other is route)


@pytest.mark.parametrize(("route", "place", "name"), CELLS, indirect=["route", "place"])
def test_the_answer(route, place, name):
    problem = PROBLEMS[name]
    X, y, weights = problem.data(route)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = place.fit(route.model(problem), X, y, weights)
    assert_solved(model, route, name)
    assert model.coef_.dtype == X.dtype
    assert model.certificate_ == "duality gap"
    assert 0 < np.count_nonzero(model.coef_) < model.coef_.size
    if "bounds" in problem.settings:
        assert np.isin(model.coef_, problem.settings["bounds"]).any() or route.share > 0.5
    if {"penalty_weights", "standardize", "l1_ratio", "bounds"}.intersection(problem.settings):
        return
    for target in range(problem.n_targets) or [None]:
        if target == 2:  # constant
            assert not model.coef_[target].any()
            assert model.intercept_[target] == pytest.approx(TARGETS[route.target].link(3))
        elif route.target == "number":
            gap = gap_on_rows(model, X, y, weights, target)
            assert gap <= (1e-10 if route.exact and X.dtype == np.float64 else 1.01 * model.tol)


@EVERYWHERE
def test_the_certificate_is_that_of_the_rows(route, place):
    X, y, _ = PLAIN.data(route)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = place.fit(route.model(PLAIN, tol=1e-2, max_iter=2), X, y)
    history = model.history_
    assert len({len(column) for column in history.values()}) == 1
    assert (np.diff(history["time"]) >= 0).all()
    assert (np.diff(history["n_updates"]) >= 0).all()
    assert history["samples_seen"][-1] == model.n_samples_seen_ == len(y)
    if route.target != "number":
        return
    gap = gap_on_rows(model, X, y)
    # Of raw rows it is that of the intercept too, which need not be the best one.
    assert_allclose(model.dual_gap_ / y.var(), gap, rtol=1e-6 if route.exact else 1e-2, atol=1e-10)
    assert model.dual_gap_ / y.var() >= gap * (1 - 1e-6) - 1e-10
    residual = y - model.predict(X)
    objective = residual @ residual / (2 * len(y)) + alpha_of(model) * np.abs(model.coef_).sum()
    assert history["objective"][-1] == pytest.approx(objective, rel=1e-8)


@EVERYWHERE
def test_too_few_sweeps_are_told(route, place):
    if route.exact and route.target == "number" and (route.chooses or not route.is_wide):
        pytest.skip("exact, whatever the sweeps")
    X, y, _ = PLAIN.data(route)
    few = at(route.model(PLAIN, max_iter=1), 1e-4 * alpha_max(X, y))
    with pytest.warns(ConvergenceWarning, match="max_iter=1"):
        place.fit(few, X, y)
    assert few.dual_gap_ > few.tol * y.var()
    if route.target == "number":
        assert gap_on_rows(few, X, y) > few.tol


@EVERYWHERE
def test_a_warm_start_begins_at_the_last_fit(route, place):
    if route.chooses:
        pytest.skip("a path has a start of its own")
    data = PLAIN.data(route)
    model = place.fit(route.model(PLAIN, warm_start=True), *data)
    first, coef = model.n_iter_, model.coef_.copy()
    place.fit(model, *data)
    if route.exact:  # ADMM starts from coefficients without its dual variables: sweeps may be more
        assert model.n_iter_ <= first
    assert_allclose(model.coef_, coef, atol=1e-10 if route.exact else 30 * np.sqrt(model.tol))
    assert_solved(model, route, "plain")


@EVERYWHERE
def test_max_time_is_the_end(route, place):
    """With an estimate and its certificate, or without any and as if nothing had happened."""
    X, y, _ = PLAIN.data(route)
    model = place.fit(route.model(PLAIN), X, y).set_params(max_time=1e-9, tol=1e-15)
    before = dict(vars(model))
    with warnings.catch_warnings(record=True) as told, suppress(TimeoutError):
        warnings.simplefilter("always", ConvergenceWarning)
        place.fit(model, X, y)
    if model.coef_ is before["coef_"]:
        assert vars(model) == before
        with pytest.raises(TimeoutError, match="max_time=1e-09 before there was any estimate"):
            place.fit(model, X, y)
        return
    if route.target == "number":
        rtol = 1e-6 if route.exact else 1e-2
        assert_allclose(model.dual_gap_ / y.var(), gap_on_rows(model, X, y), rtol=rtol, atol=1e-9)
    if model.dual_gap_ > model.tol * y.var():
        assert any("stopped by max_time" in str(warning.message) for warning in told)


class Told:
    """A callback of scikit-learn's that keeps what it is told."""

    def setup(self, estimator, context):
        self.coefs = []

    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        self.coefs.append(fitted_estimator.coef_)

    def teardown(self, estimator, context): ...


@EVERYWHERE
def test_callbacks_are_told_of_every_estimate(route, place):
    pytest.importorskip("sklearn.callback")
    told = Told()
    model = place.fit(route.model(PLAIN).set_callbacks(told), *PLAIN.data(route))
    assert len(told.coefs) == len(model.history_["time"]) + 1  # and at last of the fitted model
    assert_allclose(told.coefs[-1], model.coef_)


@EVERYWHERE
@pytest.mark.parametrize("kind", ["plain", "sparse"])
def test_a_bad_value_is_located(route, place, kind):
    X, y, _ = PROBLEMS[kind].data(route)
    model = place.fit(route.model(PLAIN), X, y)
    before = dict(vars(model))
    bad = X.copy()
    bad[87, 3] = np.nan
    where = "row 87" if place.client is None else r"row 87 \(chunk 3\)"
    with pytest.raises(ValueError, match=rf"X contains NaN in column 3, {where}"):
        place.fit(model, bad, y)
    assert vars(model) == before


@EVERYWHERE
def test_above_and_just_below_alpha_max(route, place):
    X, y, _ = PLAIN.data(route)
    largest = alpha_max(X, y)
    model = place.fit(at(route.model(PLAIN), 1.0001 * largest), X, y)
    assert not model.coef_.any()
    null = TARGETS[route.target].link(y.mean())
    # Of as many of each class, log odds of zero, which has no relative error.
    assert model.intercept_ == pytest.approx(null, rel=1e-6 if route.exact else 1e-3, abs=1e-8)
    assert model.dual_gap_ == pytest.approx(0, abs=1e-9 * y.var())
    if route.target == "number" and not route.chooses:
        assert model.n_passes_ == 1
    model = place.fit(at(model, (1 - 1e-3) * largest), X, y)
    assert np.count_nonzero(model.coef_) == 1


@EVERYWHERE
def test_a_constant_target(route, place):
    if route.target == "class":
        pytest.skip("an error: only one class")
    X, y, _ = PLAIN.data(route)
    model = place.fit(route.model(PLAIN), X, np.full(len(y), 3.7))
    assert not model.coef_.any()
    assert model.intercept_ == pytest.approx(TARGETS[route.target].link(3.7))


@pytest.mark.parametrize(
    ("route", "kind"),
    [*((name, "plain") for name in ROUTES), ("tall", "sparse"), ("many columns", "sparse")],
    indirect=["route"],
)
def test_chunks_of_unknown_sizes(route, kind, thread_workers):
    if route.chooses and route.is_wide:
        pytest.skip("an error: splits are made before the first pass")
    X, y, _ = PROBLEMS[kind].data(route)
    rows = [in_chunks(array, CHUNKS, known=False) for array in (X, y)]
    model = route.model(PLAIN, client=thread_workers).fit(*thread_workers.persist(rows))
    assert_solved(model, route, kind)
