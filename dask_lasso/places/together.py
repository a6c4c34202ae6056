"""Fits of several training sets side by side, whose passes over the rows are shared.

Each fit runs in a thread of its own, on a place that is its training set. What it asks of the
rows waits until all others have asked too, or have ended; then one pass does for all.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, cast

from ..rows.cells import Partition
from ..rows.training import OfSet, merge_of_sets, of_sets
from .place import Place


class _Asked(NamedTuple):
    """What a fit waits for: of its rows, or of a sample of all, with the arguments that has."""

    call: OfSet
    of_sample: dict | None
    in_order: bool
    answer: Future


class Together:
    """The training sets of a partition: all rows, then that of each split.

    Attributes
    ----------
    n_passes : int
        Over the rows, so far.
    """

    def __init__(self, place: Place, partition: Partition) -> None:
        self._place, self._partition = place, partition
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self.n_passes = 0
        sets = partition.sets()[0]
        self._places = [
            cast(Place, _TrainingSet(place, (which[0], partition.counts(which)), self._asked))
            for which in sets
        ]

    def run(self, function: Callable[[int, Place], Any], sets: Sequence[int]) -> list:
        """The results of ``function(number, place)`` for each of some sets."""
        executor = ThreadPoolExecutor(len(sets), thread_name_prefix="dask-lasso-set")
        waiting: list[_Asked] = []
        try:
            futures = [executor.submit(function, which, self._places[which]) for which in sets]
            for future in futures:
                future.add_done_callback(lambda _: self._asked.put(None))
            n_at_work = len(futures)
            while n_at_work:
                asked = self._asked.get()
                n_at_work -= 1
                if asked is not None:
                    waiting.append(asked)
                if waiting and not n_at_work:
                    answers, n_at_work = self._read(waiting), len(waiting)
                    # No fit asks again before it has its answer.
                    now, waiting = waiting, []
                    for asked, answer in zip(now, answers, strict=True):
                        asked.answer.set_result(answer)
            return [future.result() for future in futures]
        except BaseException as error:
            # Nobody reads the rows any more: who waits, or will ask, ends.
            for asked in waiting:
                asked.answer.set_exception(error)
            for place in self._places:
                cast(Any, place).ended_by = error
            raise
        finally:
            executor.shutdown(wait=False, cancel_futures=True)

    def _read(self, waiting):
        """The answers to all that is asked."""
        answers: dict[int, Any] = {}
        shared = [number for number, asked in enumerate(waiting) if asked.of_sample is None]
        for number, (call, of_sample, *_) in enumerate(waiting):
            if of_sample is not None:
                answers[number] = self._place.sample(call.task, call.merge, *call.args, **of_sample)
        if shared:
            calls = [waiting[number].call for number in shared]
            in_order = any(waiting[number].in_order for number in shared)
            merge = partial(merge_of_sets, calls=[call._replace(args=()) for call in calls])
            self.n_passes += 1
            found = self._place.reduce(
                of_sets, merge, calls, in_order=in_order, partition=self._partition
            )
            answers |= dict(zip(shared, found, strict=True))
        return [answers[number] for number in range(len(waiting))]


class _TrainingSet:
    """A `Place` of some of the rows of another, for passes over them."""

    def __init__(self, place, counts, asked):
        self._place, self._counts, self._asked = place, counts, asked
        self.ended_by: BaseException | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._place, name)

    def reduce(self, task: Callable, merge: Callable, *args: Any, in_order: bool = False) -> Any:
        return self._ask(OfSet(self._counts, task, merge, args), None, in_order)

    def sample(self, task: Callable, merge: Callable, *args: Any, **how: Any) -> Any:
        """Of all rows: a first estimate is as good from there."""
        return self._ask(OfSet(self._counts, task, merge, args), how)

    def _ask(self, call, of_sample, in_order=False):
        if self.ended_by is not None:
            raise self.ended_by
        answer: Future = Future()
        self._asked.put(_Asked(call, of_sample, in_order, answer))
        return answer.result()
