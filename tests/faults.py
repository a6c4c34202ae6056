"""Every kind of fit, and everything that can happen to its cluster meanwhile: a table.

python tests/faults.py
python tests/faults.py --fits wide cv --faults killed closed
"""

from __future__ import annotations

import _thread
import argparse
import gc
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from functools import partial
from pathlib import Path

import chaos
import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

from dask_lasso import (
    AsyncLassoCV,
    AsyncLassoRegressor,
    AsyncLogisticRegression,
    AsyncLogisticRegressionCV,
    lasso_path,
)
from dask_lasso.places.waiting import ClusterError

CHUNKS, ROWS, ALPHA = 8, 100, 0.1
PAUSE = 0.15  # seconds that a chunk takes, so that there is something to disturb
# An idle machine needs a few seconds at most; a hang is what is looked for.
SOON = 90


def chunk_of(number, k, pause=0.0, trouble=None):
    """X and y of a chunk; `trouble` is what the fifth makes, and a file that says it was made."""
    time.sleep(pause)
    if trouble is not None and number == 4:
        kind, flag = trouble
        if kind == "dies":
            os._exit(1)
        if kind == "always" or not Path(flag).exists():
            Path(flag).touch()
            raise OSError("disk on fire")
    rng = np.random.default_rng(number)
    X = rng.normal(size=(ROWS, k))
    y = X[:, :5] @ np.linspace(1, 2, 5) + rng.normal(size=ROWS)
    return np.column_stack([X, y])


def rows(k, trouble=None):
    """Chunks that can be made again, as those of a file can be read again."""
    ids = da.arange(CHUNKS, chunks=1)[:, None]
    table = ids.map_blocks(
        lambda block: chunk_of(int(block[0, 0]), k, PAUSE, trouble),
        chunks=((ROWS,) * CHUNKS, (k + 1,)),
        dtype=float,
        meta=np.empty((0, 0)),
    )
    return table[:, :-1], table[:, -1]


def in_memory(k):
    table = np.concatenate([chunk_of(number, k) for number in range(CHUNKS)])
    return table[:, :-1], table[:, -1]


def fit(make, client, X, y):
    return make().set_params(client=client).fit(X, y).coef_


def fit_persisted(make, client, X, y):
    if client is not None:
        X, y = client.persist([X, y])
    return fit(make, client, X, y)


def partial_fit(client, X, y):
    return AsyncLassoRegressor(ALPHA, client=client).partial_fit(X, y).coef_


def logistic(client, X, y):
    return AsyncLogisticRegression(0.01, client=client).fit(X, y > 0).coef_


def logistic_cv(client, X, y):
    return _chosen(client, X, y > 0)


def classes_cv(client, X, y):
    return _chosen(client, X, (y > 0).astype(int) + (y > 2))


def _chosen(client, X, y):
    if client is not None:  # so many passes would take long
        X, y = client.persist([X, y])
    return AsyncLogisticRegressionCV(alphas=3, eps=0.1, cv=3, client=client).fit(X, y).coef_


def huber_path(client, X, y):
    if client is not None:
        X, y = client.persist([X, y])
    return lasso_path(X, y, loss="huber", alphas=5, eps=0.1, client=client, tol=1e-12)[1]


def poisson(client, X, y):
    return AsyncLassoRegressor(0.01, loss="poisson", client=client).fit(X, abs(y)).coef_


def score(client, X, y):
    model = AsyncLassoRegressor(ALPHA, client=client).fit(*in_memory(X.shape[1]))
    return np.array([model.score(X, y)])


def path(client, X, y):
    return lasso_path(X, y, alphas=5, eps=0.1, client=client)[1]


K, WIDE = 10, 2100
WIDE_FOLDS = 2300  # of which four training sets have no Gram matrix of all columns
lasso = partial(AsyncLassoRegressor, ALPHA)
cv = partial(AsyncLassoCV, alphas=5, eps=0.1, cv=3)
FITS = {
    "tall": (partial(fit, lasso), K),
    "persisted": (partial(fit_persisted, lasso), K),
    "admm": (partial(fit, partial(lasso, polish=False, tol=1e-12)), K),
    "lbfgs": (partial(fit, partial(lasso, local_solver="lbfgs", tol=1e-12)), K),
    "huber": (partial(fit, partial(lasso, loss="huber", tol=1e-12)), K),
    "logistic": (logistic, K),
    "poisson": (poisson, K),
    "logistic cv": (logistic_cv, K),
    "classes cv": (classes_cv, K),
    "huber path": (huber_path, K),
    "cv": (partial(fit, cv), K),
    "partial_fit": (partial_fit, K),
    "score": (score, K),
    "path": (path, K),
    "wide": (partial(fit, lasso), WIDE),
    "wide persisted": (partial(fit_persisted, lasso), WIDE),
    "wide logistic": (logistic, WIDE),
    "wide logistic cv": (logistic_cv, WIDE_FOLDS),
    "wide cv": (partial(fit, cv), WIDE),
    "wide path": (path, WIDE),
}


