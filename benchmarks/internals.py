"""All that the benchmarks take from inside the package; nothing else there is private.

A user needs none of it. The bare pass is the package's own statistics of a chunk, so that a fit
is compared with the work that it cannot do without; the simulation puts a virtual clock and a
virtual cluster under the real engines; and two cases switch off the part that they measure.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from unittest import mock

import dask

from dask_lasso.engines import record as _record
from dask_lasso.engines import run as _engines
from dask_lasso.engines.run import Blocks, Run
from dask_lasso.engines.schedules import ENGINES
from dask_lasso.places import memory as _memory
from dask_lasso.places.cluster import OnCluster
from dask_lasso.places.input import part_of
from dask_lasso.places.joined import Joined
from dask_lasso.places.memory import InMemory
from dask_lasso.places.waiting import TimeIsUp, Waiting
from dask_lasso.rows.chunk import read
from dask_lasso.rows.statistics import merge_statistics as merge
from dask_lasso.rows.statistics import statistics_of_chunk
from dask_lasso.solvers import fit as _fit
from dask_lasso.solvers import path as _path
from dask_lasso.solvers import width as _width
from dask_lasso.solvers.anderson import Anderson

__all__ = [
    "InMemory",
    "Run",
    "TimeIsUp",
    "bare_pass",
    "fitted_inside",
    "from_rows",
    "merge",
    "place_on",
    "run_engine",
    "widest_gram",
    "without_acceleration",
]


def from_rows(X, y):
    """`Statistics` of rows in any collection."""
    return statistics_of_chunk(read(X, y))


def bare_pass(X, y):
    """A function that takes the statistics of all rows by plain `delayed` and `compute`."""
    # Optimised together: by themselves, X and y would each produce the chunks of X.
    X, y = dask.optimize(X, y)

    def run():
        chunks = zip(
            X.to_delayed(optimize_graph=False).ravel(),
            y.to_delayed(optimize_graph=False).ravel(),
            strict=True,
        )
        merge(dask.compute(*[dask.delayed(from_rows)(a, b) for a, b in chunks]))

    return run


@contextmanager
def place_on(client, X, y):
    """The place that a fit of these dask arrays would work in."""
    waiting = Waiting(client)
    with OnCluster(waiting, Joined([part_of("X", X), part_of("y", y)], waiting)) as place:
        yield place


@contextmanager
def fitted_inside(place=InMemory, run=Run, clock=time):
    """Fits of rows in memory use another place, another run, another clock."""
    with (
        mock.patch.object(_memory, "InMemory", place),
        mock.patch.object(_fit, "Run", run),
        mock.patch.object(_engines, "time", clock),
        mock.patch.object(_record, "time", clock),
    ):
        yield


def run_engine(engine, place, load, model, run=Run, clock=time):
    """A model of the caller's own, without an estimator around it, until it has converged."""
    with mock.patch.object(_engines, "time", clock), mock.patch.object(_record, "time", clock):
        schedule = ENGINES[engine]()
        settings = _fit.Settings(schedule, tol=0.0, max_iter=10**9)
        record = _record.Record(lambda row, estimate: False)
        schedule.run(run(place, Blocks(*load(place)), model, settings, record))


def without_acceleration():
    """Synchronous ADMM takes every step as it comes."""
    return mock.patch.object(Anderson, "next", lambda self, point, image: image)


def other_route_of_paths():
    """Paths by the Gram of all columns in place of working sets, or the other way round."""
    is_wide = _width.is_wide_path
    return mock.patch.object(_path, "is_wide_path", lambda place: not is_wide(place))


def widest_gram(n_columns=_width.MAX_GRAM):
    """From one column more on, fits use working sets."""
    return mock.patch.object(_width, "MAX_GRAM", n_columns)
