"""Losses of a row: functions of its target y and its linear predictor eta."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.special import expit, logit, xlogy


@runtime_checkable
class Loss(Protocol):
    """A smooth convex loss of a row, for ``AsyncLassoRegressor(loss=...)``.

    All methods work elementwise on float64 arrays `eta`, the linear predictor ``x.w + b``, and
    `y`, both of shape (n_rows, n_targets), and return an array of that shape. They run on the
    workers, so the object has to be picklable, and may not change.

    With one method more, ``conjugate(slope, y)``, fits have a duality gap: the convex
    conjugate ``sup_eta slope * eta - value(eta, y)``, infinite where there is none; and with
    ``polish=True`` they are Newton's, in a few passes. Without it the residuals of ADMM are
    the certificate. With ``inverse_link(eta)``, that is what `predict` returns.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.special import expit, xlogy
    >>> from dask_lasso import AsyncLassoRegressor, Loss
    >>> class Logistic:
    ...     '''log(1 + exp(eta)) - y eta, for y of zeros and ones.'''
    ...
    ...     def value(self, eta, y):
    ...         return np.logaddexp(0, eta) - y * eta
    ...
    ...     def derivative(self, eta, y):
    ...         return expit(eta) - y
    ...
    ...     def curvature(self, eta, y):
    ...         return expit(eta) * expit(-eta)
    ...
    ...     def conjugate(self, slope, y):
    ...         p = slope + y
    ...         inside = (p >= 0) & (p <= 1)
    ...         p = np.clip(p, 0, 1)
    ...         return np.where(inside, xlogy(p, p) + xlogy(1 - p, 1 - p), np.inf)
    >>> isinstance(Logistic(), Loss)
    True
    >>> X = np.arange(-5.0, 5.0)[:, np.newaxis]
    >>> y = (X[:, 0] + np.tile([1.5, -1.5], 5) > 0).astype(float)
    >>> model = AsyncLassoRegressor(0.01, loss=Logistic()).fit(X, y)
    >>> model.certificate_, bool(model.dual_gap_ < 1e-6)
    ('duality gap', True)
    """

    def value(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray: ...  # the loss
    def derivative(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray: ...  # in eta
    def curvature(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray: ...  # second, in eta


class Certified(Loss, Protocol):
    """A `Loss` that knows its conjugate, and so has a dual."""

    def conjugate(self, slope: np.ndarray, y: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Residual:
    """Huber's loss ``r^2 / 2`` of ``r = y - eta`` up to `delta`, and linear beyond.

    An infinite `delta` is the squared loss. With ``c = clip(r, -delta, delta)`` the loss is
    ``c (r - c / 2)`` (Huber 1964; Beck 2017, section 4.4).
    """

    delta: float = np.inf

    def value(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        residual = y - eta
        clipped = np.clip(residual, -self.delta, self.delta)
        return clipped * (residual - 0.5 * clipped)

    def derivative(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.clip(eta - y, -self.delta, self.delta)

    def curvature(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (np.abs(y - eta) < self.delta).astype(np.float64)

    def conjugate(self, slope: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.where(np.abs(slope) <= self.delta, slope * (y + 0.5 * slope), np.inf)

    def feasible(self, slope: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.clip(slope, -self.delta, self.delta)


SQUARED = Residual()


def is_squared(loss: object) -> bool:
    """Whether a loss is the squared one, of which statistics tell all."""
    return isinstance(loss, Residual) and bool(np.isinf(loss.delta))


_EPS, _TINY = np.finfo(np.float64).eps, np.finfo(np.float64).tiny
# Newton steps, of one number.
_STEPS = 30


def _expit(eta):
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-eta))


def _x_log_x(x):
    """``x log x``, zero at zero and infinite below."""
    found = x * np.log(np.maximum(x, _TINY))
    return found if x.min(initial=0.0) >= 0 else np.where(x < 0, np.inf, found)


# -- of a mean, with y >= 0 -----------------------------------------------------------------
#
# Each is linear in y, so that the best constant is the one whose mean is that of y
# (`constant`). `problem` says of targets what is wrong with them, `outside` where; `feasible`
# is the nearest slope where the conjugate is finite. Where `is_endless`, all targets are at an
# end of their range, and so is the best constant.


class Mean(Certified, Protocol):
    """What the losses of a mean know beside."""

    problem: str
    endless: str

    def inverse_link(self, eta: np.ndarray) -> np.ndarray: ...
    def constant(self, mean: np.ndarray) -> np.ndarray: ...
    def is_endless(self, mean: np.ndarray) -> np.ndarray: ...
    def outside(self, y: np.ndarray) -> np.ndarray: ...
    def feasible(self, slope: np.ndarray, y: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Logistic:
    """``log(1 + exp(eta)) - y eta``: minus the log-likelihood of y = 1 at odds ``exp(eta)``."""

    problem = "has values that are not between 0 and 1"

    def value(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        # A third of the time of `numpy.logaddexp`; below, of `scipy.special.expit` and `entr`.
        return np.maximum(eta, 0.0) + np.log1p(np.exp(-np.abs(eta))) - y * eta

    def derivative(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        return _expit(eta) - y

    def curvature(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        small = np.exp(-np.abs(eta))
        return small / np.square(1.0 + small)

    def conjugate(self, slope: np.ndarray, y: np.ndarray) -> np.ndarray:
        p = slope + y
        # What rounding puts beyond an end of [0, 1] is that end.
        if p.min(initial=0.0) < 0 or p.max(initial=0.0) > 1:
            p[(p < 0) & (p >= -_EPS)] = 0.0
            p[(p > 1) & (p <= 1 + _EPS)] = 1.0
        return _x_log_x(p) + _x_log_x(1 - p)

    def feasible(self, slope: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.clip(slope, -y, 1 - y)

    def inverse_link(self, eta: np.ndarray) -> np.ndarray:
        return expit(eta)

    def constant(self, mean: np.ndarray) -> np.ndarray:
        return logit(mean)

    endless = "all rows of positive weight are of one class"

    def is_endless(self, mean: np.ndarray) -> np.ndarray:
        return (mean <= 0) | (mean >= 1)

    def outside(self, y: np.ndarray) -> np.ndarray:
        return (y < 0) | (y > 1)


class _LogLink:
    """What losses of a mean ``exp(eta)`` have in common."""

    def inverse_link(self, eta: np.ndarray) -> np.ndarray:
        return np.exp(eta)

    def constant(self, mean: np.ndarray) -> np.ndarray:
        return np.log(mean)

    endless = "y is zero in all rows of positive weight"

    def is_endless(self, mean: np.ndarray) -> np.ndarray:
        return mean <= 0


@dataclass(frozen=True)
class Poisson(_LogLink):
    """``exp(eta) - y eta``: half the deviance of counts, but for a function of y."""

    problem = "has negative values, which loss='poisson' does not allow"

    def value(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.exp(eta) - y * eta

    def derivative(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.exp(eta) - y

    def curvature(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.exp(eta)

    def conjugate(self, slope: np.ndarray, y: np.ndarray) -> np.ndarray:
        v = slope + y
        return np.where(v >= -_EPS * y, _x_log_x(np.maximum(v, 0)) - v, np.inf)

    def feasible(self, slope: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.maximum(slope, -y)

    def outside(self, y: np.ndarray) -> np.ndarray:
        return y < 0


@dataclass(frozen=True)
class Gamma(_LogLink):
    """``y exp(-eta) + eta``: half the deviance of positive targets, but for a function of y."""

    problem = "has values that are not positive, which loss='gamma' does not allow"

    def value(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        return y * np.exp(-eta) + eta

    def derivative(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        return 1 - y * np.exp(-eta)

    def curvature(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        return y * np.exp(-eta)

    def conjugate(self, slope: np.ndarray, y: np.ndarray) -> np.ndarray:
        v = np.maximum(1 - slope, 0)
        return np.where(slope <= 1, xlogy(v, v / y) - v, np.inf)

    def feasible(self, slope: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.minimum(slope, 1.0)

    def outside(self, y: np.ndarray) -> np.ndarray:
        return y <= 0


@dataclass(frozen=True)
class Tweedie(_LogLink):
    """Half the deviance of a compound Poisson-gamma, of a power between 1 and 2."""

    power: float

    problem = "has negative values, which loss='tweedie' does not allow"

    def value(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.exp((2 - self.power) * eta) / (2 - self.power) + self._down(eta, y)

    def derivative(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.exp((2 - self.power) * eta) - (self.power - 1) * self._down(eta, y)

    def curvature(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        p = self.power
        return (2 - p) * np.exp((2 - p) * eta) + (p - 1) ** 2 * self._down(eta, y)

    def _down(self, eta, y):
        # No infinity: rows whose y is zero have none of it.
        falling = np.minimum(np.exp((1 - self.power) * eta), np.finfo(float).max)
        return y * falling / (self.power - 1)

    def conjugate(self, slope: np.ndarray, y: np.ndarray) -> np.ndarray:
        # With t = exp((2 - p) eta) the supremum solves t - y t^-c = slope; concave in log t.
        p = self.power
        c = (p - 1) / (2 - p)
        with np.errstate(all="ignore"):
            up, down = np.maximum(slope, 0), (y / np.maximum(-slope, 1e-300)) ** (1 / c)
            t = np.where(slope > 0, up + y ** (1 / (1 + c)), np.minimum(down, y ** (1 / (1 + c))))
            for _ in range(_STEPS):
                f = t - y * t**-c - slope
                t = t * np.exp(-f / (t + c * y * t**-c))
            eta = np.log(t) / (2 - p)
            found = slope * eta - self.value(eta, y)
        at_end = np.where(slope >= 0, np.where(slope > 0, found, 0.0), np.inf)
        return np.where(y > 0, found, at_end)

    def feasible(self, slope: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.where(y > 0, slope, np.maximum(slope, 0.0))

    def outside(self, y: np.ndarray) -> np.ndarray:
        return y < 0


@dataclass(frozen=True)
class Pair:
    """A user's ``f(beta, X, y) -> float`` and ``fprime(beta, X, y) -> array``, of one chunk.

    No loss of a row: nothing is known of it but what the two functions return.
    """

    f: Callable
    fprime: Callable


def loss_of(loss: str | tuple | Loss, huber_delta: float, tweedie_power: float) -> Loss | Pair:
    """The argument `loss`: a name, an object that is one, or a pair of functions."""
    if isinstance(loss, str):
        if loss == "tweedie" and tweedie_power in (1, 2):
            loss = "poisson" if tweedie_power == 1 else "gamma"
        named: dict[str, Loss] = {
            "squared": Residual(),
            "huber": Residual(float(huber_delta)),
            "poisson": Poisson(),
            "gamma": Gamma(),
            "tweedie": Tweedie(float(tweedie_power)),
        }
        return named[loss]
    if not isinstance(loss, tuple | list):
        _check_shapes(loss)
        return loss
    if len(loss) != 2 or not all(callable(function) for function in loss):
        raise ValueError(
            "loss must be one of the names, an object with the methods of dask_lasso.Loss, or"
            f" a pair of functions (f, fprime), got {loss!r}."
        )
    return Pair(*loss)


def _check_shapes(loss):
    """Raise if a method of a loss does not work elementwise, on two rows."""
    rows = np.ones((2, 1))
    for name in ("value", "derivative", "curvature", "conjugate"):
        try:
            with np.errstate(all="ignore"):
                found = np.shape(getattr(loss, name)(rows, rows))
        except Exception:  # there is none, or not of these rows: those of the fit will tell
            continue
        if found != rows.shape:
            raise ValueError(
                f"loss: {name} returned an array of shape {found} for two of shape {rows.shape};"
                " it must be the same."
            )