PERSISTED = (
    "persisted",
    "wide persisted",
    "logistic cv",
    "classes cv",
    "huber path",
    "wide logistic cv",
)


def kill(client, stop=False):
    victim = next(iter(chaos.pids(client).values()))
    os.kill(victim, signal.SIGSTOP if stop else signal.SIGKILL)
    if stop:
        threading.Timer(2.0, os.kill, [victim, signal.SIGCONT]).start()


def retire(client):
    client.retire_workers([next(iter(client.nthreads()))])


def lose_scheduler(client):
    scheduler = client.cluster.scheduler
    scheduler.loop.add_callback(scheduler.close)


# What happens, what may come of it ("right" or an error), and whether there is a cluster after.
FAULTS = {
    "killed": (kill, ("right",), True),
    "stopped": (partial(kill, stop=True), ("right",), True),
    "leaving": (retire, ("right",), True),
    "joining": (lambda client: chaos.scale(client.cluster, 3), ("right",), True),
    "once": (None, ("right",), True),
    "always": (None, (OSError,), True),
    "dies": (None, (ClusterError,), True),
    "control-c": (lambda client: _thread.interrupt_main(), (KeyboardInterrupt,), True),
    "restarted": (
        lambda client: client.restart(wait_for_workers=False),
        ("right", ClusterError),
        True,
    ),
    "closed": (lambda client: client.close(), (ClusterError,), False),
    "scheduler": (lose_scheduler, (ClusterError,), False),
}


class Hangs(BaseException):
    """It has not ended, and is ended now."""


def _hangs(*_):
    raise Hangs


def outcome(client, name, fault, after):
    """What came of the fit, in a word and if it is allowed; and the seconds it took."""
    function, k = FITS[name]
    happens, allowed, _ = FAULTS[fault]
    if fault == "once" and name in PERSISTED:
        allowed = (OSError,)  # the user's own task, which nobody has asked to be tried again
    wanted = function(None, *in_memory(k))
    with tempfile.TemporaryDirectory() as folder:
        flag = str(Path(folder) / "made")
        X, y = rows(k, (fault, flag) if happens is None else None)
        timer = threading.Timer(after, happens or gc.collect, [client] if happens else [])
        before = signal.signal(signal.SIGALRM, _hangs)
        signal.alarm(SOON)
        timer.start()
        began = time.monotonic()
        try:
            found = function(client, X, y)
            seconds = time.monotonic() - began
            timer.join()  # what comes too late comes all the same: a Ctrl-C, say
            near = np.allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
            word = "right" if near else "WRONG"
            is_allowed = word in allowed
        except BaseException as error:
            seconds = time.monotonic() - began
            word = type(error).__name__
            is_allowed = isinstance(error, tuple(a for a in allowed if a != "right"))
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
            timer.join()
        del X, y
    return word, is_allowed, seconds


def left(client, patience=15.0):
    """Keys that a fit has left behind, after some patience."""
    deadline = time.monotonic() + patience
    while True:
        gc.collect()
        keys = [*client.futures, *client.run_on_scheduler(_keys)]
        if not keys or time.monotonic() > deadline:
            return keys
        time.sleep(0.05)


def _keys(dask_scheduler):
    return list(dask_scheduler.tasks)


def cells(fits, faults, after=0.4):
    """Run the cells; yields fit, fault, outcome, whether it is all right, seconds."""
    cluster = client = None
    try:
        for fault in faults:
            # A LocalCluster replaces a worker that is not there after this time, and gives up one
            # that is just being restarted.
            patience = "1h" if fault == "dies" else "15s"
            dask.config.set({"distributed.deploy.lost-worker-timeout": patience})
            for name in fits:
                if client is None:
                    cluster = LocalCluster(
                        n_workers=2,
                        threads_per_worker=1,
                        dashboard_address=None,
                        silence_logs=logging.CRITICAL,
                    )
                    client = Client(cluster, set_as_default=False, timeout=5)
                chaos.complete(client, 2)
                word, is_right, seconds = outcome(client, name, fault, after)
                if FAULTS[fault][2] and word != "Hangs":
                    keys = left(client)
                    if keys:
                        word, is_right = f"{word}, left {len(keys)}", False
                else:
                    client.close()
                    cluster.close()
                    client = None
                yield name, fault, word, is_right, seconds
    finally:
        if client is not None:
            client.close()
            cluster.close()


def main():
    """Print the table; the exit code tells whether every cell is right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", nargs="+", choices=FITS, default=list(FITS))
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    args = parser.parse_args()
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.simplefilter("ignore")
    wrong = n_cells = 0
    for name, fault, word, is_right, seconds in cells(args.fits, args.faults):
        n_cells, wrong = n_cells + 1, wrong + (not is_right)
        mark = " " if is_right else "!"
        print(f"{mark} {fault:10s} {name:15s} {word:25s} {seconds:5.1f} s", flush=True)
    print(f"{n_cells} cells, {wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
