"""Anderson acceleration of a fixed-point iteration ``s <- F(s)``."""

from __future__ import annotations

import numpy as np

_MEMORY = 10
# How much larger than the last residual the residual at an accelerated point may be.
_SAFEGUARD = 2.0


class Anderson:
    """Type-II Anderson acceleration with a safeguard on the residual.

    Walker & Ni (2011), "Anderson acceleration for fixed-point iterations"; the safeguard
    follows Zhang, O'Donoghue & Boyd (2020): a point that makes the residual grow is given
    up for the plain step from the point before it.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, as when the map changes."""
        self._last: tuple | None = None  # (point, residual) of the last evaluation
        self._steps: list[np.ndarray] = []  # differences of points
        self._changes: list[np.ndarray] = []  # differences of residuals
        self._fallback: tuple | None = None  # (plain step, norm of the residual it came from)

    def next(self, point: np.ndarray, image: np.ndarray) -> np.ndarray:
        """The next point to evaluate, given ``image = F(point)``; both are 1-d."""
        residual = image - point
        norm = np.linalg.norm(residual)
        if self._fallback is not None:
            plain, last_norm = self._fallback
            if not norm <= _SAFEGUARD * last_norm:
                self.reset()
                return plain
        if self._last is not None:
            self._steps.append(point - self._last[0])
            self._changes.append(residual - self._last[1])
            del self._steps[:-_MEMORY], self._changes[:-_MEMORY]
        self._last = (point, residual)
        if not self._steps:
            return image
        changes = np.array(self._changes)
        # A Gram of ten columns; the ridge keeps the nearly dependent ones apart.
        with np.errstate(over="ignore", invalid="ignore"):
            gram = changes @ changes.T
        if not np.isfinite(gram).all():  # of points too far out
            self.reset()
            return image
        gram += 1e-10 * np.trace(gram) * np.eye(len(gram))
        weights = np.linalg.lstsq(gram, changes @ residual, rcond=None)[0]
        self._fallback = (image, norm)
        return image - weights @ (np.array(self._steps) + changes)
