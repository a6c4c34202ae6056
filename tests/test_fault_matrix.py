"""A part of the table of faults.py: no fit hangs, none is wrong, nothing is left."""

from __future__ import annotations

import faults
import pytest

pytestmark = pytest.mark.slow

CELLS = [
    ("killed", ["poisson", "wide logistic", "classes cv", "wide logistic cv"]),
    ("restarted", ["wide cv"]),
    ("closed", ["huber", "wide cv"]),
]


@pytest.mark.filterwarnings("ignore:X has 2100 columns:UserWarning")
@pytest.mark.parametrize(("fault", "fits"), CELLS, ids=[fault for fault, _ in CELLS])
def test_cells(fault, fits):
    for name, _, word, is_right, _ in faults.cells(fits, [fault]):
        assert is_right, f"{name}, {fault}: {word}"
