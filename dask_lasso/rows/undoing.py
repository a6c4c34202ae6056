"""Statistics in which some rows count less, or no more."""

from __future__ import annotations

import numpy as np

from .statistics import Statistics

# Share of a sum of squares that has to be left: of what is left, 2e-16 over this is rounding.
_LEFT = 1e-6


def decayed(statistics: Statistics, decay: float) -> Statistics:
    """The same rows with their weights multiplied by `decay`: exact."""
    names = ("weight", "sxx", "sxy", "syy")
    return statistics._replace(**{name: decay * getattr(statistics, name) for name in names})


def without(statistics: Statistics, rows: Statistics) -> Statistics:
    """What is left of statistics without some of their rows.

    The merge of Chan, Golub & LeVeque (1983) the other way round. Sums of squares of what is
    taken away cancel, and so do their digits.

    Raises
    ------
    ValueError
        Where more than ten of sixteen digits are lost, or the rows were not among those seen.
    """
    weight = statistics.weight - rows.weight
    n_rows = statistics.n_rows - rows.n_rows
    if n_rows < 1 or not weight > _LEFT * statistics.weight:
        raise ValueError(
            f"forget: of {statistics.n_rows} rows seen, {rows.n_rows} are to be forgotten, and"
            " no weight would be left: use a new estimator."
        )
    share = rows.weight / weight
    x_off, y_off = statistics.x_mean - rows.x_mean, statistics.y_mean - rows.y_mean
    # The scatter of both parts' means, from that of one of them and of all.
    scatter = rows.weight * statistics.weight / weight
    sxx = statistics.sxx - rows.sxx - scatter * np.outer(x_off, x_off)
    sxy = statistics.sxy - rows.sxy - scatter * np.outer(x_off, y_off)
    syy = statistics.syy - rows.syy - scatter * y_off**2
    for name, left, before in (
        ("X", np.diagonal(sxx), np.diagonal(statistics.sxx)),
        ("y", syy, statistics.syy),
    ):
        lost = np.flatnonzero((before > 0) & (left < _LEFT * before))
        if len(lost):
            raise ValueError(
                f"forget: too few digits would be left of column {lost[0]} of {name}, whose"
                f" variation is nearly all in the rows to be forgotten ({left[lost[0]]:.2g} of"
                f" {before[lost[0]]:.2g}), or they were not among those seen: fit the rows that"
                " are left, or merge the statistics of each batch."
            )
    return statistics._replace(
        n_rows=n_rows,
        weight=weight,
        x_mean=statistics.x_mean + share * x_off,
        y_mean=statistics.y_mean + share * y_off,
        sxx=sxx,
        sxy=sxy,
        syy=syy,
        n_weighted=statistics.n_weighted - rows.n_weighted,
    )
