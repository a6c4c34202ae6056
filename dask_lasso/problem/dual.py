"""Lower bounds of the dual on raw rows, from sums over them that one look gives.

The dual point is ``theta = -loss'`` at the estimate. With an intercept it has to sum to
zero, so it is shifted, along a direction d of each row by some delta; then it is scaled until
no correlation with a column exceeds what the penalty allows. Both are known only when all
rows have been seen. `Quadratic` knows the dual of residual losses as a function of the two;
`Sampled` has the conjugate of any other loss at a few shifts, and a convex function lies below
its chords. A dual here is ``-sum_i s_i conjugate(-theta_i)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from .losses import Certified, Loss, Residual

# Shifts at which the conjugate is known. Between zero and its neighbours a chord is as much off
# as the shift is from them, squared, of the curvature; those of one are feasible where the
# curvature is the conjugate's domain around theta (logistic, Poisson).
_SHIFTS = np.array([-1.0, -1e-3, 0.0, 1e-3, 1.0])


def dual_of(loss: Loss) -> Quadratic | Sampled | None:
    """The dual of a loss; None where there is none."""
    if isinstance(loss, Residual):
        return Quadratic(loss.delta)
    return Sampled(cast(Certified, loss)) if hasattr(loss, "conjugate") else None


@dataclass(frozen=True)
class Quadratic:
    """The dual of a residual loss: theta is the residual, clipped, and d is one."""

    delta: float

    def sums(
        self,
        eta: np.ndarray,
        y: np.ndarray,
        theta: np.ndarray,
        curvature: np.ndarray,
        weight: np.ndarray | None,
        offset: np.ndarray | None = None,
    ) -> np.ndarray:
        """What `value` needs of some rows, of shape (2, m); y is less the offset."""
        weighted = theta if weight is None else weight * theta
        return np.array(
            [np.einsum("it,it->t", weighted, y), np.einsum("it,it->t", weighted, theta)]
        )

    def scale(self, sums: np.ndarray, moved: np.ndarray, feasible: np.ndarray) -> np.ndarray:
        """The best scale of theta, which has been moved by so much, that is feasible."""
        with_y, squares = sums
        # Within the box of Huber's loss.
        inside = np.inf if np.isinf(self.delta) else self.delta / (self.delta + moved)
        best = with_y / np.maximum(squares, np.finfo(float).tiny)
        return np.clip(best, 0.0, np.minimum(feasible, inside))

    def value(self, sums: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """The dual (m,) at a scale, of the sums of theta as it has been moved."""
        with_y, squares = sums
        return scale * with_y - 0.5 * scale**2 * squares


@dataclass(frozen=True)
class Sampled:
    """The dual of a loss with a conjugate; d is the curvature."""

    loss: Certified

    def sums(
        self,
        eta: np.ndarray,
        y: np.ndarray,
        theta: np.ndarray,
        curvature: np.ndarray,
        weight: np.ndarray | None,
        offset: np.ndarray | None = None,
    ) -> np.ndarray:
        """Sums of the conjugate at each of the shifts, and at zero, of shape (6, m)."""
        s = 1.0 if weight is None else weight
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            # Not shifted, Fenchel's inequality is an equation.
            values = [
                self.loss.conjugate(shift * curvature - theta, y)
                if shift
                else -theta * eta - self.loss.value(eta, y)
                for shift in _SHIFTS
            ]
            if offset is not None:  # of a function of eta less the offset
                for value, shift in zip(values, _SHIFTS, strict=True):
                    value += (theta - shift * curvature) * offset
            values.append(self.loss.conjugate(np.zeros_like(theta), y))
        return np.array([(s * value).sum(axis=0) for value in values])

    def at_shift(self, sums: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Sums of the conjugate (m,) at most, at one shift for each target."""
        inside = np.clip(np.searchsorted(_SHIFTS, shift, side="right"), 1, len(_SHIFTS) - 1)
        low, high = _SHIFTS[inside - 1], _SHIFTS[inside]
        share = (shift - low) / (high - low)
        targets = np.arange(len(shift))
        below, above = sums[inside - 1, targets], sums[inside, targets]
        # An end that is infinite does not count where it has no share.
        chord = np.where(share < 1, (1 - share) * below, 0.0) + np.where(
            share > 0, share * above, 0.0
        )
        return np.where((shift < _SHIFTS[0]) | (shift > _SHIFTS[-1]), np.inf, chord)

    def value(self, sums: np.ndarray, shift: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """The dual (m,) at least, at a shift and then a scale of at most one."""
        with np.errstate(invalid="ignore"):
            shifted = np.where(scale > 0, scale * self.at_shift(sums, shift), 0.0)
            at_zero = np.where(scale < 1, (1 - scale) * sums[-1], 0.0)
        return -(shifted + at_zero)
