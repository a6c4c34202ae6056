"""How far a fit is: what it prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..engines.record import Estimate


def print_line(row: Mapping[str, Any], estimate: Estimate) -> None:
    """A line of a row of the history."""
    parts = [
        f"{row['time']:8.2f} s",
        f"{row['samples_seen']} rows",
        f"{row['n_updates']} updates",
        f"objective {row['objective']:.6g}",
        f"dual gap {np.max(estimate.gap):.2e}",
    ]
    print("AsyncLasso: " + ", ".join(parts))
