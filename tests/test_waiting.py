"""Every wait ends: by max_time, by Ctrl-C, by one error; and a fit listens to nobody."""

from __future__ import annotations

import _thread
import asyncio
import multiprocessing
import os
import sys
import threading
import time
import warnings

import dask
import dask.array as da
import numpy as np
import pytest
from conftest import assert_nothing_left
from datasets import load
from distributed import Client, Event, LocalCluster
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_info

from dask_lasso import (
    AsyncElasticNetCV,
    AsyncLassoCV,
    AsyncLassoRegressor,
    AsyncLogisticRegression,
    AsyncLogisticRegressionCV,
    lasso_path,
)
from dask_lasso.places import waiting as _waiting

X, y, _, ALPHA = load("diabetes")
# An idle machine needs a fraction of this; a hang is what is looked for.
SOON = 30.0


def never(chunk, event, first, block_info=None):
    """The last chunk, or every one, waits until the test is over."""
    if first == 0 or block_info[0]["chunk-location"][0] >= first:
        Event(event).wait(120)
    return chunk


def rows(k=X.shape[1], n=442):
    X_of_k = np.tile(X, (1, -(-k // X.shape[1])))[:n, :k]
    X_of_k = X_of_k + np.random.default_rng(0).normal(scale=0.1 * X.std(), size=X_of_k.shape)
    return da.from_array(X_of_k, chunks=(50, -1)), da.from_array(y[:n], chunks=50)


@pytest.fixture
def stuck(client, request):
    """A function that lets chunks from `first` on never arrive."""
    event = Event(f"stuck-{request.node.name}", client=client)

    def stick(array, first=8):
        return array.map_blocks(never, event.name, first, dtype=float, meta=np.empty((0, 0)))

    yield stick
    event.set()  # a task that runs cannot be stopped, but nobody waits for it
    assert_nothing_left(client)


def of_unknown_sizes(array):
    array = array.map_blocks(np.array, dtype=float, meta=np.empty((0,) * array.ndim))
    array._chunks = ((np.nan,) * array.numblocks[0], *array.chunks[1:])
    return array


WIDE = 2100
CALLS = {
    "tall": (AsyncLassoRegressor(ALPHA), X.shape[1]),
    "admm": (AsyncLassoRegressor(ALPHA, polish=False), X.shape[1]),
    "huber": (AsyncLassoRegressor(ALPHA, loss="huber", polish=False), X.shape[1]),
    "lbfgs": (AsyncLassoRegressor(ALPHA, local_solver="lbfgs"), X.shape[1]),
    "wide": (AsyncLassoRegressor(ALPHA), WIDE),
    "wide admm": (AsyncLassoRegressor(ALPHA, polish=False), WIDE),
    "cv": (AsyncLassoCV(cv=3), X.shape[1]),
    "wide cv": (AsyncLassoCV(cv=3, alphas=5), WIDE),
    "wide elastic net cv": (AsyncElasticNetCV(cv=3, alphas=5, l1_ratio=[0.5, 1]), WIDE),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("unknown", [False, True])
def test_max_time_while_no_chunk_arrives(name, unknown, client, stuck):
    model, k = CALLS[name]
    if unknown and name.startswith("wide") and name.endswith("cv"):
        pytest.skip("a path of many columns needs the sizes of chunks: an error before any wait")
    dX, dy = rows(k)
    model.set_params(client=client, max_time=None, engine="batched", n_blocks="auto")
    if k != WIDE:
        model.fit(X, y)
    before = dict(vars(model))
    dX = stuck(dX, first=0)
    if unknown:
        dX, dy = map(of_unknown_sizes, (dX, dy))
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"max_time=0\.2 before there was any estimate"):
        model.set_params(max_time=0.2).fit(dX, dy)
    assert time.monotonic() - began < SOON
    assert vars(model) == {**before, "max_time": 0.2}


@pytest.mark.parametrize("is_here", [False, True], ids=["", "X in memory"])
@pytest.mark.parametrize(
    "model", [AsyncLogisticRegression(0.01), AsyncLogisticRegressionCV(cv=3)], ids=["fit", "cv"]
)
def test_max_time_while_no_label_arrives(model, is_here, client, stuck):
    dX, dy = rows()
    dy = dy > y.mean()
    model.set_params(client=client, max_time=None).fit(X, np.asarray(dy))
    before = dict(vars(model))
    labels = stuck(dy[:, np.newaxis], first=0)[:, 0]
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"max_time=0\.2 before there was any estimate"):
        model.set_params(max_time=0.2).fit(X if is_here else dX, labels)
    assert time.monotonic() - began < SOON
    assert vars(model) == {**before, "max_time": 0.2}


class OutOfTimeAfter:
    """The batched engine, whose time is up when so many blocks have been read."""

    def __init__(self, n_blocks):
        self.n_blocks = n_blocks

    def run(self, run):
        for result in run.completed():
            run.absorb(result)
            run.update()
            run.submit(run.idle(run.free_slots))
            if run._n_reported == self.n_blocks:
                self.end(run)

    def end(self, run):
        run._deadline = time.perf_counter()


@pytest.mark.parametrize("name", ["tall", "admm", "huber", "lbfgs", "cv"])
def test_max_time_while_one_chunk_does_not_arrive(name, client, stuck):
    model, k = CALLS[name]
    dX, dy = rows(k)
    # Of nine: dask may leave one that is queued on a worker behind the one that does not arrive.
    model.set_params(client=client, max_time=1e6, n_blocks=9, engine=OutOfTimeAfter(5))
    with pytest.warns(
        ConvergenceWarning, match=r"max_time=1000000\.0 after \d+ rows, with \d of 9"
    ):
        model.fit(stuck(dX), dy)
    assert model.n_samples_seen_ in (250, 300, 350, 400)
    assert np.isfinite(model.dual_gap_)


def test_max_time_with_unknown_folds(client, stuck):
    dX, dy = rows()
    dX, dy = map(of_unknown_sizes, (stuck(dX), dy))
    with pytest.raises(TimeoutError, match=r"max_time=1 .*: (not all|no) chunks? of rows"):
        AsyncLassoCV(cv=3, client=client, max_time=1).fit(dX, dy)


def press_control_c_after(seconds):
    timer = threading.Timer(seconds, _thread.interrupt_main)
    timer.start()
    return timer


UNLIMITED = {
    "fit": lambda model, dX, dy: model.fit(dX, dy),
    "cv": lambda model, dX, dy: AsyncLassoCV(cv=3, client=model.client).fit(dX, dy),
    "partial_fit": lambda model, dX, dy: model.partial_fit(dX, dy),
    "score": lambda model, dX, dy: model.score(dX, dy),
    "path": lambda model, dX, dy: lasso_path(dX, dy, client=model.client),
}


@pytest.mark.parametrize("call", UNLIMITED)
def test_control_c(call, client, stuck):
    model = AsyncLassoRegressor(ALPHA, client=client).fit(*rows())
    coef = model.coef_
    dX, dy = rows()
    timer = press_control_c_after(0.3)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        UNLIMITED[call](model, stuck(dX), dy)
    assert time.monotonic() - began < SOON
    timer.join()
    assert model.coef_ is coef


def test_a_cluster_without_workers(monkeypatch):
    monkeypatch.setattr(_waiting, "_QUIET", 0.2)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        model = AsyncLassoRegressor(ALPHA, client=client, max_time=1)
        with (
            pytest.warns(UserWarning, match="the cluster has no worker") as said,
            pytest.raises(TimeoutError, match="max_time=1"),
        ):
            model.fit(*rows())
        assert len([w for w in said if "No chunk" in str(w.message)]) == 1
        cluster.scale(1)
        model.set_params(max_time=None).fit(*rows())


def test_chunks_that_no_worker_may_run(client, monkeypatch):
    monkeypatch.setattr(_waiting, "_QUIET", 0.2)
    nobodys = client.persist(rows()[0], resources={"what no worker has": 1})
    with (
        pytest.warns(UserWarning, match="no worker works on anything"),
        pytest.raises(TimeoutError, match="max_time=5"),
    ):
        AsyncLassoRegressor(ALPHA, client=client, max_time=5).fit(nobodys, rows()[1])


class InterruptedAfter(OutOfTimeAfter):
    """The same, when somebody presses Ctrl-C."""

    def end(self, run):
        press_control_c_after(0.1)


def slow(chunk, seconds, block_info=None):
    if block_info[0]["chunk-location"][0] == 8:
        time.sleep(seconds)
    return chunk


def broken(chunk, block_info=None):
    if block_info[0]["chunk-location"][0] == 7:
        time.sleep(0.1)
        raise OSError("disk on fire")
    return chunk


@pytest.mark.parametrize("end", ["max_time", "control-c", "error"])
def test_without_a_client_nothing_waits_for_a_running_chunk(end):
    dX, dy = rows()
    dX = dX.map_blocks(slow, 25, dtype=float, meta=np.empty((0, 0)))
    model = AsyncLassoRegressor(ALPHA, n_blocks=9)
    began = time.monotonic()
    if end == "max_time":
        with pytest.warns(ConvergenceWarning, match="max_time=1000000"):
            model.set_params(max_time=1e6, engine=OutOfTimeAfter(5)).fit(dX, dy)
    elif end == "control-c":
        with pytest.raises(KeyboardInterrupt):
            model.set_params(engine=InterruptedAfter(5)).fit(dX, dy)
    else:
        dX = dX.map_blocks(broken, dtype=float, meta=np.empty((0, 0)))
        with pytest.raises(OSError, match="disk on fire"):
            model.fit(dX, dy)
    assert time.monotonic() - began < 20


def listening():
    """Ports on which this process listens."""
    sockets = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            sockets.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:  # the one that lists them
            continue
    found = set()
    for kind in ("tcp", "tcp6"):
        with open(f"/proc/self/net/{kind}") as lines:
            for line in list(lines)[1:]:
                fields = line.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                    found.add(fields[1])
    return found


class Listening:
    def run(self, run):
        self.ports, self.clusters = listening(), len(open_clusters())
        for result in run.completed():
            run.absorb(result)
            run.update()


def open_clusters():
    from distributed.deploy.spec import SpecCluster

    return {c for c in SpecCluster._instances if c.status.name != "closed"}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_without_a_client_nobody_is_listened_to():
    spy, before = Listening(), listening()
    n_clusters = len(open_clusters())
    AsyncLassoRegressor(ALPHA, engine=spy).fit(*rows())
    assert spy.clusters == n_clusters + 1
    assert spy.ports == before


def fit_with(spy):
    return AsyncLassoRegressor(ALPHA, engine=spy).fit(*rows()).coef_


def test_fits_at_the_same_time_share_one_client():
    spies = [Listening() for _ in range(8)]
    before = len(open_clusters())
    with dask.config.set(scheduler="threads", num_workers=8):
        coefs = dask.compute(*[dask.delayed(fit_with)(spy) for spy in spies])
    assert max(spy.clusters for spy in spies) == before + 1
    assert len(open_clusters()) == before
    for coef in coefs:
        np.testing.assert_allclose(coef, coefs[0], rtol=1e-9)


def blas_threads():
    return [i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"]


@pytest.mark.parametrize("dask_rows", [False, True])
def test_overlapping_fits_leave_blas_as_it_was(dask_rows, client):
    before = blas_threads()
    big = np.tile(X, (200, 1)), np.tile(y, 200)
    data = rows() if dask_rows else big

    def fit(alpha):
        AsyncLassoRegressor(alpha, client=client).fit(*data)

    for _ in range(2):
        threads = [threading.Thread(target=fit, args=(ALPHA * f,)) for f in (1, 2, 3, 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert blas_threads() == before
    fit(ALPHA)
    assert blas_threads() == before


def in_a_child(fit, answers):
    try:
        answers.put(fit())
    except Exception as error:
        answers.put(f"{type(error).__name__}: {error}")


def fit_in_memory():
    return AsyncLassoRegressor(ALPHA).fit(X, y).coef_


def fit_on_dask():
    return AsyncLassoRegressor(ALPHA).fit(*rows()).coef_


def fit_on_the_active_client():
    with ACTIVE[0].as_current():
        return fit_on_dask()


ACTIVE = []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("fit", [fit_in_memory, fit_on_dask, fit_on_the_active_client])
def test_in_a_forked_child(fit, client):
    AsyncLassoRegressor(ALPHA, client=client).fit(*rows())  # distributed is at work
    ACTIVE[:] = [client]
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads
        child = context.Process(target=in_a_child, args=(fit, answers))
        child.start()
    child.join(60)
    hangs = child.is_alive()
    if hangs:
        child.kill()
    assert not hangs
    answer = answers.get()
    if fit is fit_in_memory:
        np.testing.assert_allclose(answer, fit_in_memory(), rtol=1e-10)
    else:
        assert "forked from one in which dask.distributed was at work" in answer


def test_in_a_running_event_loop(client):
    async def here(**settings):
        return AsyncLassoRegressor(ALPHA, **settings).fit(*rows()).coef_

    async def there(**settings):
        model = AsyncLassoRegressor(ALPHA, **settings)
        return (await asyncio.to_thread(model.fit, *rows())).coef_

    for settings in ({}, {"client": client}):
        coefs = [asyncio.run(fit(**settings)) for fit in (here, there)]
        np.testing.assert_allclose(coefs[0], coefs[1], rtol=1e-9)


def test_an_asynchronous_client(cluster):
    async def fit(given):
        async with Client(cluster.scheduler_address, asynchronous=True) as client:
            with pytest.raises(ValueError, match="asynchronous=False"):
                AsyncLassoRegressor(ALPHA, client=client if given else None).fit(*rows())

    for given in (True, False):
        asyncio.run(fit(given))


@pytest.mark.parametrize("where", ["worker", "scheduler"])
def test_the_package_is_missing(where, tmp_path):
    """A cluster of processes that cannot import it, with workers that nobody starts again."""
    import socket
    import subprocess

    block = tmp_path / "block.py"
    block.write_text("import sys; sys.modules['dask_lasso'] = None")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    host, port = address.split(":")
    dask_of = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    worker_of = [sys.executable, "-m", "distributed.cli.dask_worker"]
    lacks = ["--preload", str(block)]
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
    scheduler = [*dask_of, "--host", host, "--port", port, "--no-dashboard"]
    worker = [*worker_of, f"tcp://{address}", "--nthreads", "1", "--no-dashboard", "--no-nanny"]
    processes = [
        subprocess.Popen(scheduler + (lacks if where == "scheduler" else []), **quiet),
        subprocess.Popen(worker + lacks, **quiet),
    ]
    try:
        with Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
            for _ in range(2):
                with pytest.raises(ModuleNotFoundError, match=f"missing on .*{where}"):
                    AsyncLassoRegressor(ALPHA, client=client).fit(*rows())
            assert len(client.scheduler_info()["workers"]) == 1  # nobody has died of it
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def one_worker():
    """A cluster of one process, which a nanny starts anew."""
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster


@pytest.mark.slow
@pytest.mark.parametrize("end", ["close", "restart"])
@pytest.mark.parametrize("call", UNLIMITED)
def test_a_client_that_is_closed_or_restarted(call, end, one_worker):
    client = Client(one_worker, set_as_default=False)
    client.wait_for_workers(1)
    model = AsyncLassoRegressor(ALPHA, client=client).fit(*rows())
    timer = threading.Timer(0.5, getattr(client, end))
    timer.start()
    began = time.monotonic()
    dX, dy = rows()
    with pytest.raises(RuntimeError, match=r"lost its scheduler|cancelled|gave up"):
        UNLIMITED[call](model, dX.map_blocks(slow, 1.5, dtype=float, meta=X[:0]), dy)
    assert time.monotonic() - began < SOON
    timer.join()
    client.close()
