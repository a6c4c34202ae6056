"""Penalties that differ between features, reduced to a problem in which they are equal."""

from __future__ import annotations

import numpy as np
from scipy import linalg


def penalty_weights(values, n_features: int, positive: bool) -> np.ndarray | None:
    """The argument `penalty_weights`, checked; None where all weights are one."""
    if values is None:
        return None
    weights = np.asarray(values, dtype=np.float64)
    if weights.shape != (n_features,):
        raise ValueError(
            f"penalty_weights has shape {weights.shape}, and X has {n_features} features: pass"
            " one weight per feature."
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError("penalty_weights has negative or non-finite values: use weights >= 0.")
    if positive and (weights == 0).any():
        raise ValueError(
            "penalty_weights has zeros, which positive=True does not support: use a small"
            " weight, such as 1e-6, instead."
        )
    return None if (weights == 1).all() else weights


class Reduction:
    """A problem whose features are penalised by weights, as one in which they are alike.

    A penalised column is divided by its weight. An unpenalised one is projected out of all
    others and of the targets: at the optimum its coefficient is the least-squares one for
    the coefficients of the others (Frisch & Waugh 1933).
    """

    def __init__(self, problem, weights):
        self._free, self._penalised = np.flatnonzero(weights == 0), np.flatnonzero(weights)
        self._scale = weights[self._penalised, np.newaxis]
        free, rest = self._free, self._penalised
        gram, xy, yy = problem.gram[np.ix_(rest, rest)], problem.xy[rest], problem.yy
        self._gram_free = problem.gram[np.ix_(free, free)]
        if len(free):
            cross = problem.gram[np.ix_(free, rest)]
            both = linalg.lstsq(self._gram_free, np.hstack([cross, problem.xy[free]]))[0]
            self._on_rest, self._on_targets = both[:, : len(rest)], both[:, len(rest) :]
            gram = gram - cross.T @ self._on_rest
            gram = (gram + gram.T) / 2
            diagonal = np.einsum("ii->i", gram)
            np.maximum(diagonal, 0.0, out=diagonal)
            xy = xy - cross.T @ self._on_targets
            yy = np.maximum(yy - np.einsum("kt,kt->t", problem.xy[free], self._on_targets), 0.0)
        gram = gram / (self._scale * self._scale.T)
        self.problem = problem._replace(gram=gram, xy=xy / self._scale, yy=yy)

    def reduce(self, coef) -> np.ndarray:
        """Coefficients of the reduced problem."""
        return coef[self._penalised] * self._scale

    def expand(self, reduced, target=slice(None)) -> np.ndarray:
        """Coefficients of all features, the unpenalised ones at their best.

        The columns of `reduced` are the targets, or estimates for the one `target`.
        """
        coef = np.zeros((len(self._free) + len(self._scale), reduced.shape[1]))
        coef[self._penalised] = reduced / self._scale
        if len(self._free):
            targets = self._on_targets[:, target].reshape(len(self._free), -1)
            coef[self._free] = targets - self._on_rest @ coef[self._penalised]
        return coef

    def excess(self, coef) -> np.ndarray:
        """What unpenalised coefficients that are not at their best add to the objective."""
        off = (coef - self.expand(self.reduce(coef)))[self._free]
        return np.einsum("kt,kt->t", off, self._gram_free @ off) / (2 * self.problem.weight)
