"""Whether a fit has converged, in the words of a `ConvergenceWarning`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..solvers.fit import Fit


def why_not_converged(
    found: Fit, rounded: ArrayLike, tol: float, max_iter: int, max_time: float | None
) -> str | None:
    """What a `ConvergenceWarning` has to say, if anything.

    Gaps `rounded` are those of the fit with its intercept as a value of the data's type.
    """
    gap, stopped_by = np.atleast_1d(found.estimate.gap), found.stopped_by
    allowed = np.atleast_1d(tol * found.null_loss)
    if stopped_by == "callback":
        return None
    by, remedy = {
        "max_time": (f"max_time={max_time}", "Increase max_time"),
        "size": ("the most columns that a working set may have", "Increase alpha"),
        "standstill": (
            "passes that brought no progress (rounding, or rows that differ from pass to pass)",
            "Persist rows that are made anew at each pass",
        ),
        "dependence": (
            "columns without a penalty that are nearly combinations of others",
            "Leave some of them out, use an alpha above zero",
        ),
        "engine": ("its engine", "Let engine.run go on until run.update() returns True"),
    }.get(stopped_by, (f"max_iter={max_iter}", "Increase max_iter"))
    if stopped_by in ("max_time", "engine") and found.n_missing:
        return (
            f"fit was stopped by {by} after {found.n_samples_seen} rows,"
            f" with {found.n_missing} of {len(found.staleness)} blocks not read."
            f" {remedy} for the lasso of all rows."
        )
    if found.estimate.certificate == "residuals":
        if found.converged:
            return None
        return (
            f"ADMM did not converge: fit was stopped by {by} with residuals above"
            f" tol={tol} relative to the iterates. {remedy}, increase tol, or scale the"
            " features."
        )
    if found.estimate.certificate == "stationarity":
        if gap.max() <= tol:
            return None
        return (
            "Local linear approximations did not settle within max_iter="
            f"{max_iter}: stationarity_ is {gap.max():.3e}, above tol={tol}."
            " Increase max_iter or tol."
        )
    above = gap - allowed
    if stopped_by not in ("max_time", "size", "standstill") and above.max() <= 0:
        gap = np.atleast_1d(rounded)
        # Of a y that does not vary any rounding is more than nothing.
        above = np.where(np.atleast_1d(found.null_loss) > 0, gap - allowed, 0.0)
        if above.max() <= 0:
            return None
        return (
            "float32 has too few digits for the intercept. Duality gap with what it is rounded to:"
            f" {gap.max():.3e}, tolerance: {allowed[np.argmax(above)]:.3e}. Pass X as float64, or y"
            " less a constant near its mean."
        )
    return (
        f"Objective did not converge: fit was stopped by {by}. Duality gap:"
        f" {gap.max():.3e}, tolerance: {allowed[np.argmax(above)]:.3e}. {remedy},"
        " increase tol, or scale the features."
    )
