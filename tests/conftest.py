"""Fixtures shared by all tests: one cluster of two worker processes, and its Client."""

from __future__ import annotations

import gc
import signal
import time

import pytest

# All engines; one of them is enough for the slowest tests on the lower bounds.
ENGINES = [*(pytest.param(name, marks=pytest.mark.slow) for name in ("sync", "async")), "batched"]


@pytest.fixture(scope="session", autouse=True)
def _modules_are_no_garbage():
    """Collections look at what tests leave, not at every module that was imported."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _interrupts():
    """Ctrl-C interrupts, also where a shell started the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def cluster():
    """Two worker processes of one thread each."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def thread_workers():
    """A Client whose two workers are threads of this process."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def _session_client(cluster):
    from distributed import Client

    with Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def client(_session_client):
    """A Client of two worker processes, not the active one unless a test makes it so.

    Whatever a test does with it, nothing may be left on the scheduler afterwards.
    """
    yield _session_client
    assert_nothing_left(_session_client)


def assert_nothing_left(client, besides=()):
    """No future is held by `client`, no task is known to its scheduler, soon."""
    began = time.monotonic()
    while left := set(left_on(client)).difference(map(str, besides)):
        waited = time.monotonic() - began
        assert waited < 10, f"left on the scheduler: {client.run_on_scheduler(_states, left)}"
        if waited > 0.1:  # a message takes that long; what is in a cycle does not go by itself
            gc.collect()
        time.sleep(0.02)


def left_on(client) -> list:
    """Keys of the futures that `client` holds and of all tasks that its scheduler knows."""
    return list(map(str, list(client.futures))) + client.run_on_scheduler(_keys)


def _states(left, dask_scheduler):
    """What is to be known of tasks that should be gone."""
    tasks = {key: task for key, task in dask_scheduler.tasks.items() if str(key) in left}
    return {
        key: str((task.state, task.who_wants, task.dependents, task.waiters, task.who_has))
        for key, task in tasks.items()
    } or left


def _keys(dask_scheduler):
    return [str(key) for key, task in dask_scheduler.tasks.items() if not _is_husk(key, task)]


def _is_husk(key, task):
    """Whether it is the name alone of a task of the user's rows.

    On a busy machine distributed fails to forget some that have no result and that nobody
    wants or waits for, after a data frame's own `compute`.
    """
    wanted = task.who_wants or task.waiters or task.who_has
    return task.state == "released" and not wanted and "lasso" not in str(key)


def reads(path):
    """How often each chunk was read."""
    return {file.name: len(file.read_text()) for file in path.iterdir()}


def logged(path, array):
    """The array, whose chunks write down when they are made."""

    def log(block, block_info=None):
        with open(path / str(block_info[0]["chunk-location"][0]), "a") as file:
            file.write(".")
        return block

    return array.map_blocks(log, dtype=array.dtype, meta=array._meta)
