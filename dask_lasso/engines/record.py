"""What is known of a fit while it goes on: its estimates, and who is told of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

HISTORY = {
    "time": np.float64,
    "n_updates": np.int64,
    "n_evaluations": np.int64,
    "samples_seen": np.int64,
    "objective": np.float64,
    "primal_residual": np.float64,
    "dual_residual": np.float64,
    "rho": np.float64,
    "staleness": np.float64,
}


class Estimate(NamedTuple):
    """Coefficients, and how far from the minimum they can be.

    Attributes
    ----------
    coef : ndarray of shape (k, m)
    intercept : ndarray of shape (m,)
    gap : ndarray of shape (m,)
        NaN where the residuals of ADMM take its place; of stationarity, how far it is off.
    certificate : {"duality gap", "residuals", "stationarity"}
    choice : dict
        What cross-validation or a criterion has chosen, as fitted attributes.
    """

    coef: np.ndarray
    intercept: np.ndarray
    gap: np.ndarray
    certificate: str = "duality gap"
    choice: dict = {}


Observer = Callable[[dict, Estimate], bool]


class Record:
    """The history of a fit.

    Parameters
    ----------
    observe : callable
        Told of each row of the history and its `Estimate`; returns True to end the fit.
    """

    def __init__(self, observe: Observer) -> None:
        self._observe = observe
        self._began = time.perf_counter()
        self._rows: list[dict] = []

    @property
    def seconds(self) -> float:
        """Since the fit began."""
        return time.perf_counter() - self._began

    def add(self, row: dict, estimate: Estimate) -> bool:
        """Add a row, of now if it has no time; True if the fit is to end."""
        row.setdefault("time", self.seconds)
        self._rows.append(row)
        return self._observe(row, estimate)

    @property
    def history(self) -> dict[str, np.ndarray]:
        """A column for each name, of equal length."""
        return history_of(self._rows)


def history_of(rows: list[dict]) -> dict[str, np.ndarray]:
    """Columns of a history, of its rows; NaN or zero where a row has no value."""
    none = {name: np.nan if dtype is np.float64 else 0 for name, dtype in HISTORY.items()}
    return {
        name: np.array([row.get(name, none[name]) for row in rows], dtype)
        for name, dtype in HISTORY.items()
    }
