"""Every way to the answer, every place where rows may be, every problem that may be asked.

The promises in test_routes.py hold for all of them together: a new route, a new place or a new
problem is a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import NamedTuple

import dask.array as da
import numpy as np
from conftest import assert_nothing_left
from scipy import sparse
from scipy.special import expit, logit
from sklearn.linear_model import ElasticNet
from sklearn.preprocessing import StandardScaler

from dask_lasso import (
    AsyncElasticNetCV,
    AsyncElasticNetRegressor,
    AsyncLassoCV,
    AsyncLassoRegressor,
    AsyncLogisticRegression,
)

N_ROWS = 150
CHUNKS = (40, 40, 0, 40, 30)
FEW_COLUMNS, MANY_COLUMNS = 20, 260
BORDER = 100  # between few and many, in place of MAX_GRAM


class Target(NamedTuple):
    """What y is, and the link between its mean and the linear predictor."""

    made: Callable  # of numbers
    mean: Callable
    link: Callable


def _counts(y):
    """Counts; what is constant stays as it is."""
    spread = y.std(axis=0)
    return np.where(spread > 0, np.round(np.exp((y - y.mean(axis=0)) / (spread + 1e-300))), y)


def _same(values):
    return values


TARGETS = {
    "number": Target(_same, _same, _same),
    "count": Target(_counts, np.exp, np.log),
    "class": Target(lambda y: (y > np.median(y)).astype(float), expit, logit),
}


class Route(NamedTuple):
    """Rows and settings that make a fit take one way to the answer."""

    n_columns: int
    settings: dict = {}  # of the regressor
    share: float = 0.2  # alpha as a share of the least one without coefficients
    # Whether it ends with a linear system; or else when the gap is within `tol`.
    exact: bool = True
    target: str = "number"
    chooses: bool = False  # by cross-validation: among one alpha

    @property
    def is_wide(self) -> bool:
        return self.n_columns > BORDER

    def model(self, problem: Problem, **settings):
        """An estimator, not fitted."""
        settings = {**self.settings, **problem.settings_for(self.n_columns), **settings}
        has_ridge, alpha = "l1_ratio" in problem.settings, self.alpha(problem)
        if self.chooses:
            return (AsyncElasticNetCV if has_ridge else AsyncLassoCV)(alphas=[alpha], **settings)
        estimator = AsyncElasticNetRegressor if has_ridge else AsyncLassoRegressor
        if self.target == "class":
            estimator = AsyncLogisticRegression
        return estimator(alpha, **settings)

    def alpha(self, problem: Problem) -> float:
        X, y, weights = problem.data(self)
        return self.share * alpha_max(dense(X) / penalty_weights(self, problem), y, weights)


BLOCKS = dict(tol=1e-9, n_blocks=3)
ROUTES = {
    "tall": Route(FEW_COLUMNS),
    "ADMM": Route(FEW_COLUMNS, dict(polish=False, **BLOCKS), exact=False),
    "many columns": Route(MANY_COLUMNS),
    "many columns, ADMM": Route(
        MANY_COLUMNS, dict(polish=False, tol=1e-7, n_blocks=3), share=0.6, exact=False
    ),
    "raw rows": Route(FEW_COLUMNS, dict(local_solver="lbfgs", **BLOCKS), exact=False),
    "raw rows, Huber": Route(
        FEW_COLUMNS, dict(loss="huber", huber_delta=1e9, polish=False, **BLOCKS), exact=False
    ),
    "cross-validation": Route(FEW_COLUMNS, dict(cv=3), chooses=True),
    "many columns, cross-validation": Route(MANY_COLUMNS, dict(cv=3), chooses=True),
    "classes": Route(FEW_COLUMNS, target="class"),
    "many columns, classes": Route(MANY_COLUMNS, target="class"),
    "counts": Route(FEW_COLUMNS, dict(loss="poisson"), target="count"),
    "many columns, counts": Route(MANY_COLUMNS, dict(loss="poisson"), target="count"),
}


class Place:
    """Where rows are: in this process's memory, or on the workers of a Client."""

    def __init__(self, client=None):
        self.client = client

    def put(self, *arrays):
        """The arrays at this place; in chunks of other sizes, one of them empty."""
        if self.client is None:
            return arrays
        chunks = [in_chunks(array, CHUNKS) for array in arrays if array is not None]
        return self.client.persist(chunks)

    def fit(self, model, *arrays):
        """The model, fitted on these arrays at this place."""
        return model.set_params(client=self.client).fit(*self.put(*arrays))

    def assert_nothing_left(self):
        if self.client is not None:
            assert_nothing_left(self.client)


def in_chunks(array, sizes, known=True):
    """A dask array in chunks of these sizes, which dask may know or not."""
    # Not by da.concatenate: dask 2025.1 cannot concatenate sparse arrays.
    stops = np.cumsum(sizes)
    rest = tuple((size,) for size in array.shape[1:])
    name = f"chunks-{id(array)}-{np.random.default_rng().integers(2**62)}"
    graph = {
        (name, i, *(0 for _ in rest)): array[stop - size : stop]
        for i, (stop, size) in enumerate(zip(stops, sizes, strict=True))
    }
    declared = tuple(sizes) if known else (np.nan,) * len(sizes)
    return da.Array(graph, name, (declared, *rest), meta=array[:0])


