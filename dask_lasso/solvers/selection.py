"""Choice of alpha (and l1_ratio) by cross-validation or by AIC and BIC, in one pass.

Each cell of rows reports its statistics once. A training set is a merge of cells, every
alpha a small solve, and a validation score a formula on the moments of the test set. With
many columns, or another loss, it is `selection_by_passes`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from ..engines.record import Estimate, Observer, Record
from ..engines.run import Blocks
from ..places.place import Place
from ..places.waiting import TimeIsUp
from ..problem.degrees import degrees_of_freedom
from ..problem.first import adapted, on_support
from ..problem.gram import Solution, solve
from ..problem.grid import alpha_grid
from ..problem.moments import intercept
from ..rows.cells import CellStatistics, Partition, merge_cells, union_of_cells
from ..rows.statistics import Statistics
from .exact import solve_any_path, solve_problem
from .fit import AnyPenalty, Fit, Problem, Settings, drive
from .path import Grid
from .scoring import Point, Score, joined_points, scores_of_rows

# Share of ``||y||^2``, per column, that rounding leaves where least squares fits y exactly.
_EXACT = 1e-14


class Choice(NamedTuple):
    """What there is to choose from, and how; as in the estimators that choose.

    Attributes
    ----------
    grid : Grid
    l1_ratios : ndarray of shape (n_l1_ratio,)
    shares : ndarray of shape (n_shares,)
        Of the lasso in its mean with least squares on its support.
    one_alpha : bool
        Whether several targets have one penalty, of the least mean error over all.
    errors : str
        What the errors on test sets are called.
    score : Score, optional
        What is the larger the better, in place of minus the errors.
    """

    grid: Grid
    l1_ratios: np.ndarray
    rule: str
    criterion: str
    shares: np.ndarray
    one_alpha: bool = False
    errors: str = "mse_path_"
    score: Score | None = None

    @property
    def needs_rows(self) -> bool:
        """Whether scores take a pass of their own, where squared errors are from statistics."""
        return self.score is not None and self.score.of_errors is None

    def grids(self, penalty: AnyPenalty, make: Callable[..., np.ndarray]) -> np.ndarray:
        """A row of alphas for each l1_ratio; ``make(penalty, eps=, n_alphas=)`` makes one."""
        penalties = (replace(penalty, l1_ratio=l1_ratio) for l1_ratio in self.l1_ratios)
        return np.array([self.grid.of(partial(make, penalty)) for penalty in penalties])

    def by_errors(self, grids: np.ndarray, mse: np.ndarray) -> dict:
        """The penalty of the least mean error; splits that are NaN do not count.

        `mse`, or minus the scores, is of shape (n_shares, n_l1_ratio, n_alphas, n_splits).
        """
        used = mse[..., ~np.isnan(mse[0, 0, 0])]
        n_used = used.shape[-1]
        mean = used.mean(axis=-1)
        share, ratio, best = np.unravel_index(np.argmin(mean), mean.shape)
        if self.rule == "1se" and n_used > 1:
            along = mean[share, ratio]
            error = used[share, ratio, best].std(ddof=1) / np.sqrt(n_used)
            best = np.intp(np.argmax(along <= along[best] + error))
        found = {self.errors: mse} if self.score is None else {"score_path_": -mse}
        return self._of(grids, ratio, best, **found, relaxed_=self.shares[share])

    def by_values(self, grids: np.ndarray, values: np.ndarray, **beside: float) -> dict:
        """The penalty of the least value of a criterion."""
        ratio, best = np.unravel_index(np.argmin(values), values.shape)
        return self._of(grids, ratio, best, criterion_=values, **beside)

    def where(self, chosen: dict) -> tuple[int, int]:
        """The places of what has been chosen among the l1_ratios and on the grid."""
        ratio = int(np.flatnonzero(self.l1_ratios == chosen["l1_ratio_"])[0])
        return ratio, int(np.flatnonzero(chosen["alphas_"][ratio] == chosen["alpha_"])[0])

    def factor(self, n: int) -> float:
        """What AIC or BIC multiplies degrees of freedom with, for n rows."""
        return 2.0 if self.criterion == "aic" else float(np.log(n))

    def _of(self, grids, ratio, best, **found):
        chosen = {"alpha_": grids[ratio, best], "l1_ratio_": self.l1_ratios[ratio]}
        return {**chosen, "alphas_": grids, **found}


def fit(
    place: Place,
    problem: Problem,
    settings: Settings,
    observe: Observer,
    choice: Choice,
    partition: Partition,
) -> Fit:
    """Choose the penalty, and fit all rows, in one pass; some scores take another."""
    record = Record(observe)
    reports = place.load_statistics(partition)
    model = Selection(problem, settings, len(reports), choice, partition)
    found = drive(place, Blocks(reports, reports), model, settings, record)
    if not choice.needs_rows or choice.criterion != "cv" or found.estimate is None:
        return found
    if found.n_missing:
        raise TimeIsUp("not all rows have been read that scores are of")
    n_joined = place.n_targets if problem.penalty.joins_targets else 1
    scores = scores_of_rows(place, partition, model.models, choice.score, n_joined)
    model.choose_by(scores)
    return found._replace(estimate=model.estimate, n_passes=2)


class Selection:
    """The model of a fit that chooses its penalty: solved once, when all cells are in."""

    wants_updates = False

    def __init__(
        self,
        problem: Problem,
        settings: Settings,
        n_blocks: int,
        choice: Choice,
        partition: Partition,
    ) -> None:
        self._problem, self._settings = problem, settings
        self._n_blocks, self._choice, self._partition = n_blocks, choice, partition
        self._reports: list[CellStatistics] = []
        self.statistics: Statistics | None = None
        self.estimate: Estimate | None = None
        self.null_loss: np.ndarray | None = None
        self.converged = False
        self.n_unconverged = 0  # solutions on the paths whose gap is above `tol`

    @property
    def samples_seen(self) -> int:
        return sum(part.n_rows for part in self._reports)

    def absorb_report(self, block: int, cells: CellStatistics) -> None:
        """Keep the statistics of a block's cells."""
        self._reports.append(cells)

    def update(self, n_updates: int) -> dict | None:
        """Nothing until the last cell is in: an alpha chosen early would be thrown away."""
        self.converged = len(self._reports) == self._n_blocks
        return self.conclude() if self.converged else None

    def conclude(self) -> dict | None:
        """Choose the penalty from the rows that have been reported, and solve for it."""
        cells = merge_cells(self._reports)
        self.statistics = union_of_cells(cells, 0)
        if self.statistics is None or self.statistics.weight == 0:
            self.statistics, self.converged = self.statistics or cells, False
            return None
        moments = self.statistics.moments(self._problem.fit_intercept)
        # In all folds the units of all rows.
        self._problem = self._problem.in_units(self.statistics.x_variation, moments.weight)
        parts = [(cells, moments)]
        if not self._problem.penalty.joins_targets:
            targets = range(self.statistics.n_targets)
            parts = [(cells.target(t), moments.target(t)) for t in targets]
        self._parts = parts
        return self._settle(self._chosen(moments))

    def _settle(self, chosen):
        """Solve for what has been chosen, for each part."""
        moments = self.statistics.moments(self._problem.fit_intercept)
        solved = [
            self._solve_chosen(part[1], of) for part, of in zip(self._parts, chosen, strict=True)
        ]
        coef = np.hstack([found.coef for found in solved])
        gap = np.concatenate([found.gap for found in solved])
        self.null_loss = moments.null_loss
        best = intercept(self.statistics, coef, self._problem.fit_intercept)
        if len(chosen) > 1:
            chosen = [{name: np.array([of[name] for of in chosen]) for name in chosen[0]}]
        by = self._problem.penalty.certificate
        self.estimate = Estimate(coef, best, gap, by, choice=chosen[0])
        objective = sum(found.objective.sum() for found in solved)
        return {"samples_seen": self.samples_seen, "objective": objective}

    def _chosen(self, moments):
        """The choice for each target or, if the penalty joins them, for all together."""
        common = moments if self._choice.one_alpha else None
        self._grid = [self._grids(common or of_part) for _, of_part in self._parts]
        if self._choice.criterion != "cv":
            by = self._by_information
            return [by(part[1], of) for part, of in zip(self._parts, self._grid, strict=True)]
        self._points = [[] for _ in self._partition.splits]
        self._supports = []
        return self._best([self._errors(*of) for of in zip(self._parts, self._grid, strict=True)])

    @property
    def models(self) -> list[Point]:
        """The models of each split, if scores need them: one target after the other."""
        return [joined_points(points) for points in self._points]

    def choose_by(self, scores: np.ndarray) -> None:
        """Choose anew, by scores (m, p, n_splits) of `models`."""
        shape = len(self._choice.shares), *self._grid[0].shape
        self._settle(self._best([-of_part.reshape(*shape, -1) for of_part in scores]))

    def _best(self, errors):
        if self._choice.one_alpha:
            errors = [np.mean(errors, axis=0)] * len(errors)
        chosen = list(map(self._choice.by_errors, self._grid, errors))
        for of_part, support in zip(chosen, self._supports, strict=True):
            of_part["stability_"] = support[(..., *self._choice.where(of_part))]
        return chosen

    def _grids(self, moments):
        penalty = adapted(moments, self._problem.penalty)
        return self._choice.grids(penalty, partial(alpha_grid, moments))

    def _solve_chosen(self, moments, chosen) -> Solution:
        """The solution at what has been chosen."""
        penalty = replace(self._problem.penalty, l1_ratio=chosen["l1_ratio_"]).at(chosen["alpha_"])
        problem = self._problem._replace(penalty=adapted(moments, penalty))
        found, share = solve_problem(moments, problem, self._settings), chosen.get("relaxed_", 1.0)
        if share == 1:
            return found
        free = on_support(moments, problem.l1_penalty, found.coef)
        return found._replace(coef=share * found.coef + (1 - share) * free)

    def _solve_paths(self, moments, grids):
        """Coefficients (m, k, n_alphas) for each l1_ratio."""
        allowed = self._settings.tol
        if self._problem.penalty.has_dual:
            allowed = allowed * moments.null_loss[:, np.newaxis]
        for grid, l1_ratio in zip(grids, self._choice.l1_ratios, strict=True):
            # The weights of a training set are its own.
            penalty = adapted(moments, replace(self._problem.penalty, l1_ratio=l1_ratio))
            coefs, gaps = solve_any_path(moments, penalty, grid, max_iter=self._settings.max_iter)
            self.n_unconverged += int((gaps > allowed).any(axis=0).sum())
            yield coefs

    def _errors(self, part, grids):
        """Mean errors on the test sets; of several targets, the mean over them."""
        cells, score = part[0], self._choice.score
        of_errors = None if score is None else score.of_errors
        splits, fit_intercept = self._partition.splits, self._problem.fit_intercept
        shares = self._choice.shares
        mse = np.full((len(shares), *grids.shape, len(splits)), np.nan)
        supports = []
        for fold, split in enumerate(splits):
            train = union_of_cells(cells, split.labelling, split.train)
            test = union_of_cells(cells, split.labelling, split.test)
            empty = [
                which for which, rows in (("training", train), ("test", test)) if not _any(rows)
            ]
            if empty:
                why = (
                    f"The {empty[0]} set of split {fold} has no rows, or none with a positive"
                    f" weight, among the {cells.n_rows} rows read: use another cv, or a longer"
                    " max_time."
                )
                if len(self._reports) == self._n_blocks:
                    raise ValueError(why)
                continue  # time is up; other splits may have what it takes
            moments = train.moments(fit_intercept)
            mse[..., fold] = 0.0
            paths = np.stack(list(self._solve_paths(moments, grids)), axis=2)
            supports.append(paths != 0)
            for target, coefs in enumerate(paths.reshape(*paths.shape[:2], -1)):
                learnt, held = train.target(target), test.target(target)
                free = coefs
                if (shares < 1).any():
                    free = on_support(moments, self._problem.l1_penalty, coefs)
                for errors, share in zip(mse[..., fold], shares, strict=True):
                    blend = share * coefs + (1 - share) * free if share < 1 else coefs
                    intercepts = intercept(learnt, blend, fit_intercept)
                    if self._choice.needs_rows:
                        self._points[fold].append(Point(blend, intercepts))
                    found = held.squared_residuals(blend, intercepts) / test.weight
                    if of_errors is not None:
                        found = -of_errors(found, held.syy / test.weight)
                    errors += found.reshape(errors.shape) / len(paths)
        if np.isnan(mse[0, 0, 0]).all():
            raise ValueError(why)
        self._supports.append(np.mean(supports, axis=0))
        return mse

    def _by_information(self, moments, grids):
        """AIC or BIC as in `LassoLarsIC`: Zou, Hastie & Tibshirani (2007), eq. 2.16."""
        n = self.statistics.n_weighted
        noise = self._noise_variance(moments)
        factor = self._choice.factor(n)
        values = np.empty(grids.shape)
        for ratio, (coefs,) in enumerate(self._solve_paths(moments, grids)):
            l1_ratio = self._choice.l1_ratios[ratio]
            penalty = adapted(moments, replace(self._problem.l1_penalty, l1_ratio=l1_ratio))
            squares = moments.squared_residuals(coefs) * (n / moments.weight)
            df = [
                degrees_of_freedom(moments, coef, penalty.at(alpha))
                for coef, alpha in zip(coefs.T, grids[ratio], strict=True)
            ]
            values[ratio] = n * np.log(2 * np.pi * noise) + squares / noise + factor * np.array(df)
        return self._choice.by_values(grids, values, noise_variance_=noise)

    def _noise_variance(self, moments):
        """Residual variance of least squares, non-negative where `positive`."""
        left = self.statistics.n_weighted - len(moments.gram) - self._problem.fit_intercept
        if left <= 0:
            raise ValueError(
                f"criterion={self._choice.criterion!r} needs the variance of the noise, which"
                f" {self.statistics.n_weighted} rows of {len(moments.gram)} features cannot tell:"
                ' use criterion="cv".'
            )
        full = solve(moments, self._problem.l1_penalty.at(0.0), max_iter=self._settings.max_iter)
        squares = moments.squared_residuals(full.coef)[0]
        noise = squares * (self.statistics.n_weighted / moments.weight) / left
        if squares <= _EXACT * len(moments.gram) * moments.yy[0]:
            raise ValueError(
                f"criterion={self._choice.criterion!r} needs noise, and least squares fits y"
                ' exactly: use criterion="cv".'
            )
        return noise


def _any(rows):
    return rows is not None and rows.weight > 0
