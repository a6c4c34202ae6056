"""The parameters that estimators share: their types, their defaults, and what they may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import get_scorer_names
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from ..engines.schedules import ENGINES, Engine
from ..problem.concave import MCP, SCAD
from ..problem.losses import Loss
from ..problem.penalties import Penalty

if TYPE_CHECKING:
    from distributed import Client

# Of every parameter, in whichever estimator it is.
CONSTRAINTS: dict[str, Any] = {
    "alpha": [Interval(Real, 0, None, closed="left")],
    "alphas": [Interval(Integral, 1, None, closed="left"), "array-like"],
    "bounds": [tuple, list, None],
    "class_weight": [dict, StrOptions({"balanced"}), None],
    "client": "no_validation",  # checked where it is used; importing it costs
    "criterion": [StrOptions({"cv", "aic", "bic"})],
    "cv": ["cv_object"],
    "engine": [StrOptions(set(ENGINES)), HasMethods("run")],
    "eps": [Interval(Real, 0, 1, closed="right")],
    "fit_intercept": ["boolean"],
    "huber_delta": [Interval(Real, 0, None, closed="neither")],
    "l1_ratio": [Interval(Real, 0, 1, closed="both")],
    "local_solver": [StrOptions({"auto", "gram", "lbfgs"})],
    "loss": [
        StrOptions({"squared", "huber", "poisson", "gamma", "tweedie"}),
        tuple,
        list,
        HasMethods(["value", "derivative", "curvature"]),
    ],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "max_staleness": [Interval(Integral, 1, None, closed="left"), None],
    "max_time": [Interval(Real, 0, None, closed="neither"), None],
    "n_blocks": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
    "one_alpha": ["boolean"],
    "over_relaxation": [Interval(Real, 0, 2, closed="neither")],
    "penalty": [StrOptions({"l1"}), HasMethods(["value", "prox"]), MCP, SCAD],
    "penalty_weights": [StrOptions({"adaptive"}), "array-like", None],
    "polish": ["boolean"],
    "positive": ["boolean"],
    "random_state": ["random_state"],
    "relaxed": ["boolean", "array-like"],
    "rho": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
    "rule": [StrOptions({"min", "1se"})],
    "scoring": [StrOptions(set(get_scorer_names())), callable, None],
    "standardize": ["boolean"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "tweedie_power": [Interval(Real, 1, 2, closed="both")],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
}

# Dataclasses make constructors as scikit-learn wants them: each argument is kept as it is. With
# `field(init=False)` a parameter is of no constructor unless a class below says it again.


@dataclass(eq=False, repr=False)
class Shared:
    """What all estimators are given."""

    _: KW_ONLY
    engine: str | Engine = "batched"
    fit_intercept: bool = True
    positive: bool = False
    bounds: tuple | None = None
    penalty_weights: ArrayLike | None = None
    standardize: bool = False
    tol: float = 1e-6
    max_iter: int = 1000
    max_time: float | None = None
    n_blocks: int | str = "auto"
    client: Client | None = None
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0


@dataclass(eq=False, repr=False)
class OfLoss:
    """What the regressors are given."""

    _: KW_ONLY
    penalty: str | Penalty | MCP | SCAD = "l1"
    loss: str | tuple | Loss = "squared"
    huber_delta: float = 1.35
    tweedie_power: float = 1.5


@dataclass(eq=False, repr=False)
class OfAlpha:
    """What the estimators of a given alpha are given."""

    alpha: float = 1.0
    _: KW_ONLY
    l1_ratio: float = 0.5
    rho: float | str = "auto"
    over_relaxation: float = 1.6
    max_staleness: int | None = None
    polish: bool = True
    warm_start: bool = False


@dataclass(eq=False, repr=False)
class OfGrid:
    """What the estimators that choose alpha are given."""

    _: KW_ONLY
    eps: float = 1e-3
    alphas: int | ArrayLike = 100
    l1_ratio: float | Sequence[float] = 0.5
    cv: Any = None
    scoring: str | Callable | None = None
    rule: str = "min"
    criterion: str = "cv"
    relaxed: bool | ArrayLike = field(default=False, init=False)
    one_alpha: bool = field(default=False, init=False)