PLACES = {
    "memory": lambda request: None,
    "threads": lambda request: request.getfixturevalue("thread_workers"),
    "processes": lambda request: request.getfixturevalue("client"),
}


class Problem(NamedTuple):
    """What is asked of the rows."""

    settings: dict = {}
    weighted: bool = False
    rows: Callable = lambda X: X  # what becomes of dense rows
    n_targets: int = 0  # 0: y has one dimension
    accuracy: float = 1e-8  # of coefficients that are exact, relative to the largest

    def settings_for(self, n_columns: int) -> dict:
        """The settings; penalty weights are made for these columns."""
        made = {name: value for name, value in self.settings.items() if name != "penalty_weights"}
        if "penalty_weights" in self.settings:
            made["penalty_weights"] = self.settings["penalty_weights"](n_columns)
        return made

    def data(self, route: Route):
        """X, y and weights or None."""
        X, y, weights = dense_rows(route.n_columns)
        if self.n_targets:
            y = np.column_stack([y, X[:, 0] - y, np.full(N_ROWS, 3.0)])[:, : self.n_targets]
        y, X = TARGETS[route.target].made(y), self.rows(X)
        return X, y.astype(X.dtype), weights if self.weighted else None


def uneven(n_columns):
    return np.random.default_rng(2).uniform(0.5, 2.0, n_columns)


NOT_CENTRED = dict(fit_intercept=False)
PROBLEMS = {
    "plain": Problem(),
    "no intercept": Problem(NOT_CENTRED),
    "positive": Problem(dict(positive=True)),
    "weights": Problem(weighted=True),
    "weights, positive": Problem(dict(positive=True), weighted=True),
    "weights, no intercept": Problem(NOT_CENTRED, weighted=True),
    "positive, no intercept": Problem(dict(positive=True, **NOT_CENTRED)),
    "weights, positive, no intercept": Problem(dict(positive=True, **NOT_CENTRED), weighted=True),
    "penalty weights": Problem(dict(penalty_weights=uneven)),
    "standardize": Problem(dict(standardize=True), weighted=True),
    "standardize, no intercept": Problem(dict(standardize=True, **NOT_CENTRED), weighted=True),
    "bounds": Problem(dict(bounds=(-0.1, 0.2), penalty_weights=uneven)),
    "bounds, no intercept": Problem(dict(bounds=(-0.1, 0.2), **NOT_CENTRED)),
    "ridge term": Problem(dict(l1_ratio=0.7)),
    "several targets": Problem(n_targets=3),
    "several targets, weights": Problem(n_targets=2, weighted=True),
    "sparse": Problem(rows=sparse.csr_array),
    "sparse, weights": Problem(rows=sparse.csr_array, weighted=True),
    "sparse, no intercept": Problem(NOT_CENTRED, rows=sparse.csr_array),
    "sparse, positive": Problem(dict(positive=True), rows=sparse.csr_array),
    "sparse, all three": Problem(
        dict(positive=True, **NOT_CENTRED), weighted=True, rows=sparse.csr_array
    ),
    "float32": Problem(dict(tol=1e-6), rows=lambda X: X.astype(np.float32), accuracy=1e-5),
    "far from zero": Problem(rows=lambda X: X + 1e4, accuracy=1e-7),
    "very far from zero": Problem(rows=lambda X: X + 1e6, accuracy=1e-7),
}

# Every problem on every route in memory; on worker processes the few that differ in what is sent,
# and where threads of this process are the workers, one.
FEW = {"memory": PROBLEMS, "processes": ("plain", "sparse, weights", "several targets")}
CELLS = [
    (route, place, problem)
    for route, place, problem in product(ROUTES, PLACES, PROBLEMS)
    if problem in FEW.get(place, ("plain",))
    and not (ROUTES[route].target == "class" and PROBLEMS[problem].n_targets)
    and not (ROUTES[route].target != "number" and problem == "very far from zero")
    # An error: many columns are of one target there.
    and not (ROUTES[route].chooses and ROUTES[route].is_wide and PROBLEMS[problem].n_targets)
    and not (route == "many columns, ADMM" and place != "memory" and problem != "plain")
]
# Of the other promises, without the routes that would show them once more with many round trips.
WHERE = [
    *product(ROUTES, ["memory"]),
    *product(["tall", "ADMM", "many columns", "raw rows", "many columns, classes"], ["processes"]),
]


