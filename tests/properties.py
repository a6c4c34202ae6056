"""Random problems over every combination of what may go wrong, judged without the package.

    python tests/properties.py --problems 5000        # prints failures, and a summary
    python tests/properties.py --seed 1234 --problems 1 --verbose
    python tests/properties.py --only route=wide,place=dask

Without arguments it goes on with those of `loss_properties`: other losses, bounds, offsets.

A problem is its seed. What must hold of each is in `check`: the objective is within 1e-9 of
the null loss above its minimum, or there is a `ConvergenceWarning`; `dual_gap_` is never less
than the true excess; nothing else is raised, warned of, or waited for.
"""

from __future__ import annotations

import argparse
import copy
import functools
import itertools
import logging
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from multiprocessing import get_context
from types import SimpleNamespace

import judge
import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold

import dask_lasso

# Relative excess of the objective that nothing need be said of.
ALLOWED = 1e-9
# Of a gap from moments in doubles: what rounding leaves of the null loss itself. It is the
# difference of two sums of a few terms of that size.
ROUNDING = 16 * np.finfo(float).eps
# Seconds after which a problem counts as hanging.
PATIENCE = 120


# -- problems ----------------------------------------------------------------------------


@dataclass
class Problem:
    """A fit: rows, parameters, and how the rows come in."""

    seed: int
    X: object
    y: np.ndarray
    weight: np.ndarray | None
    tags: dict  # what was drawn, for people
    door: str  # lasso, net, lasso_cv, net_cv, path
    route: str  # tall, wide, raw
    place: str  # numpy, dask
    params: dict
    alpha: float
    l1_ratio: float
    alphas: np.ndarray | None = None  # of a path or of CV
    batches: list[int] | None = None  # of partial_fit
    row_chunks: tuple = ()
    column_chunks: tuple = ()
    unknown_sizes: bool = False
    fit_params: dict = field(default_factory=dict)

    def __str__(self):
        n, k = self.X.shape
        shown = {"n": n, "k": k, "door": self.door, "route": self.route, "place": self.place}
        shown |= self.tags
        skip = ("client", "tol", "max_iter")
        shown |= {name: v for name, v in self.params.items() if name not in skip}
        if self.batches:
            shown["batches"] = self.batches
        if self.place == "dask":
            shown["chunks"] = (self.row_chunks, self.column_chunks)
        return " ".join(f"{name}={_short(value)}" for name, value in shown.items())

    @property
    def eligible(self) -> bool:
        """Whether working sets can do it: every column has an l1 penalty."""
        u = self.params.get("penalty_weights", np.ones(1))
        if self.params.get("criterion", "cv") != "cv":
            return False
        if self.door not in ("lasso", "net") and self.X.shape[0] >= self.X.shape[1]:
            return False  # then paths take all moments in one pass
        given = [self.alpha] if self.door in ("lasso", "net") else self.alphas
        least = 1.0 if given is None else min(given)  # a grid of its own has no zero
        return least * self.l1_ratio > 0 and bool((u > 0).all())

    def lasso(self, target=0, alpha=None, l1_ratio=None, rows=slice(None)) -> judge.Lasso:
        """The problem of one target, as the judge has it."""
        alpha = self.alpha if alpha is None else alpha
        l1_ratio = self.l1_ratio if l1_ratio is None else l1_ratio
        return judge.Lasso(
            self.X[rows],
            self.y[rows] if self.y.ndim == 1 else self.y[rows, target],
            np.longdouble(alpha) * l1_ratio,
            np.longdouble(alpha) * (1 - np.longdouble(l1_ratio)),
            None if self.weight is None else self.weight[rows],
            self.params.get("penalty_weights"),
            self.params["positive"],
            self.params["fit_intercept"],
        )


def _short(value):
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, np.ndarray):
        return "[" + ",".join(f"{v:.2g}" for v in value.ravel()) + "]"
    return str(value).replace(" ", "")


