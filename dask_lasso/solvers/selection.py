"""Choice of alpha (and l1_ratio) by cross-validation or by AIC and BIC, in one pass.

Each cell of rows reports its statistics once. A training set is a merge of cells, every
alpha a small solve, and a validation score a formula on the moments of the test set.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from numbers import Integral

import numpy as np

from ..engines.run import HISTORY
from ..places.waiting import TimeIsUp
from ..problem.degrees import degrees_of_freedom
from ..problem.gram import solve, solve_path
from ..problem.grid import alpha_grid
from ..problem.moments import intercept
from ..rows.cells import merge_cells, union_of_cells
from .exact import Exact
from .working_set_path import WidePath

# Share of ``||y||^2``, per column, that rounding leaves where least squares fits y exactly.
_EXACT = 1e-14


class Selection(Exact):
    """The model of a fit that chooses its penalty: solved once, when all cells are in."""

    def __init__(self, *, partition, alphas, eps, l1_ratios, rule, criterion, **shared):
        super().__init__(**shared)
        self._partition = partition
        self._alphas, self._eps = alphas, eps
        self._l1_ratios = l1_ratios
        self._rule, self._criterion = rule, criterion
        self.selected = None
        self.n_unconverged = 0  # solutions on the paths whose gap is above `tol`

    def update(self, n_updates):
        """Nothing until the last cell is in: an alpha chosen early would be thrown away."""
        self.converged = self.n_reported == self._n_blocks
        return self.estimate() if self.converged else None

    def estimate(self):
        """Choose the penalty from the rows that have been reported, and solve for it."""
        cells = merge_cells(self._waiting)
        self._waiting = [cells]
        self.statistics = union_of_cells(cells, 0)
        if self.statistics is None or self.statistics.weight == 0:
            self.converged = False
            return None
        problem = self.statistics.moments(self._fit_intercept)

        def grid(penalty):
            return alpha_grid(problem, penalty, eps=self._eps, n_alphas=self._alphas)

        grids = self._grids(grid)
        if self._criterion == "cv":
            selected = self._by_cross_validation(cells, grids)
        else:
            selected = self._by_information(problem, grids)
        self.selected = selected
        self._penalty = self._of_ratio(selected["l1_ratio_"]).at(selected["alpha_"])
        return self._solve(problem)

    @property
    def samples_seen(self) -> int:
        return sum(part.n_rows for part in self._waiting)

    def _of_ratio(self, l1_ratio):
        return replace(self._penalty, l1_ratio=l1_ratio)

    def _grids(self, grid):
        """A row of alphas for each l1_ratio; ``grid(penalty)`` makes one."""
        if isinstance(self._alphas, Integral):
            return np.array([grid(self._of_ratio(l1_ratio)) for l1_ratio in self._l1_ratios])
        return np.tile(np.sort(self._alphas)[::-1], (len(self._l1_ratios), 1))

    def _solve_paths(self, problem, grids):
        allowed = self._tol * problem.null_loss[0]
        for grid, l1_ratio in zip(grids, self._l1_ratios, strict=True):
            penalty = self._of_ratio(l1_ratio)
            coefs, gaps = solve_path(problem, penalty, grid, max_iter=self._max_iter)
            self.n_unconverged += int((gaps[0] > allowed).sum())
            yield coefs[0]

    def _by_cross_validation(self, cells, grids):
        splits = self._partition.splits
        mse = np.full((*grids.shape, len(splits)), np.nan)
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
                if self.n_reported == self._n_blocks:
                    raise ValueError(why)
                continue  # time is up; other splits may have what it takes
            problem = train.moments(self._fit_intercept)
            for ratio, coefs in enumerate(self._solve_paths(problem, grids)):
                intercepts = intercept(train, coefs, self._fit_intercept)
                mse[ratio, :, fold] = mean_squared_errors(test, coefs, intercepts)
        if np.isnan(mse[0, 0]).all():
            raise ValueError(why)
        return self._choose(grids, mse)

    def _choose(self, grids, mse):
        """The penalty of the least mean error; splits that are NaN do not count."""
        used = mse[..., ~np.isnan(mse[0, 0])]
        n_used = used.shape[-1]
        mean = used.mean(axis=-1)
        ratio, best = np.unravel_index(np.argmin(mean), mean.shape)
        if self._rule == "1se" and n_used > 1:
            error = used[ratio, best].std(ddof=1) / np.sqrt(n_used)
            best = int(np.argmax(mean[ratio] <= mean[ratio, best] + error))
        return {
            "alpha_": grids[ratio, best],
            "l1_ratio_": self._l1_ratios[ratio],
            "alphas_": grids,
            "mse_path_": mse,
        }

    def _by_information(self, problem, grids):
        """AIC or BIC as in `LassoLarsIC`: Zou, Hastie & Tibshirani (2007), eq. 2.16."""
        n = self.statistics.n_weighted
        noise = self._noise_variance(problem)
        factor = 2.0 if self._criterion == "aic" else np.log(n)
        values = np.empty(grids.shape)
        for ratio, coefs in enumerate(self._solve_paths(problem, grids)):
            penalty = self._of_ratio(self._l1_ratios[ratio])
            squares = problem.squared_residuals(coefs) * (n / problem.weight)
            df = [
                degrees_of_freedom(problem, coef, penalty.at(alpha))
                for coef, alpha in zip(coefs.T, grids[ratio], strict=True)
            ]
            values[ratio] = n * np.log(2 * np.pi * noise) + squares / noise + factor * np.array(df)
        ratio, best = np.unravel_index(np.argmin(values), values.shape)
        return {
            "alpha_": grids[ratio, best],
            "l1_ratio_": self._l1_ratios[ratio],
            "alphas_": grids,
            "criterion_": values,
            "noise_variance_": noise,
        }

    def _noise_variance(self, problem):
        """Residual variance of least squares, non-negative where `positive`."""
        left = self.statistics.n_weighted - len(problem.gram) - self._fit_intercept
        if left <= 0:
            raise ValueError(
                f"criterion={self._criterion!r} needs the variance of the noise, which"
                f" {self.statistics.n_weighted} rows of {len(problem.gram)} features cannot tell:"
                ' use criterion="cv".'
            )
        full = solve(problem, self._penalty.at(0.0), max_iter=self._max_iter)
        squares = problem.squared_residuals(full.coef)[0]
        noise = squares * (self.statistics.n_weighted / problem.weight) / left
        if squares <= _EXACT * len(problem.gram) * problem.yy[0]:
            raise ValueError(
                f"criterion={self._criterion!r} needs noise, and least squares fits y exactly:"
                ' use criterion="cv".'
            )
        return noise


class WideSelection(Selection):
    """The same of rows with many columns: every path through working sets."""

    # Every column is everywhere, so there is one block, and nothing is stale.
    n_blocks = 1
    staleness = np.zeros(1, dtype=np.int64)
    stopped_by = None
    n_updates = n_passes = 0

    def __init__(self, place, *, on_update, **selection):
        super().__init__(n_blocks=1, **selection)
        self._place, self._on_update = place, on_update

    def run(self):
        start = time.perf_counter()
        paths = WidePath(
            self._place,
            self._partition,
            self._penalty,
            fit_intercept=self._fit_intercept,
            max_iter=self._max_iter,
        )
        self.statistics, self.n_reported = paths.statistics, 1
        self.null_loss = paths.null_loss
        grids = self._grids(partial(paths.grid, eps=self._eps, n_alphas=self._alphas))
        found = []
        for grid, l1_ratio in zip(grids, self._l1_ratios, strict=True):
            try:
                found.append(paths.run(grid, self._of_ratio(l1_ratio)))
            except TimeIsUp:
                if not found:
                    raise
                self.stopped_by = "max_time"
                break
        self.n_passes, self.n_updates = paths.n_passes, paths.n_updates
        mse = np.full((*grids.shape, len(self._partition.splits)), np.inf)
        for errors, path in zip(mse, found, strict=False):
            errors[: len(path.errors)] = path.errors
            self.n_unconverged += int((path.gaps > self._tol * self.null_loss[0]).sum())
            if len(path.errors) < len(errors):
                self.stopped_by = "max_time"
        self.selected = self._choose(grids, mse)
        mse[np.isinf(mse)] = np.nan
        ratio = int(np.flatnonzero(self._l1_ratios == self.selected["l1_ratio_"])[0])
        best = int(np.flatnonzero(grids[ratio] == self.selected["alpha_"])[0])
        self.coef = found[ratio].coefs[:, [best]].toarray()
        self.gap = found[ratio].gaps[:1, best]
        self.converged = True
        row = {
            "time": time.perf_counter() - start,
            "n_updates": self.n_updates,
            "samples_seen": self.samples_seen,
            "objective": found[ratio].objectives[0, best],
        }
        self.history = {
            name: np.array([row.get(name, np.nan)], dtype) for name, dtype in HISTORY.items()
        }
        self._on_update(row)

    @property
    def samples_seen(self) -> int:
        return self.statistics.n_rows


def _any(rows):
    return rows is not None and rows.weight > 0


def mean_squared_errors(statistics, coefs, intercepts) -> np.ndarray:
    """Mean squared error on the rows of `statistics`, for each column of `coefs`."""
    about_mean = statistics.y_mean - statistics.x_mean @ coefs - intercepts
    return statistics.moments(True).squared_residuals(coefs) / statistics.weight + about_mean**2