@cache
def dense_rows(n_columns, seed=0):
    """Rows, half of which are zero, with a target far from it; and weights."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N_ROWS, n_columns)) * rng.uniform(0.3, 3.0, n_columns)
    X[rng.uniform(size=X.shape) < 0.5] = 0.0
    w = np.zeros(n_columns)
    w[rng.choice(n_columns, 12, replace=False)] = rng.choice([-2, 2], 12)
    y = X @ w
    y += 0.3 * y.std() * rng.normal(size=N_ROWS) + 5
    weights = rng.uniform(0, 2, N_ROWS)
    for array in (X, y, weights):
        array.flags.writeable = False
    return X, y, weights


def dense(X):
    return (X.toarray() if sparse.issparse(X) else X).astype(np.float64)


def centred(X, y, weights, fit_intercept=True):
    """Rows of float64, centred for an intercept, and weights."""
    X, y = dense(X), np.asarray(y, dtype=np.float64)
    s = np.ones(len(y)) if weights is None else weights
    if fit_intercept:
        X, y = X - np.average(X, axis=0, weights=s), y - np.average(y, axis=0, weights=s)
    return X, y, s


def alpha_max(X, y, weights=None):
    """The least alpha without coefficients, with an intercept."""
    X, y, s = centred(X, y, weights)
    return np.abs((X.T * s) @ y).max() / s.sum()


def alpha_of(model):
    """The alpha of a fitted model; of several targets they have the same."""
    return np.ravel(model.alpha_ if hasattr(model, "alpha_") else model.alpha)[0]


def at(model, alpha):
    """The model, of another alpha."""
    return model.set_params(
        **({"alphas": [alpha]} if hasattr(model, "alphas") else {"alpha": alpha})
    )


def gap_on_rows(model, X, y, weights=None, target=None):
    """The relative duality gap of a lasso, from the raw rows and the textbook's formulas."""
    coef = model.coef_ if target is None else model.coef_[target]
    y = y if target is None else y[:, target]
    X, y, s = centred(X, y, weights, model.fit_intercept)
    r, alpha = y - X @ coef, alpha_of(model)
    correlation = (X.T * s) @ r
    largest = correlation.max() if model.positive else np.abs(correlation).max()
    theta = r * min(1.0, s.sum() * alpha / largest)
    primal = s @ r**2 / (2 * s.sum()) + alpha * np.abs(coef).sum()
    dual = s @ (theta * y - theta**2 / 2) / s.sum()
    return (primal - dual) / (s @ y**2 / s.sum())


def violation(route: Route, problem: Problem, model, target=0):
    """By how much the conditions of optimality are violated on the rows, in units of alpha."""
    X, y, weights = problem.data(route)
    y = y.reshape(len(y), -1)[:, target]
    coef = model.coef_.reshape(-1, route.n_columns)[target].astype(np.float64)
    eta = dense(X) @ coef + np.ravel(model.intercept_)[target]
    settings = {"l1_ratio": 1.0, **problem.settings_for(route.n_columns)}
    limit = settings["l1_ratio"] * penalty_weights(route, problem)
    X, _, s = centred(X, y, weights, model.fit_intercept)
    slope = s * (TARGETS[route.target].mean(eta) - y) / s.sum()
    alpha = alpha_of(model)
    slopes = X.T @ slope / alpha + (1 - settings["l1_ratio"]) * coef
    lower, upper = (0, np.inf) if model.positive else model.bounds or (-np.inf, np.inf)
    assert (coef >= lower).all()
    assert (coef <= upper).all()
    up = np.where(coef < upper, -slopes - limit * np.where(coef >= 0, 1, -1), 0.0)
    down = np.where(coef > lower, slopes - limit * np.where(coef <= 0, 1, -1), 0.0)
    return max(up.max(), down.max(), model.fit_intercept * abs(slope.sum()) / alpha)


def penalty_weights(route: Route, problem: Problem):
    """Of each column; those of scikit-learn's scaler where columns are standardized."""
    if problem.settings.get("standardize"):
        X, _, weights = problem.data(route)
        return StandardScaler().fit(dense(X), sample_weight=weights).scale_
    made = problem.settings.get("penalty_weights", np.ones)
    return made(route.n_columns)


@cache
def reference(route_name: str, problem_name: str):
    """scikit-learn's coefficients and intercept, at a tight tolerance; None if it has no bounds."""
    route, problem = ROUTES[route_name], PROBLEMS[problem_name]
    if "bounds" in problem.settings or route.target != "number":
        return None
    X, y, weights = problem.data(route)
    units = penalty_weights(route, problem)
    settings = problem.settings_for(route.n_columns)
    for name in ("penalty_weights", "standardize"):
        settings.pop(name, None)
    # Moved near zero, where scikit-learn converges; the coefficients are the same.
    fit_intercept = settings.get("fit_intercept", True)
    x_mean = dense(X).mean(axis=0) if fit_intercept else np.zeros(route.n_columns)
    settings = {"l1_ratio": 1.0, **settings, "tol": 1e-14, "max_iter": 100_000}
    model = ElasticNet(route.alpha(problem), **settings)
    model.fit((dense(X) - x_mean) / units, y.astype(np.float64), weights)
    coef = model.coef_ / units
    return coef, model.intercept_ - coef @ x_mean
