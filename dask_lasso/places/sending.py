"""What is in this process's memory, sent to the workers once a fit."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from .graphs import retries
from .reuse import hold
from .waiting import Waiting

# Bytes up to which values go along with the tasks that need them.
_ALONG = 2**20
# Bytes of values in one message; dask warns of graphs of 10 MB.
_MESSAGE = 2**22


def send_rows(values: Any, sizes: tuple, waiting: Waiting) -> Any:
    """Rows in memory as a dask array in chunks of so many rows, kept until `waiting` releases.

    Many values are tasks of their own, and not scattered: the scheduler can send them again
    to another worker.
    """
    import dask.array as da

    rest = (-1,) * (values.ndim - 1)
    array = da.from_array(values, chunks=(tuple(sizes), *rest), asarray=False)
    if not isinstance(values, np.ndarray) or values.nbytes <= _ALONG:
        return array
    name = "lasso-sent-" + array.name
    pieces: dict[tuple, np.ndarray] = {}
    graph: dict = {}
    for chunk, (start, stop) in enumerate(pairwise(np.r_[0, np.cumsum(sizes)])):
        key = (name, chunk) + (0,) * (values.ndim - 1)
        parts = _pieces(np.asarray(values[start:stop]))
        keys = [key] if len(parts) == 1 else [(name, chunk, "piece", i) for i in range(len(parts))]
        pieces.update(zip(keys, parts, strict=True))
        if len(parts) > 1:
            graph[key] = (np.concatenate, keys)
    futures = _send(waiting.client, pieces)
    waiting.futures.update(futures)
    hold(futures)
    graph.update((future.key, future) for future in futures)
    return da.Array(graph, name, array.chunks, meta=array._meta)


def _pieces(rows):
    n_pieces = max(1, -(-rows.nbytes // _MESSAGE))
    return np.array_split(rows, n_pieces)


def _send(client, values):
    """Futures of values by key; what a `reuse_statistics` holds is there already."""
    from distributed import Future

    # The reference comes first, lest another thread releases the last one.
    there = [Future(key, client) for key in values if key in client.futures]
    found = [future for future in there if future.status in ("pending", "finished")]
    missing = {key: values[key] for key in values.keys() - {future.key for future in found}}
    message, n_bytes = [], 0
    for key, value in missing.items():
        if message and n_bytes + value.nbytes > _MESSAGE:
            found += _map(client, message)
            message, n_bytes = [], 0
        message.append((key, value))
        n_bytes += value.nbytes
    return found + _map(client, message) if message else found


def _map(client, message):
    keys, values = zip(*message, strict=True)
    return client.map(_same, values, key=list(keys), priority=10, retries=retries())


def _same(value):
    return value
