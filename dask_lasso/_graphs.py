"""What is in the graphs of collections beside their tasks: futures, which belong to a Client."""

from __future__ import annotations

from collections.abc import Iterator


def client_of(*collections, client=None):
    """The Client whose workers hold the futures in collections; None where there are none.

    Parameters
    ----------
    *collections
        Dask collections; anything else holds no futures.
    client : distributed.Client or None
        The Client to work on, where that is settled.

    Raises
    ------
    ValueError
        If no Client has all of them, or `client` is not of their cluster.
    """
    found = {}  # address of a scheduler -> one of its Clients
    for future in _futures(collections):
        # Of a future that came out of a pickle nobody knows where it was.
        owner = future.client
        if owner is not None and owner.scheduler is not None:
            found.setdefault(owner.scheduler.address, owner)
    if len(found) > 1:
        raise ValueError(
            "X, y and sample_weight were persisted on different clusters"
            f" ({', '.join(map(repr, found))}): persist all of them on one Client."
        )
    owner = next(iter(found.values()), None)
    if owner is None or client is None:
        return owner
    if client.scheduler is None or client.scheduler.address not in found:
        raise ValueError(
            f"client is {client!r}, but the data was persisted on {owner!r}: pass the Client it was"
            " persisted on, or client=None, which takes that one."
        )
    return client


def check_here(*collections):
    """Raise ValueError if collections hold futures of no Client of this process."""
    if any(future.client is None for future in _futures(collections)):
        raise ValueError(
            "X, y or sample_weight were persisted on a Client of another process, and this one has"
            " none: connect one to the same scheduler here, with distributed.Client(address), or"
            " fit in threads (joblib's backends 'threading' and 'dask')."
        )


def _futures(collections) -> Iterator:
    from distributed import Future

    for collection in collections:
        for values in _tables(collection):
            for value in values:
                if isinstance(value, Future):
                    yield value


def _tables(collection) -> Iterator:
    """The values of the parts of a collection's graph in which a future may be."""
    from dask.blockwise import Blockwise

    if hasattr(collection, "expr"):  # a data frame, whose graph is not made yet
        for node in collection.expr.walk():
            for operand in node.operands:
                if isinstance(operand, dict):
                    yield operand.values()
                elif hasattr(operand, "__dask_graph__") and not hasattr(operand, "walk"):
                    yield from _tables(operand)
        return
    graph = collection.__dask_graph__() if hasattr(collection, "__dask_graph__") else {}
    for layer in getattr(graph, "layers", {None: graph}).values():
        # These are made of functions alone, and may be many tasks.
        if not isinstance(layer, Blockwise):
            yield layer.values()
