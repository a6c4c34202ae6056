"""A pass over the rows for what is known of every column by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..places.place import Place, usable_pass
from ..problem.moments import is_rounding, squares_about_zero, summable
from ..rows.columns import ColumnMoments, column_moments, merge_columns
from .fit import Problem


def first_pass(
    place: Place, fit_intercept: bool, task: Callable = column_moments, *args: Any
) -> tuple[ColumnMoments, ColumnMoments]:
    """Moments of every column by itself: about the means, and about where they are centred.

    Other tasks than `column_moments` are given `args` too.

    Raises
    ------
    ValueError
        Of values that cannot be used, or where there are no rows.
    """
    moments = usable_pass(place, task, merge_columns, *args)
    constant = is_rounding(moments.xx, moments.x_mean, moments.weight)
    moments.xx[constant] = moments.xy[constant] = 0.0
    if fit_intercept:
        summable(moments.xx, "X")
        summable(moments.yy, "y")
        return moments, moments
    weight, x, y = moments.weight, moments.x_mean, moments.y_mean
    return moments, moments._replace(
        x_mean=np.zeros_like(x),
        y_mean=np.zeros_like(y),
        xx=squares_about_zero(moments.xx, x, weight, "X"),
        xy=moments.xy + weight * np.outer(x, y),
        yy=squares_about_zero(moments.yy, y, weight, "y"),
    )


def in_units(place: Place, problem: Problem) -> Problem:
    """The problem in the units of its columns: one more pass, where these are wanted."""
    if getattr(problem.penalty, "adaptive", False):
        raise ValueError(
            "penalty_weights='adaptive' are made of statistics: they need loss='squared',"
            " polish=True and no local_solver='lbfgs'. Pass weights of a first fit, 1 / abs(coef_)."
        )
    if not problem.penalty.standardize:
        return problem
    moments, _ = first_pass(place, fit_intercept=True)
    return problem.in_units(moments.xx, moments.weight)
