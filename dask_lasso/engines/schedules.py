"""The three schedules of the loop, and the loop's two ends that they stand between.

An engine decides when results are taken in, when the estimate is renewed and which
blocks are sent out again. What a block computes and what the estimate is (a proximal
step of consensus ADMM, or the exact lasso of the rows seen so far) is the model's
affair; engines know neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from .run import Run


@runtime_checkable
class Engine(Protocol):
    """What `AsyncLassoRegressor(engine=...)` accepts besides a name.

    `run` is called once per fit, when the first task of every block is in flight.
    It takes results as they come from ``run.completed()``, hands each to
    ``run.absorb``, renews the estimate with ``run.update`` until that returns True,
    and sends blocks that are idle with ``run.submit``.

    Examples
    --------
    >>> from dask_lasso import AsyncLassoRegressor
    >>> class OneByOne:
    ...     def run(self, run):
    ...         for result in run.completed():
    ...             run.absorb(result)
    ...             if run.update():
    ...                 break
    ...             run.submit(run.idle(run.free_slots))
    >>> model = AsyncLassoRegressor(alpha=0.1, engine=OneByOne())
    >>> model.fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0]).coef_.round(2)
    array([0.85])
    """

    def run(self, run: Run) -> None: ...


class SyncEngine:
    """All blocks, then one new estimate, then all blocks again.

    Boyd, Parikh, Chu, Peleato & Eckstein (2011), section 7.1.
    """

    def run(self, run: Run) -> None:
        done = False
        while not done:
            for result in run.completed():  # the barrier: until nothing is in flight
                run.absorb(result)
            done = run.update()
            if not done:
                run.submit(run.idle())


class AsyncEngine:
    """One result, then a new estimate, then a new task.

    A coordinate update of a fixed-point operator: ARock (Peng, Xu, Yan & Yin 2016);
    Wu, Liu, Magnusson & Johansson (2023) prove it for delays of any length.
    """

    def run(self, run: Run) -> None:
        for result in run.completed(offer=True):
            run.absorb(result)
            if run.update():
                break
            run.submit(run.idle(run.free_slots))


class BatchedEngine:
    """All results that have arrived, then a new estimate, then as many new tasks."""

    def run(self, run: Run) -> None:
        for batch in run.completed(offer=True).batches():
            for result in batch:
                run.absorb(result)
            if run.update():
                break
            run.submit(run.idle(run.free_slots))


ENGINES: dict[str, Callable[[], Engine]] = {
    "sync": SyncEngine,
    "async": AsyncEngine,
    "batched": BatchedEngine,
}
