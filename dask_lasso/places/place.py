"""What solvers and engines know of the place where rows are."""

from __future__ import annotations

from ..rows.statistics import Statistics


def usable(statistics: Statistics, place) -> Statistics:
    """The same, of all rows of a place, if these can be fitted or scored."""
    defect = statistics.defect
    if defect is not None:
        raise ValueError(f"Input {defect.argument} {defect.problem}, {place.locate(0, defect)}.")
    if statistics.n_rows == 0:
        raise ValueError(
            "Found array with 0 sample(s) while a minimum of 1 is required: no chunk of X has"
            " a row."
        )
    if statistics.weight == 0:
        raise ValueError("sample_weight is zero for every row: give some row a positive weight.")
    return statistics
