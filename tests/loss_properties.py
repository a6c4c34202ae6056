"""Random problems of every loss, and of what may be had beside it: `properties` of the newer kind.

    python tests/loss_properties.py --problems 1000

Bounds, offsets, weights of classes, `standardize`, several targets, narrow dtypes, kinds of
chunks; fits, paths and choices of alpha, of few columns and of many. The judge is `loss_judge`.
What must hold: the excess over the minimum is within `tol`, or there is a warning; `dual_gap_` is
never less than the excess; nothing is outside its bounds, and nothing else is warned of.
"""

from __future__ import annotations

import itertools
import sys
from contextlib import nullcontext

import loss_judge
import numpy as np
import properties
from properties import Outcome, border, client
from scipy import sparse

import dask_lasso

_FORMATS = {"csr": sparse.csr_array, "csc": sparse.csc_array, "coo": sparse.coo_array}
_OF_LINK = {"poisson", "gamma", "tweedie"}


class Draw:
    """What is random of a problem."""

    def __init__(self, seed):
        self.rng = np.random.default_rng([seed, 77])

    def pick(self, *values):
        return values[int(self.rng.integers(len(values)))]

    def chance(self, p):
        return bool(self.rng.random() < p)


def make(seed: int) -> dict:
    """The problem of a seed."""
    draw = Draw(seed)
    rng, pick, chance = draw.rng, draw.pick, draw.chance
    loss = pick("squared", "logistic", "logistic", "poisson", "gamma", "tweedie", "huber")
    is_wide = chance(0.5)
    n, k = pick(12, 30, 60, 150), pick(3, 5, 8, 12)
    if is_wide:
        n, k = min(n, 60), pick(6, 12, 25)
    kind = pick("normal", "normal", "correlated", "binary", "int8", "thin", "thin")
    X = rng.normal(size=(n, k))
    if kind == "correlated":
        X = 0.1 * X + rng.normal(size=(n, 1))
    elif kind == "binary":
        X = np.greater(X, pick(0.0, 1.3)).astype(float)
    elif kind == "int8":
        X = rng.integers(-128, 128, (n, k)).astype(float)
    elif kind == "thin":
        X *= rng.random((n, k)) < 0.3
    spread = X.std(axis=0)
    eta = (
        (X - X.mean(axis=0))
        / np.where(spread > 0, spread, 1)
        @ (pick(0.3, 1.0) * rng.normal(size=k) * (rng.random(k) < 0.5))
    )
    if kind not in ("binary", "int8"):
        X *= 10.0 ** (rng.uniform(-1, 1, k) * pick(0, 0, 3, 12))
        far = rng.random(k) < pick(0, 0, 0, 0.4)
        X[:, far] += pick(2e3, 1e4, 1e6) * np.abs(X[:, far]).max(axis=0, initial=0)
    if chance(0.3):
        X[:, rng.integers(k)] = pick(np.zeros(n), np.ones(n), X[:, rng.integers(k)].copy())
    offset = rng.normal(size=n) * pick(0.3, 3.0) if chance(0.3) else None
    n_targets = 2 if chance(0.15) and loss != "logistic" else 1
    y = np.column_stack([_target(draw, loss, eta, offset) for _ in range(n_targets)])
    weight = None
    if chance(0.35):
        weight = rng.uniform(0.1, 3, n) * pick(1, 1e-6, 1e6)
        weight[rng.permutation(n)[: n // pick(3, n + 1)]] = 0
    _make_typical(loss, y, np.flatnonzero(np.ones(n) if weight is None else weight))
    params = {"fit_intercept": chance(0.65)}
    if chance(0.35):
        params["penalty_weights"] = rng.choice([0.5, 1, 2, 10.0], k)
        params["penalty_weights"][rng.random(k) < pick(0, 0.2)] = 0
    if chance(0.35):
        params["standardize"] = True
    if chance(0.3):
        unit = np.where(X.std(axis=0) > 0, X.std(axis=0), 1) / (y.std() or 1)
        lower = -0.2 / unit * (rng.random(k) < 0.6)
        upper = np.where(rng.random(k) < pick(0, 0.3), np.inf, 0.2 / unit)
        params |= pick({"positive": True}, {"bounds": (lower, upper)}, {"bounds": (lower, upper)})
    door = "fit"
    if n_targets == 1 and loss != "huber" and chance(0.3):
        door = pick("cv", "path") if n >= 60 else "path"
    if door == "path" and loss == "logistic":
        door = "fit"
    dtype = np.float32 if chance(0.1) else np.float64
    dtype = np.int8 if kind == "int8" and chance(0.6) else dtype
    class_weight = pick(None, None, {0: 2.0, 1: 0.5}) if loss == "logistic" else None
    return dict(
        seed=seed, loss=loss, route="wide" if is_wide else "tall", door=door, kind=kind,
        place=pick("numpy", "dask"), format=pick("dense", "fortran", *_FORMATS),
        X=X.astype(dtype), y=y, weight=weight, offset=offset, params=params,
        l1_ratio=pick(1.0, 1.0, 0.5, 0.1) if door == "fit" else 1.0,
        alpha=pick(0.5, 0.1, 0.01, 1e-3, 1.5), tol=pick(1e-6, 1e-6, 1e-9),
        power={"tweedie": pick(1.2, 1.5, 1.9), "huber": pick(0.3, 1.35)}.get(loss),
        class_weight=class_weight,
        chunks=tuple(properties._split(rng, n, pick(1, 2, 4, 9), empty=chance(0.4))),
    )  # fmt: skip


def _target(draw, loss, eta, offset):
    rng, pick = draw.rng, draw.pick
    eta = np.clip(eta + (0 if offset is None else offset) + 0.3 * rng.normal(size=len(eta)), -4, 4)
    mean = np.exp(eta) * pick(1, 30)
    return {
        "squared": lambda: eta + pick(0, 0.1, 1) * rng.normal(size=len(eta)) + pick(0, 5),
        "huber": lambda: eta + rng.standard_t(2, len(eta)) + pick(0, 5),
        "logistic": lambda: (rng.random(len(eta)) < 1 / (1 + np.exp(-eta))).astype(float),
        "poisson": lambda: rng.poisson(mean).astype(float),
        "gamma": lambda: rng.gamma(2, mean / 2) + 1e-6,
        "tweedie": lambda: rng.poisson(mean) * rng.gamma(2, 0.5, size=len(eta)),
    }[loss]()


def _make_typical(loss, y, on):
    """Both classes, in every fold of rows that count; some count that is not zero."""
    if loss == "logistic":
        y[on, 0] = np.where(np.arange(len(on)) % 4 < 2, y[on, 0], np.arange(len(on)) % 2)
    elif loss in _OF_LINK:
        y[on[::3]] = np.maximum(y[on[::3]], 1)


def judged(p, alpha, target=0):
    """The problem of one target, as the judge has it."""
    weight, params = p["weight"], p["params"]
    if p["class_weight"]:
        of_class = np.array([p["class_weight"][0], p["class_weight"][1]])
        weight = of_class[p["y"][:, 0].astype(int)] * (1 if weight is None else weight)
    box = (0, np.inf) if params.get("positive") else params.get("bounds")
    return loss_judge.Problem(
        p["X"], p["y"][:, target], p["loss"], np.longdouble(alpha) * p["l1_ratio"],
        np.longdouble(alpha) * (1 - np.longdouble(p["l1_ratio"])), weight=weight,
        u=params.get("penalty_weights"), box=box, fit_intercept=params["fit_intercept"],
        offset=p["offset"], power=p["power"], standardize=params.get("standardize", False),
    )  # fmt: skip


def _largest(p):
    """About the least alpha without coefficients."""
    one = judged(p, 0.0)
    c = one.best_constant() if one.fit_intercept else 0.0
    pulls = np.abs((one.X - one.mean).T @ (one.s * one.of(c * np.ones_like(one.y))[1])) / one.n
    return float((pulls / np.where(one.u > 0, one.u, np.inf)).max()) or 1.0


def _rows(p):
    X, y = p["X"], p["y"] if p["y"].shape[1] > 1 else p["y"][:, 0]
    X = _FORMATS.get(p["format"], np.asfortranarray if p["format"] == "fortran" else np.array)(X)
    if p["place"] == "numpy":
        return X, y, p["weight"], p["offset"]
    import dask.array as da

    name, edges = f"loss-{p['seed']}", np.cumsum((0, *p["chunks"])).tolist()
    meta, rows = X[:0] if not sparse.issparse(X) else sparse.csr_array((0, 0)), X
    if sparse.issparse(X):
        rows = sparse.csr_array(X)
    kind = type(X) if sparse.issparse(X) else np.asarray
    blocks = {(name, i, 0): kind(rows[a:b]) for i, (a, b) in enumerate(itertools.pairwise(edges))}
    there = da.Array(blocks, name, (p["chunks"], (X.shape[1],)), meta=meta, dtype=X.dtype)
    others = [
        None if v is None else da.from_array(v, chunks=(p["chunks"], *v.shape[1:]))
        for v in (y, p["weight"], p["offset"])
    ]
    return [v if v is None else v.persist(scheduler=client()) for v in (there, *others)]


def _fit(p, alpha):
    """Solutions as (target, alpha, coef, intercept or None, gap)."""
    rows, loss = _rows(p), p["loss"]
    params = dict(p["params"], tol=p["tol"])
    if p["place"] == "dask":
        params["client"] = client()
    if loss != "logistic":
        params |= {"loss": loss} if loss != "squared" else {}
        params |= {"tweedie_power": p["power"]} if loss == "tweedie" else {}
        params |= {"huber_delta": p["power"]} if loss == "huber" else {}
    alphas = alpha * np.array([10, 3, 1.0, 0.3])
    if p["door"] == "path":
        X, y, weight, offset = rows
        found = dask_lasso.lasso_path(
            X, y, alphas=alphas, sample_weight=weight, offset=offset, **params
        )
        return [
            (0, a, coef, None, gap)
            for a, coef, gap in zip(found[0], found[1].T, found[2], strict=True)
        ]
    is_choice = p["door"] == "cv"
    params |= {"alphas": alphas, "cv": 3} if is_choice else {"alpha": alpha}
    if loss == "logistic":
        kind = dask_lasso.AsyncLogisticRegressionCV if is_choice else None
        kind = kind or dask_lasso.AsyncLogisticRegression
        params |= {"l1_ratio": p["l1_ratio"], "class_weight": p["class_weight"]}
    elif is_choice:
        kind = dask_lasso.AsyncLassoCV
    else:
        kind, params["l1_ratio"] = dask_lasso.AsyncElasticNetRegressor, p["l1_ratio"]
    X, y, weight, offset = rows
    model = kind(**params).fit(X, y, sample_weight=weight, offset=offset)
    coefs, gaps = np.atleast_2d(model.coef_), np.atleast_1d(model.dual_gap_)
    intercepts = np.broadcast_to(model.intercept_, len(coefs))
    alpha = float(getattr(model, "alpha_", alpha))
    return [(t, alpha, coefs[t], intercepts[t], gaps[t]) for t in range(len(coefs))]


def check_seed(seed: int) -> Outcome:
    """Fit the problem of a seed, and judge what comes out."""
    p = make(seed)
    outcome = Outcome(seed, [], description=describe(p))
    alpha = _largest(p) * p["alpha"] / p["l1_ratio"]
    solutions = []
    many = border(p["X"].shape[1]) if p["route"] == "wide" else nullcontext()
    with properties.noted(outcome), many:
        solutions = _fit(p, alpha)
    for target, at, coef, intercept, gap in solutions:
        outcome.failures += _complaints(p, judged(p, at, target), coef, intercept, gap, outcome)
    return outcome


def _complaints(p, problem, coef, intercept, gap, outcome):
    if not np.isfinite(coef).all() or (coef < problem.lower).any() or (coef > problem.upper).any():
        return [f"coefficients {coef}"]
    if intercept is None:
        intercept = problem.best_constant(problem.X @ coef) if problem.fit_intercept else 0.0
    unit = np.finfo(coef.dtype).eps
    value, (best, *at) = (
        problem.objective(coef, intercept),
        min(problem.minimum(coef, intercept), problem.minimum(), key=lambda found: found[0]),
    )
    null = max(problem.null(), np.finfo(float).tiny)
    floor = max(problem.floor(coef, intercept, unit), problem.floor(*at, unit)) / null
    excess, relative = float((value - min(best, value)) / null), float(gap / null)
    rounding = 1e-14 * float(1 + abs(value) / null) + float(floor)
    outcome.excess, found = max(outcome.excess, excess), []
    # What `tol` is relative to knows no offset.
    if not outcome.warned and excess > 10 * p["tol"] + 4 * floor:
        found.append(f"excess {excess:.3g} without a warning, gap {relative:.3g}")
    if not relative >= 0 or excess > relative + rounding + 2 * np.sqrt(rounding * relative):
        found.append(f"gap {relative:.3g} for an excess of {excess:.3g} (floor {floor:.2g})")
    return found


def describe_seed(seed: int) -> str:
    return describe(make(seed))


def describe(p) -> str:
    """The problem, for people."""
    n, k = p["X"].shape
    shown = {"n": n, "k": k, "dtype": p["X"].dtype}
    shown |= {name: v for name, v in p.items() if not isinstance(v, np.ndarray | dict)}
    shown |= {name: "..." if np.ndim(v) else v for name, v in p["params"].items()}
    return " ".join(f"{name}={value}".replace(" ", "") for name, value in shown.items())


def main(arguments=None) -> int:
    return properties.main(arguments, describe_seed, check_seed, n_problems=1000)


if __name__ == "__main__":
    sys.exit(main())