def make(seed: int) -> Problem:
    """The problem of a seed."""
    rng = np.random.default_rng(seed)

    def pick(*values, p=None):
        return values[int(rng.choice(len(values), p=p))]

    def chance(p):
        return bool(rng.random() < p)

    door = pick("lasso", "net", "lasso_cv", "net_cv", "path", p=[0.36, 0.27, 0.11, 0.08, 0.18])
    place = pick("numpy", "dask", p=[0.7, 0.3])
    cv = door.endswith("_cv")
    n = int(
        pick(1, 2, 3, 5, 8, 20, 60, 150, 300, p=[0.02, 0.03, 0.05, 0.1, 0.1, 0.2, 0.2, 0.2, 0.1])
    )
    n = max(n, 8) if cv else n
    k = int(pick(1, 2, 3, 5, 8, 15, 30, 45, p=[0.06, 0.1, 0.2, 0.2, 0.18, 0.13, 0.09, 0.04]))
    route = pick("tall", "wide", "raw", p=[0.66, 0.26, 0.08])
    if route == "raw" and door != "lasso":
        route = "tall"
    if route == "wide" and k < 3:
        route = "tall"
    if route == "raw":  # takes seconds otherwise
        n, k = min(n, 60), min(k, 8)

    X, tags = _columns(rng, pick, chance, n, k)
    fit_intercept, positive = chance(0.55), chance(0.25)
    n_targets = pick(1, 2, 3) if not cv and not (door == "path" and route == "wide") else 1
    y = _targets(rng, pick, chance, X, n_targets, tags)
    if chance(0.12):
        X, y = X.astype(np.float32), y.astype(np.float32)
        tags["dtype"] = "float32"
    weight = None
    if chance(0.35):
        weight = rng.uniform(0.1, 3, n) * pick(1.0, 1.0, 1e-6, 1e6)
        if chance(0.6) and n > 2 and (not cv or n >= 60):
            weight[rng.permutation(n)[: n // 3]] = 0
        tags["weights"] = "zeros" if (weight == 0).any() else "positive"
    y = y[:, 0] if n_targets == 1 and chance(0.9 if not cv else 1) else y

    params = dict(fit_intercept=fit_intercept, positive=positive, max_iter=10_000)
    if chance(0.35):
        u = rng.choice([0.5, 1.0, 2.0, 10.0], k) if chance(0.7) else 10 ** rng.uniform(-3, 3, k)
        if chance(0.5) and not positive:
            u[rng.random(k) < 0.3] = 0
        params["penalty_weights"] = u
    if door not in ("path", "lasso_cv", "net_cv"):
        params["polish"] = chance(0.85)
    if route == "raw":
        params["local_solver"] = "lbfgs"
    if door != "path":
        by_gap = route == "raw" or not params.get("polish", True)
        params["tol"] = 1e-9 if by_gap else pick(1e-6, 1e-9, 1e-12, p=[0.7, 0.2, 0.1])
        params["max_iter"] = 200 if by_gap else 10_000
        params["engine"] = pick("batched", "async", "sync")
        params["n_blocks"] = pick("auto", 1, 2, 5)
    l1_ratio = (
        pick(0.0, 0.01, 0.5, 0.9, 1.0, p=[0.15, 0.1, 0.4, 0.2, 0.15]) if "net" in door else 1.0
    )
    if door == "net_cv" and l1_ratio == 0:
        l1_ratio = 0.1

    problem = Problem(
        seed, X, y, weight, tags, door, route, place, params, alpha=1.0, l1_ratio=l1_ratio
    )
    _penalty(rng, pick, chance, problem, n_targets)
    if chance(0.15) and not sparse.issparse(X):
        problem.X = np.asfortranarray(X)
    if chance(0.15):
        density_of = problem.X
        problem.X = pick(sparse.csr_array, sparse.csc_array, sparse.csr_matrix)(density_of)
        tags["sparse"] = type(problem.X).__name__
    if door in ("lasso", "net") and route == "tall" and params["polish"] and chance(0.2) and n > 2:
        problem.batches = _split(rng, n, int(pick(2, 3, 4)), empty=False)
        if weight is not None:  # rows without any are an error
            weight[np.cumsum([0, *problem.batches[:-1]])] = 1.0
    if place == "dask":
        problem.row_chunks = tuple(_split(rng, n, int(pick(1, 2, 3, 6)), empty=chance(0.4)))
        wide_chunks = sparse.issparse(problem.X) or chance(0.7)
        problem.column_chunks = (k,) if wide_chunks else tuple(_split(rng, k, 2, empty=False))
        problem.unknown_sizes = chance(0.15) and not cv and route == "tall" and n > 1
    return problem


def _columns(rng, pick, chance, n, k):
    """The rows, and the tags that say what is special about their columns."""
    tags = {}
    kind = pick(
        "normal", "correlated", "uniform", "binary", "integers", p=[0.5, 0.2, 0.1, 0.1, 0.1]
    )
    if kind == "normal":
        X = rng.normal(size=(n, k))
    elif kind == "correlated":
        X = rng.normal(size=(n, k)) * 0.1 + rng.normal(size=(n, 1))
    elif kind == "uniform":
        X = rng.random((n, k))
    elif kind == "binary":
        X = (rng.random((n, k)) < pick(0.05, 0.3, 0.5)).astype(float)
    else:
        X = rng.integers(-3, 10, (n, k)).astype(float)
    tags["columns"] = kind
    if chance(0.35):
        what = pick("1e4", "year", "1e6", "mixed")
        which = rng.random(k) < pick(0.2, 0.6, 1.0)
        for j in np.flatnonzero(which):
            one = pick("1e4", "year", "1e6") if what == "mixed" else what
            step = rng.choice([-1.0, 0.0, 1.0], n) if one == "year" else X[:, j]
            X[:, j] = {"1e4": 1e4, "year": 2020, "1e6": 1e6}[one] + step
        tags["far"] = f"{what}:{np.count_nonzero(which)}"
    if chance(0.45):
        special = []
        for _ in range(int(pick(1, 1, 2, 3))):
            j, i = rng.integers(k), rng.integers(k)
            what = pick("one", "3.7", "1.7e18", "zero", "copy", "negated", "twice")
            special.append(what)
            X[:, j] = {
                "one": 1.0,
                "3.7": 3.7,
                "1.7e18": 1.7e18,
                "zero": 0.0,
                "copy": X[:, i],
                "negated": -X[:, i],
                "twice": 2 * X[:, i],
            }[what]
        tags["special"] = "+".join(special)
    if chance(0.5):
        what = pick("mild", "wild", "one", "all")
        spread = {"mild": 3, "wild": 12, "one": 12, "all": 12}[what]
        if what in ("mild", "wild"):
            X = X * 10.0 ** rng.uniform(-spread, spread, k)
        elif what == "one":
            X[:, rng.integers(k)] *= 10.0 ** pick(-12, -8, 8, 12)
        else:
            X = X * 10.0 ** rng.uniform(-spread, spread)
        tags["scales"] = what
    return X, tags


def _targets(rng, pick, chance, X, n_targets, tags):
    n, k = X.shape
    size = np.sqrt((X**2).mean(axis=0))
    spread = X.std(axis=0)
    about = chance(0.7)
    unit = np.where(spread > 1e-12 * size, spread, size) if about else size
    standard = (X - X.mean(axis=0) * about) / np.where(unit > 0, unit, 1)
    y = np.empty((n, n_targets))
    noise = pick(0.0, 1e-3, 0.1, 1.0, 10.0, p=[0.08, 0.12, 0.3, 0.35, 0.15])
    for t in range(n_targets):
        w = rng.normal(size=k) * (rng.random(k) < pick(0.3, 1.0))
        y[:, t] = standard @ w + noise * rng.normal(size=n)
    offset = pick(0.0, 5.0, 1e4, p=[0.5, 0.35, 0.15])
    scale = 10.0 ** rng.uniform(-12, 12) if chance(0.35) else 1.0
    tags["noise"], tags["offset"], tags["y"] = noise, offset, scale
    if chance(0.03):
        y[:] = 0.1
        tags["noise"] = "constant"
    return (y + offset) * scale


def _penalty(rng, pick, chance, problem, n_targets):
    """Draw alpha, relative to where the coefficients are zero."""
    largest = max(judge.alpha_max(problem.lasso(t, l1_ratio=1.0)) for t in range(n_targets))
    relative = pick(10.0 ** rng.uniform(-6, 0.3), 10.0 ** rng.uniform(-2, 0), 1.0, 2.0, 1e-6, 0.0,
                    p=[0.4, 0.4, 0.03, 0.04, 0.05, 0.08])  # fmt: skip
    if problem.l1_ratio > 0:
        alpha = largest / problem.l1_ratio * relative
    else:
        u = problem.params.get("penalty_weights", np.ones(problem.X.shape[1]))
        squares = (np.asarray(problem.X, dtype=float) ** 2).mean(axis=0)[u > 0] / u[u > 0] ** 2
        alpha = (rng.choice(squares) if len(squares) else 1.0) * 10.0 ** rng.uniform(-8, 2)
    problem.alpha = float(alpha)
    if problem.door in ("lasso", "net"):
        problem.params["alpha"] = problem.alpha
        if problem.door == "net":
            problem.params["l1_ratio"] = problem.l1_ratio
        problem.tags["alpha/max"] = relative if problem.l1_ratio > 0 else "ridge"
        return
    cv = problem.door.endswith("_cv")
    if problem.door == "net_cv":
        problem.params["l1_ratio"] = problem.l1_ratio
    if cv:
        problem.params["cv"] = int(pick(2, 3, 5))
        n, k = problem.X.shape
        if n > k + 5 and problem.tags["noise"] not in (0.0, "constant") and chance(0.25):
            problem.params["criterion"] = pick("aic", "bic")
        problem.params["eps"] = pick(1e-3, 1e-1, 1e-5)
    else:
        problem.fit_params["eps"] = pick(1e-3, 1e-1, 1e-6)
    if chance(0.3) and largest > 0:
        problem.alphas = largest * np.array([2.0, 0.3, 0.1, 1e-2, 1e-4])
        if not cv and problem.route == "tall" and chance(0.3):
            problem.alphas[-1] = 0
    problem.tags["grid"] = "own" if problem.alphas is None else "given"


def _split(rng, n, parts, empty):
    """Sizes that add up to n."""
    cuts = np.sort(rng.integers(0 if empty else min(1, n), n + 1, parts - 1))
    sizes = np.diff(np.concatenate([[0], cuts, [n]])).tolist()
    if empty:
        sizes.insert(int(rng.integers(len(sizes) + 1)), 0)
    return [int(size) for size in sizes if size or empty]


# -- fits --------------------------------------------------------------------------------


@functools.cache
def client():
    """One Client for all problems of a process, in the process."""
    from distributed import Client, LocalCluster

    cluster = LocalCluster(
        processes=False,
        n_workers=1,
        threads_per_worker=2,
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    )
    return Client(cluster, set_as_default=False)


@contextmanager
def border(k):
    """Let k columns be many: every module that knows the constants knows lower ones."""
    changed = []
    lower = {"MAX_GRAM": k - 1, "FEWEST": 2, "_JOIN": 1}
    for name, module in list(sys.modules.items()):
        if name.startswith("dask_lasso."):
            for constant in lower.keys() & vars(module).keys():
                changed.append((module, constant, getattr(module, constant)))
                setattr(module, constant, lower[constant])
    assert {constant for _, constant, _ in changed} == set(lower)
    try:
        yield
    finally:
        for module, constant, value in changed:
            setattr(module, constant, value)


def _collections(problem, rows=slice(None)):
    """X, y and the weights in the collection that the problem asks for."""
    X, y, weight = problem.X[rows], problem.y[rows], problem.weight
    weight = None if weight is None else weight[rows]
    if problem.place == "numpy" or problem.batches:
        return X, y, weight
    import dask.array as da

    if sparse.issparse(X):
        starts, name = np.cumsum((0, *problem.row_chunks)), f"sparse-{problem.seed}"
        X = sparse.csr_array(X)
        blocks = {
            (name, i, 0): X[a:b] for i, (a, b) in enumerate(itertools.pairwise(starts.tolist()))
        }
        chunks = (problem.row_chunks, problem.column_chunks)
        X = da.Array(blocks, name, chunks, meta=sparse.csr_array((0, 0)))
    else:
        X = da.from_array(X, chunks=(problem.row_chunks, problem.column_chunks))
    y = da.from_array(y, chunks=(problem.row_chunks, *y.shape[1:]))
    weight = None if weight is None else da.from_array(weight, chunks=(problem.row_chunks,))
    if problem.route == "wide":  # read several times, of which there is a warning otherwise
        X, y, weight = (a if a is None else a.persist(scheduler=client()) for a in (X, y, weight))
    if problem.unknown_sizes:
        all_rows = da.ones(len(y), chunks=(problem.row_chunks,)) > 0
        X, y, weight = (a if a is None else a[all_rows] for a in (X, y, weight))
    return X, y, weight


_ESTIMATORS = {
    "lasso": dask_lasso.AsyncLassoRegressor,
    "net": dask_lasso.AsyncElasticNetRegressor,
    "lasso_cv": dask_lasso.AsyncLassoCV,
    "net_cv": dask_lasso.AsyncElasticNetCV,
}


def fit(problem):
    """Solutions as (target, alpha, l1_ratio, coef, intercept or None, gap); and the model."""
    where = dict(client=client()) if problem.place == "dask" else {}
    with border(problem.X.shape[1]) if problem.route == "wide" else nullcontext():
        if problem.door == "path":
            X, y, weight = _collections(problem)
            alphas = 5 if problem.alphas is None else problem.alphas
            alphas, coefs, gaps = dask_lasso.lasso_path(
                # Passes go on until the gap is as small as asked for.
                X, y, alphas=alphas, tol=1e-9, sample_weight=weight, **problem.params,
                **problem.fit_params, **where,
            )  # fmt: skip
            coefs, gaps = np.atleast_2d(coefs), np.atleast_2d(gaps)
            coefs = coefs if coefs.ndim == 3 else coefs[np.newaxis]
            return [
                (t, alpha, 1.0, coefs[t, :, i], None, gaps[t, i])
                for t in range(len(coefs))
                for i, alpha in enumerate(alphas)
            ], None
        params = dict(problem.params, **where)
        if problem.alphas is not None:
            params["alphas"] = problem.alphas
        elif problem.door.endswith("_cv"):
            params["alphas"] = 5
        model = _ESTIMATORS[problem.door](**params)
        if problem.batches:
            start = 0
            for size in problem.batches:
                rows = slice(start, start + size)
                model.partial_fit(*_collections(problem, rows))
                start += size
        else:
            model.fit(*_collections(problem))
    alpha = getattr(model, "alpha_", problem.alpha)
    l1_ratio = getattr(model, "l1_ratio_", problem.l1_ratio)
    coefs, gaps = np.atleast_2d(model.coef_), np.atleast_1d(model.dual_gap_)
    intercepts = np.broadcast_to(model.intercept_, len(coefs))
    return [
        (t, alpha, l1_ratio, coefs[t], intercepts[t], gaps[t]) for t in range(len(coefs))
    ], model


# -- what must hold ----------------------------------------------------------------------


@dataclass
class Outcome:
    """What came of a problem: `failures` is empty, or says what is wrong."""

    seed: int
    failures: list[str]
    warned: bool = False
    excess: float = 0.0
    seconds: float = 0.0
    description: str = ""


class Hanging(Exception):
    pass


@contextmanager
def _patience(seconds):
    def give_up(signum, frame):
        raise Hanging(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def attempt(problem: Problem):
    """Fit a problem: an `Outcome`, the solutions and the model."""
    outcome = Outcome(problem.seed, [], description=str(problem))
    if problem.place == "dask":
        client()
    solutions = model = None
    with noted(outcome, "With alpha=0" if problem.alpha == 0 else None):
        solutions, model = fit(problem)
    return outcome, solutions, model


@contextmanager
def noted(outcome: Outcome, expected: str | None = None) -> Iterator[None]:
    """Note the time of the body, and its errors and warnings, but for an expected one."""
    began = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with _patience(PATIENCE):
                yield
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}"
            outcome.failures.append(f"{type(error).__name__} at {where}: {error}"[:300])
    outcome.seconds = time.perf_counter() - began
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            outcome.warned = True
        elif expected is None or expected not in str(warning.message):
            outcome.failures.append(f"{warning.category.__name__}: {warning.message}"[:300])


def check(problem: Problem) -> Outcome:
    """Fit a problem, and judge what comes out."""
    outcome, solutions, model = attempt(problem)
    if solutions is None:
        return outcome
    if not all(np.isfinite(coef).all() for _, _, _, coef, _, _ in solutions):
        outcome.failures.append("coefficients are not finite")
        return outcome
    outcome.failures += judge_solutions(problem, solutions, model, outcome)
    return outcome


def judge_solutions(problem, solutions, model, outcome):
    """What is wrong with solutions; an empty list if nothing is."""
    failures = []
    rows = None
    for target, alpha, l1_ratio, coef, intercept, gap in solutions:
        lasso = problem.lasso(target, alpha, l1_ratio)
        rows = judge.rows_of(lasso) if rows is None or problem.y.ndim == 2 else rows
        verdict = judge.judge(lasso, coef, rows=rows)
        outcome.excess = max(outcome.excess, verdict.excess - verdict.floor)
        failures += complaints(verdict, gap, outcome.warned, model, f"alpha={alpha:.3g} ")
        failures += _intercept_failures(problem, rows, coef, intercept)
    if model is None:
        if problem.alphas is None:
            failures += _grid_failures(problem, solutions[0][1])
        return failures
    if problem.door.endswith("_cv"):
        failures += _selection_failures(problem, model, outcome.warned)
    if problem.route == "wide" and problem.eligible == hasattr(model, "statistics_"):
        failures.append(
            "took the route of few columns" if problem.eligible else "took the wide route"
        )
    return failures


def complaints(verdict, gap, warned, model=None, where=""):
    """What a verdict has against a fit that reports a duality gap of `gap`."""
    found = []
    if verdict.at_most - verdict.excess > max(1e-12, verdict.floor + verdict.rounding):
        found.append(
            f"{where}UNDECIDED: excess between {verdict.excess:.3g} and {verdict.at_most:.3g}"
        )
    if not warned and verdict.excess > ALLOWED + verdict.floor:
        found.append(f"{where}excess {verdict.excess:.3g} without a warning, gap {gap:.3g}")
    if getattr(model, "certificate_", "duality gap") == "duality gap":
        relative = float(gap / verdict.null) if verdict.null > 0 else float(gap)
        if not relative >= 0:
            found.append(f"{where}gap {gap:.3g}")
        # Rounding the coefficients moves the objective by its floor, and by as much along
        # the slope that is left where the gap is not zero.
        floor = verdict.floor + 2 * np.sqrt(verdict.floor * max(relative, 0))
        floor += verdict.rounding + ROUNDING * max(1, relative)
        if verdict.excess > relative + floor:
            found.append(
                f"{where}gap {relative:.3g} for an excess of {verdict.excess:.3g}"
                f" (floor {verdict.floor:.2g})"
            )
    # Iterates of ADMM, cut short, may be anywhere.
    by_admm = not getattr(model, "polish", True) or getattr(model, "local_solver", "") == "lbfgs"
    if verdict.above_null > ALLOWED + verdict.floor and not (warned and by_admm):
        found.append(f"{where}worse than no coefficients by {verdict.above_null:.3g}")
    return found


def _intercept_failures(problem, rows, coef, intercept):
    """The intercept is the best one for the coefficients, but for its rounding."""
    if intercept is None:
        return []
    if not problem.params["fit_intercept"]:
        return [] if intercept == 0 else [f"intercept {intercept} of a model without"]
    best = rows.y_mean - rows.x_mean @ coef.astype(np.longdouble)
    size = abs(rows.y_mean) + np.abs(rows.x_mean) @ np.abs(coef.astype(np.longdouble))
    rounding = 4 * len(coef) * np.finfo(coef.dtype).eps * size
    rounding += 4 * np.finfo(float).eps * rows.y_size
    off = max(0, abs(intercept - best) - rounding)
    if problem.route == "raw":  # there it is an unknown like the others
        off = np.maximum(0, off**2 / 2 - ALLOWED * (rows.b @ rows.b / rows.n))
    if off == 0:
        return []
    return [f"intercept {intercept:.17g} for {float(best):.17g} +- {float(rounding):.2g}"]


def _first_alpha(problem):
    """The least alpha at which all coefficients are zero; None where rounding decides it."""
    targets = range(1 if problem.y.ndim == 1 else problem.y.shape[1])
    found = [judge.alpha_max(problem.lasso(t, 1.0, problem.l1_ratio)) for t in targets]
    rows = judge.rows_of(problem.lasso())
    u = problem.params.get("penalty_weights", np.ones(problem.X.shape[1]))
    sizes = np.sqrt((rows.A**2).sum(axis=0))[u > 0] / u[u > 0]
    most = sizes.max(initial=0) * np.sqrt(rows.b @ rows.b) / rows.n
    return None if max(found) <= 1e-9 * most else max(found) / problem.l1_ratio


def _grid_failures(problem, largest):
    """A grid of alphas starts where the first coefficient leaves zero."""
    right = _first_alpha(problem)
    unit = 1e-6 if problem.y.dtype == np.float32 else 1e-9
    if right is None or abs(largest - right) <= unit * right:
        return []
    return [f"alphas from {largest:.9g} where the first coefficient is at {right:.9g}"]


def _selection_failures(problem, model, warned):
    """The grid, and what the errors on the test sets or the noise were said to be."""
    found = []
    if problem.alphas is None:
        found += _grid_failures(problem, model.alphas_[0])
    n, k = problem.X.shape
    if warned or {"special", "far"} & set(problem.tags) or problem.tags["noise"] == "constant":
        return found  # the best coefficients need not be unique, or are known to few digits
    weight = np.ones(n) if problem.weight is None else problem.weight
    if problem.params.get("criterion", "cv") != "cv":
        positive_rows = np.count_nonzero(weight)
        lasso = problem.lasso(0, 0.0)
        squares = 2 * judge.optimum(lasso, judge.rows_of(lasso)).primal
        right = float(
            squares * positive_rows / (positive_rows - k - problem.params["fit_intercept"])
        )
        if abs(model.noise_variance_ / right - 1) > 1e-6:
            found.append(f"noise_variance_ {model.noise_variance_:.9g} for {right:.9g}")
        return found
    alphas = np.asarray(model.alphas_)
    for fold, (train, test) in enumerate(KFold(problem.params["cv"]).split(weight)):
        if len(train) <= k + 1:
            continue
        for i, alpha in enumerate(alphas):
            right, null = _test_error(problem, alpha, train, test, weight[test])
            if abs(model.mse_path_[i, fold] - right) > 1e-6 * (right + null):
                found.append(
                    f"mse_path_[{i}, {fold}] {model.mse_path_[i, fold]:.9g} for {right:.9g}"
                )
    return found


def _test_error(problem, alpha, train, test, weight):
    lasso = problem.lasso(0, alpha, rows=train)
    rows = judge.rows_of(lasso)
    coef = judge.optimum(lasso, rows).coef
    left_out = problem.lasso(0, alpha, rows=test)._replace(fit_intercept=False)
    X = left_out.X.toarray() if sparse.issparse(left_out.X) else left_out.X
    residual = left_out.y - rows.y_mean - (X - rows.x_mean) @ coef
    return float(np.average(residual**2, weights=weight)), float(rows.b @ rows.b / rows.n)


# -- units -------------------------------------------------------------------------------


def in_units(problem, a, b):
    """The same problem with X in units of 1/a and y in units of 1/b.

    With a ridge term a and b must be the same.
    """
    scaled = copy.copy(problem)
    scaled.X, scaled.y = problem.X * problem.y.dtype.type(a), problem.y * problem.y.dtype.type(b)
    scaled.params = dict(problem.params)
    if problem.alphas is not None:
        scaled.alphas = problem.alphas * a * b
    scaled.alpha = problem.alpha * a * b
    if "alpha" in scaled.params:
        scaled.params["alpha"] = scaled.alpha
    return scaled


# By the power of (a, b) that they grow with.
_GROW = {
    "alphas": (1, 1),
    "fitted": (0, 1),
    "dual_gap_": (0, 2),
    "alpha_": (1, 1),
    "alphas_": (1, 1),
    "mse_path_": (0, 2),
    "noise_variance_": (0, 2),
    "degrees_of_freedom_": (0, 0),
    "train_score_": (0, 0),
    "n_iter_": (0, 0),
}


def units_failures(problem: Problem) -> list[str]:
    """What does not scale as the units of X and y do.

    The units are powers of two, so that nothing is rounded differently: whatever changes is
    due to something that does not know the units.
    """
    rng = np.random.default_rng([problem.seed, 1])
    most = 20 if problem.y.dtype == np.float32 else 40
    a, b = 2.0 ** rng.choice([-most, -most // 2, most // 2, most], 2)
    if "net" in problem.door:
        b = a  # or else l1_ratio would have to change
    has_grid = problem.door not in ("lasso", "net") and problem.alphas is None
    if has_grid and _first_alpha(problem) is None:
        return []
    if problem.params.get("polish") is False and problem.params["n_blocks"] != 1:
        return []  # the order in which blocks arrive decides
    results = []
    for one in (problem, in_units(problem, a, b)):
        outcome, solutions, model = attempt(one)
        if outcome.failures:
            return [f"a={a:.3g} b={b:.3g}: {failure}" for failure in outcome.failures]
        if outcome.warned:
            return []  # where an iteration is stopped, rounding decides
        model = SimpleNamespace() if model is None else model
        model.alphas = np.unique([s[1] for s in solutions])
        model.fitted = [_fitted_values(one, *solution) for solution in solutions]
        results.append(model)
    found = []
    for name, (by_a, by_b) in _GROW.items():
        if not hasattr(results[0], name):
            continue
        before, after = (np.asarray(getattr(model, name), dtype=np.float64) for model in results)
        after = after * a**-by_a * b**-by_b
        # A dual point is scaled by pulls, whose rounding is that of the largest, beside alpha.
        largest = _first_alpha(problem) if problem.l1_ratio else None
        least = results[0].alphas.min()
        beside_alpha = max(1.0, largest / least) if largest and least else 1.0
        rounding = {"dual_gap_": ROUNDING * beside_alpha * np.square(problem.y).mean()}
        rounding["mse_path_"] = 1e-6 * np.square(problem.y).mean()
        rounding["fitted"] = 1e-6 * np.sqrt(np.square(problem.y).mean())
        if not np.allclose(after, before, rtol=1e-6, atol=rounding.get(name, 0), equal_nan=True):
            found.append(f"a={a:.3g} b={b:.3g}: {name} {_short(after)} for {_short(before)}")
    return found


def _fitted_values(problem, target, alpha, l1_ratio, coef, intercept, gap):
    """Coefficients need not be unique, and what they make of the rows is."""
    rows = judge.rows_of(problem.lasso(target, alpha, l1_ratio))
    return (rows.A @ coef.astype(np.longdouble)).astype(float) / np.sqrt(float(rows.n))


def check_seed(seed: int) -> Outcome:
    try:
        problem = make(seed)
    except Exception as error:
        return Outcome(seed, [f"generator: {type(error).__name__}: {error}"])
    outcome = check(problem)
    if not outcome.failures and seed % 4 == 0 and problem.place == "numpy":
        outcome.failures += units_failures(problem)
    return outcome


# -- the long command --------------------------------------------------------------------


def describe_seed(seed: int) -> str:
    return str(make(seed))


def _check_selected(task):
    seed, only, describe, check = task
    if only and not only <= set(describe(seed).split()):
        return None
    return check(seed)


def main(arguments=None, describe=describe_seed, check=check_seed, n_problems=5000) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--problems", type=int, default=n_problems)
    parser.add_argument("--seed", type=int, default=0, help="of the first problem")
    parser.add_argument("--only", default="", help="name=value,... of what describes a problem")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--verbose", action="store_true", help="print every problem")
    options = parser.parse_args(arguments)
    if not judge.EXTENDED:
        parser.error("the judge needs a long double of at least 64 bits of mantissa")
    only = {pair for pair in options.only.split(",") if pair}
    seeds = range(options.seed, options.seed + options.problems)
    tasks = [(seed, only, describe, check) for seed in seeds]
    began = time.perf_counter()
    counts, slowest = Counter(), []
    if options.processes == 1:
        pool, outcomes = nullcontext(), map(_check_selected, tasks)
    else:
        pool = ProcessPoolExecutor(options.processes, get_context("spawn"))
        outcomes = pool.map(_check_selected, tasks, chunksize=8)
    with pool:
        for outcome in outcomes:
            if outcome is None:
                continue
            counts["problems"] += 1
            counts["warned"] += outcome.warned
            counts["failed"] += bool(outcome.failures)
            slowest.append((outcome.seconds, outcome.seed))
            if outcome.failures or options.verbose:
                print(f"seed {outcome.seed}: {outcome.description}")
                for failure in outcome.failures[:4]:
                    print(f"    {failure}")
                if options.verbose:
                    print(
                        f"    {outcome.excess:.2g} warned={outcome.warned} {outcome.seconds:.2f} s"
                    )
                sys.stdout.flush()
    slow = ", ".join(f"{seed} ({seconds:.1f} s)" for seconds, seed in sorted(slowest)[:-4:-1])
    print(
        f"{counts['problems']} problems, {counts['failed']} silent failures,"
        f" {counts['warned']} with a ConvergenceWarning, {time.perf_counter() - began:.0f} s;"
        f" slowest: {slow}"
    )
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    failed = main()
    if len(sys.argv) == 1:
        import loss_properties  # which uses this module

        failed |= loss_properties.main()
    sys.exit(failed)
