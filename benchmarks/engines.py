"""The engines: against the loops of the post that they come from, under stragglers, early on.

The loops are those of "Asynchronous Optimization Algorithms with Dask" (2017): consensus
ADMM with L-BFGS local updates on raw chunks, synchronous, asynchronous with one result at
a time, and with batches.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import dask
import dask.array as da
import numpy as np
from distributed import as_completed, get_worker
from harness import Case, Contender, Table, persisted, relative_gap, size, workers
from internals import InMemory, fitted_inside, without_acceleration
from scipy.optimize import fmin_l_bfgs_b
from scipy.special import expit
from sklearn.datasets import load_sample_images
from sklearn.linear_model import Lasso
from sklearn.preprocessing import PolynomialFeatures

from dask_lasso import AsyncLassoRegressor

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from quickstart import Estimates, neighbourhoods

ENGINES = ("sync", "async", "batched")
TOL = 1e-6


def squared(beta, X, y):
    return 0.5 * ((y - X @ beta) ** 2).sum()


def gradient_of_squared(beta, X, y):
    return X.T @ (X @ beta - y)


# -- the post's three loops -----------------------------------------------------------------


def local_update(X, y, beta, z, u, rho):
    """The post's local problem, from scratch precision to SciPy's defaults."""

    def objective(beta):
        return squared(beta, X, y) + rho / 2 * np.dot(beta - z + u, beta - z + u)

    def gradient(beta):
        return gradient_of_squared(beta, X, y) + rho * (beta - z + u)

    return fmin_l_bfgs_b(objective, beta, fprime=gradient, maxiter=200, maxfun=250)[0]


def proximal_step(state, alpha_sum, rho):
    mean = np.mean(state.betas + state.us, axis=0)
    threshold = alpha_sum / (rho * len(state.betas))
    return np.sign(mean) * np.maximum(np.abs(mean) - threshold, 0)


class State:
    """Betas, duals, and the clock, which stands while the gap is looked at."""

    def __init__(self, n_chunks, n_features, gap, limit):
        self.betas = np.zeros((n_chunks, n_features))
        self.us = np.zeros((n_chunks, n_features))
        self.z = np.zeros(n_features)
        self.gap, self.limit = gap, limit
        self.seconds, self.began, self.updates, self.looked = 0.0, time.perf_counter(), 0, 0

    def done(self, sweep=True):
        now = time.perf_counter()
        if not sweep and self.updates < self.looked + len(self.betas):
            return False
        self.looked = self.updates
        self.seconds += now - self.began
        self.reached = self.gap(self.z)
        self.began = time.perf_counter()
        return self.reached <= TOL or self.seconds > self.limit


def post_sync(client, chunks, state, alpha_sum, rho):
    while not state.done():
        futures = [
            client.submit(local_update, X, y, beta, state.z, u, rho, pure=False)
            for (X, y), beta, u in zip(chunks, state.betas, state.us, strict=True)
        ]
        state.betas = np.array(client.gather(futures))
        state.updates += len(chunks)
        state.z = proximal_step(state, alpha_sum, rho)
        state.us += state.betas - state.z


def post_async(client, chunks, state, alpha_sum, rho, batched):
    def send(i):
        future = client.submit(
            local_update,
            *chunks[i],
            state.betas[i],
            state.z,
            state.us[i],
            rho,
            pure=False,
        )
        index[future] = i
        return future

    index = {}
    stream = as_completed([send(i) for i in range(len(chunks))], with_results=True)
    batches = stream.batches() if batched else ([pair] for pair in stream)
    for batch in batches:
        for future, beta in batch:
            i = index.pop(future)
            state.betas[i] = beta
            state.us[i] += beta - state.z
            state.updates += 1
        state.z = proximal_step(state, alpha_sum, rho)
        if state.done(sweep=False):
            break
        for _ in batch:
            stream.add(send(random.randrange(len(chunks))))
    client.cancel(list(index))


def case_post_loops():
    """The post's loops against ours to a relative gap of 1e-6, 1,000,000 x 100 in 20 chunks.

    The post's rho is tuned by hand to twice the rows of a chunk (with its 1.2 they stand at a
    gap of 0.45 after a minute); the gap is looked at after every sweep, off the clock. Ours
    are the defaults.
    """
    n, k, n_chunks, alpha, limit = size(1_000_000), 100, 20, 0.1, 50.0
    rows = n // n_chunks
    random.seed(0)
    with workers() as client:
        X = da.random.default_rng(0).normal(size=(n, k), chunks=(rows, k))
        noise = da.random.default_rng(1).normal(size=n, chunks=rows)
        X, y = persisted(X, X[:, :10] @ np.arange(1.0, 11.0) + noise)
        local = dask.compute(X, y)
        chunks = [client.compute(list(array.to_delayed().ravel())) for array in (X, y)]
        chunks = list(zip(*chunks, strict=True))

        def gap(coef, intercept=0.0):
            return relative_gap(*local, alpha, coef, fit_intercept=False)

        def post(engine):
            state = State(n_chunks, k, gap, limit)
            loop = post_sync if engine == "sync" else post_async
            options = {} if engine == "sync" else {"batched": engine == "batched"}
            loop(client, chunks, state, n * alpha, 2.0 * rows, **options)
            updates[engine] = state.updates
            return state.seconds, (state.z, 0.0)

        updates = {}
        for engine in ENGINES:
            model = AsyncLassoRegressor(
                alpha, engine=engine, local_solver="lbfgs", fit_intercept=False, tol=TOL
            )
            yield Case(
                f"the post's loops, 1,000,000 x 100, {engine}",
                [
                    Contender("dask_lasso", lambda model=model: model.fit(X, y), note=n_updates),
                    Contender(
                        f"the post's, at most {limit:.0f} s",
                        lambda engine=engine: post(engine),
                        rounds=1,
                        own_clock=True,
                        note=lambda _, engine=engine: f"{updates[engine]} updates",
                    ),
                ],
                bare="dask_lasso",
                gap=gap,
                rounds=1,
            )


def n_updates(model):
    return f"{model.history_['n_updates'][-1]} updates"


# -- the rest -----------------------------------------------------------------------------------


def gradient_on(slow, seconds, factor):
    """Gradient that takes `seconds`, and `factor` times that on the worker `slow`."""

    def gradient(beta, X, y):
        time.sleep(seconds * (factor if get_worker().address == slow else 1))
        return gradient_of_squared(beta, X, y)

    return gradient


def case_stragglers():
    """One of four workers is ten times slower: what each engine makes of it.

    Updates of L-BFGS on persisted raw chunks, of a user's loss that sleeps, so that four
    workers do not share this machine's cores: 16 chunks and 16 ms an evaluation, and 8 larger
    chunks and 4 ms. Distributed's own work stealing is off in the first: chunks that keep
    L-BFGS busy for so long have about 100 MB, which it would not move for such short tasks;
    those here are small because their updates sleep, and would be moved.
    """
    for n_chunks, rows, k, seconds, steals in (
        (16, 500, 30, 0.016, False),
        (8, 10_000, 60, 0.004, True),
    ):
        with (
            dask.config.set({"distributed.scheduler.work-stealing": steals}),
            workers(4) as client,
        ):
            # Chunks of different scale, so that it takes some sweeps.
            rng = np.random.default_rng(0)
            scale = np.repeat(rng.uniform(0.3, 3, n_chunks), rows)[:, np.newaxis]
            X = rng.normal(size=(n_chunks * rows, k)) * scale
            y = X[:, ::3].sum(axis=1) + rng.normal(size=len(X))
            X, y = persisted(da.from_array(X, chunks=(rows, -1)), da.from_array(y, chunks=rows))
            slow = sorted(client.scheduler_info()["workers"])[0]

            def fit(engine, factor, X=X, y=y, slow=slow, seconds=seconds):
                model = AsyncLassoRegressor(
                    0.05,
                    engine=engine,
                    loss=(squared, gradient_on(slow, seconds, factor)),
                    tol=1e-6,
                    max_iter=size(30, 2),
                )
                return lambda: model.fit(X, y)

            for engine in ENGINES:
                yield Case(
                    f"one of four workers 10 x slower, {n_chunks} chunks of {rows} x {k}, {engine}",
                    [
                        Contender("undisturbed", fit(engine, 1), note=n_sweeps),
                        Contender("disturbed", fit(engine, 10), note=n_sweeps),
                    ],
                    bare="undisturbed",
                    rounds=3,
                )


def n_sweeps(model):
    return f"{model.n_iter_} sweeps, objective {model.history_['objective'][-1]:.6g}"


def slowly(block):
    time.sleep(0.05)
    return block


def case_anytime():
    """How early in the pass each engine has an estimate that is good on all rows.

    100 chunks that take 50 ms each to load. For every estimate its objective on all rows is
    computed afterwards; told is the first that is within 1 % of the optimum: after which
    share of the rows, and of the time that reading all of them took.
    """
    n_chunks, rows, alpha = size(100, 10), 500, 0.1
    kinds = {
        "statistics": {},
        "statistics, ADMM alone": {"polish": False},
        "raw rows, L-BFGS": {"local_solver": "lbfgs"},
    }
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_chunks * rows, 50))
    y = X[:, :10] @ np.linspace(-1, 1, 10) + 0.5 * rng.normal(size=len(X))

    def objective(coef):
        residual = y - X @ coef
        return residual.var() / 2 + alpha * np.abs(coef).sum()  # at the best intercept

    bound = 1.01 * objective(Lasso(alpha, tol=1e-12).fit(X, y).coef_)
    slow = da.from_array(X, chunks=(rows, -1)).map_blocks(slowly, dtype=float)
    target = da.from_array(y, chunks=rows)

    def shares(kind, engine):
        estimates = Estimates()
        model = AsyncLassoRegressor(alpha, engine=engine, **kinds[kind]).set_callbacks(estimates)
        history = model.fit(slow, target).history_
        first = next(i for i, coef in enumerate(estimates.coefs) if objective(coef) <= bound)
        first = min(first, len(history["time"]) - 1)  # the fitted model itself comes last
        read = history["time"][history["samples_seen"] == len(y)][0]
        return history["samples_seen"][first] / len(y), history["time"][first] / read

    found = []
    with workers():
        for kind in kinds:
            for engine in ENGINES:
                seen, spent = np.median([shares(kind, engine) for _ in range(size(3))], axis=0)
                found.append([kind, engine, f"{seen:.0%}", f"{spent:.0%}"])
                print("  ", *found[-1], flush=True)
    columns = ["local problem", "engine", "rows seen", "share of the time of the pass"]
    yield Table("the first estimate within 1 % of the optimum", columns, found)


def photographs(radius=3):
    """Causal neighbours of every pixel of both photographs, and its green."""
    parts = [neighbourhoods(image, radius) for image in load_sample_images().images]
    rows = np.concatenate([part.reshape(-1, *part.shape[2:]) for part in parts]) / 255.0
    return rows[:, :, :-1].reshape(len(rows), -1), rows[:, 1, -1].copy()


def cubes(n=20_640):
    """Cubic features of eight columns that are as unlike as those of house prices by district.

    20,640 x 164; rows in the order of places, so that chunks differ.
    """
    rng = np.random.default_rng(0)
    place = np.cumsum(rng.normal(size=(n, 2)), axis=0)
    place /= place.std(axis=0)
    columns = np.column_stack(
        [
            np.exp(0.5 * rng.normal(size=n) + 0.3 * place[:, 0]),
            rng.integers(1, 53, n),
            5 + np.exp(0.3 * rng.normal(size=n)),
            1 + 0.1 * np.exp(0.5 * rng.normal(size=n)),
            np.exp(7 + 0.8 * rng.normal(size=n)),
            3 + np.exp(0.4 * rng.normal(size=n)),
            36 + 2 * place[:, 0],
            -119.5 + 2 * place[:, 1],
        ]
    )
    noise = 0.1 * rng.normal(size=n) * columns[:, 0]
    y = np.clip(0.4 * columns[:, 0] + 0.2 * place[:, 0] ** 2 + noise, 0, 5)
    return PolynomialFeatures(3, include_bias=False).fit_transform(columns), y


def alpha_max(X, y):
    return np.abs((X - X.mean(axis=0)).T @ (y - y.mean())).max() / len(y)


def case_sweeps():
    """Sweeps of ADMM to a relative gap of 1e-6 on correlated columns and unlike blocks.

    The photographs, 537,632 x 72, and cubic features. Those of the synchronous engine are
    the same on any machine.
    """
    found = []
    for name, (X, y), sizes in (
        ("photographs", photographs(), (8, 20, 32)),
        ("cubic features", cubes(), (8, 20)),
    ):
        X, y = X[:: 50 // size(50)], y[:: 50 // size(50)]
        largest = alpha_max(X, y)
        for share in (0.1, 0.01, 0.001):
            for n_blocks in sizes:
                models = [
                    AsyncLassoRegressor(
                        share * largest, engine=engine, polish=False, n_blocks=n_blocks
                    ).fit(X, y)
                    for engine in ENGINES
                ]
                gap = max(model.dual_gap_ for model in models) / y.var()
                sweeps = [model.n_iter_ for model in models]
                found.append([name, share, n_blocks, *sweeps, f"{gap:.1e}"])
                print("  ", *found[-1], flush=True)
    columns = ["data", "alpha / alpha_max", "blocks", *ENGINES, "largest gap"]
    yield Table("sweeps to a gap of 1e-6", columns, found)


def logistic(beta, X, y):
    eta = X @ beta
    return (np.logaddexp(0, eta) - y * eta).sum()


def gradient_of_logistic(beta, X, y):
    return X.T @ (expit(X @ beta) - y)


def case_anderson():
    """Sweeps of synchronous ADMM with and without Anderson acceleration, where it is used; others'.

    Where the curvature is not known, or not the same everywhere: 20 blocks of every 40th pixel of
    the photographs, Huber's loss, and the logistic loss as a pair of functions. Those of the
    synchronous engine are the same on any machine.
    """
    X, y = (array[::40] for array in photographs())
    is_bright = (y > np.median(y)).astype(float)
    found = []
    for name, loss, target in (
        ("huber", "huber", y),
        ("a pair of functions", (logistic, gradient_of_logistic), is_bright),
    ):
        for share in (0.1, 0.01):
            model = AsyncLassoRegressor(
                share * alpha_max(X, target),
                engine="sync",
                loss=loss,
                huber_delta=0.02,
                polish=False,
                n_blocks=20,
                max_iter=size(1000, 2),
            )
            fast = model.fit(X, target).n_iter_
            with without_acceleration():
                plain = model.fit(X, target).n_iter_  # may end by max_iter
            others = [model.set_params(engine=e).fit(X, target).n_iter_ for e in ENGINES[1:]]
            found.append([name, share, plain, fast, f"{fast / plain:.2f}", *others])
            print("  ", *found[-1], flush=True)
    columns = ["loss", "alpha / alpha_max", "plain", "accelerated", "ratio", *ENGINES[1:]]
    yield Table("sweeps to a gap, or residuals, of 1e-6", columns, found)


class AtOnce(InMemory):
    """A place where tasks take no time; what they do take is in `seconds`."""

    seconds = 0.0

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self._executor, self.n_threads = None, 4

    def submit(self, task, *args):
        began = time.perf_counter()
        future = super().submit(task, *args)
        AtOnce.seconds += time.perf_counter() - began
        return future


def case_client():
    """What a result costs the client as the number of blocks grows.

    Consensus ADMM from statistics of 100 columns with the "async" engine: one estimate a
    result, tasks that are answered at once and off the clock.
    """
    found, updates = [], size(20_000, 1_000)
    for n_blocks in (n for n in (10, 100, 1_000, 10_000) if n <= size(10_000)):
        X = np.random.default_rng(0).normal(size=(10 * n_blocks, 100))
        y = X[:, 0] + np.random.default_rng(1).normal(size=len(X))

        def seconds(sweeps, X=X, y=y, n_blocks=n_blocks):
            model = AsyncLassoRegressor(
                0.1, engine="async", polish=False, n_blocks=n_blocks, tol=0, max_iter=sweeps
            )
            AtOnce.seconds = 0.0
            with fitted_inside(place=AtOnce):
                began = time.perf_counter()
                model.fit(X, y)
            return time.perf_counter() - began - AtOnce.seconds, model.history_["n_updates"][-1]

        sweeps = 1 + max(1, updates // n_blocks)
        (first, few), (last, many) = (
            np.median([seconds(n) for _ in range(3)], axis=0) for n in (1, sweeps)
        )
        update = (last - first) / (many - few)
        report = (first - few * update) / n_blocks
        found.append([n_blocks, f"{1e6 * report:.0f}", f"{1e6 * update:.0f}"])
        print("  ", *found[-1], flush=True)
    yield Table("microseconds of the client", ["blocks", "a report", "an update"], found)
