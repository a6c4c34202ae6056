"""Choice of alpha (and l1_ratio) where every path takes passes: many columns, or another loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from ..engines.record import Estimate, Observer, Record
from ..places.place import Place
from ..places.waiting import TimeIsUp
from ..problem.softmax import Softmax
from ..rows.cells import Partition
from . import newton
from .fit import Fit, Problem, Settings
from .path import by_passes
from .scoring import joined_points, scores_of_rows
from .selection import Choice
from .working_set_path import Paths, WidePath, joined


def fit_by_passes(
    place: Place,
    problem: Problem,
    settings: Settings,
    observe: Observer,
    choice: Choice,
    partition: Partition,
) -> Fit:
    """Choose the penalty, and fit all rows; at its deadline, among the alphas that are done.

    What needs a pass of its own to be scored is chosen by its errors before the last pass.
    """
    paths = by_passes(place, partition, problem, settings)
    penalties = [replace(paths.penalty, l1_ratio=l1_ratio) for l1_ratio in choice.l1_ratios]
    grids = choice.grids(paths.penalty, paths.grid)
    record, stopped_by = Record(observe), None
    found: list[Paths] = []  # of each l1_ratio, the alphas that are done
    by_rows = choice.criterion == "cv" and choice.needs_rows
    so_far = choice._replace(score=None) if by_rows else choice
    try:
        for ratio, part in _in_turn(paths, grids, penalties):
            found[ratio:] = [joined([*found[ratio:], part])]
            errors = [path.errors for path in found]
            if so_far.score is not None:
                errors = [-so_far.score.of_errors(of_path, None) for of_path in errors]
            chosen = _chosen(so_far, grids, penalties, found, paths, errors)
            estimate, objective = _estimate(choice, chosen, found, place.n_features)
            if record.add(_row(paths, objective), estimate):
                stopped_by = "callback"
                break
    except TimeIsUp:
        if not found:
            raise TimeIsUp("the rows have not been read for the first alphas") from None
        stopped_by = "max_time"
    if by_rows:
        of_splits = [path.of_splits for path in found]
        models = [joined_points(of_split) for of_split in zip(*of_splits, strict=True)]
        n_joined = problem.loss.n_classes if isinstance(problem.loss, Softmax) else 1
        scores = scores_of_rows(place, partition, models, choice.score, n_joined)[0]
        errors = np.split(-scores, np.cumsum([len(of_path) for of_path in errors])[:-1])
        chosen = _chosen(choice, grids, penalties, found, paths, errors)
        estimate, objective = _estimate(choice, chosen, found, place.n_features)
        record.add(_row(paths, objective), estimate)
    fit = Fit(
        estimate,
        paths.statistics,
        paths.null_loss,
        stopped_by is None,
        paths.statistics.n_rows,
        n_passes=paths.n_passes + by_rows,
        n_updates=paths.n_updates,
        history=record.history,
        staleness=np.zeros(1, dtype=np.int64),  # every column is everywhere: one block
        stopped_by=stopped_by,
        n_unconverged=sum(np.sum(p.gaps > settings.tol * paths.null_loss[0]) for p in found),
    )
    if not isinstance(paths, WidePath) and stopped_by is None:
        penalty = penalties[choice.where(chosen)[0]].at(chosen["alpha_"])
        settings = replace(settings, coef_init=estimate.coef)
        return _polished(fit, place, problem._replace(penalty=penalty), settings, observe)
    return fit


def _in_turn(paths, grids, penalties):
    """What becomes known of each l1_ratio, one after the other: its number, and some alphas."""
    for ratio, (alphas, penalty) in enumerate(zip(grids, penalties, strict=True)):
        for part in paths.run(alphas, penalty):
            yield ratio, part


def _estimate(choice, chosen, found, n_features):
    """The estimate and the objective at the penalty that has been chosen."""
    ratio, best = choice.where(chosen)
    path = found[ratio]
    if path.of_splits:
        supports = [sparse.csc_array(at.coefs)[:, [best]].toarray() for at in path.of_splits]
        chosen["stability_"] = np.mean(np.array(supports) != 0, axis=0)[:, 0]
    # Of several classes, one after the other.
    coef = path.coefs[:, [best]].toarray().reshape(-1, n_features).T
    estimate = Estimate(coef, path.intercepts[best].ravel(), path.gaps[:1, best], choice=chosen)
    return estimate, path.objectives[0, best]


def _row(paths, objective):
    """A row of the history."""
    seen = paths.statistics.n_rows
    return {"n_updates": paths.n_updates, "samples_seen": seen, "objective": objective}


def _polished(fit, place, problem, settings, observe):
    """The chosen point as exact as any other fit; those of a path are as the choice needs."""
    chosen = fit.estimate.choice
    try:
        found = newton.fit(
            place, problem, settings, lambda row, e: observe(row, e._replace(choice=chosen))
        )
    except TimeIsUp:
        return fit._replace(stopped_by="max_time")
    return found._replace(
        estimate=found.estimate._replace(choice=chosen),
        n_passes=fit.n_passes + found.n_passes,
        n_updates=fit.n_updates + found.n_updates,
        n_unconverged=fit.n_unconverged,
    )


def _chosen(choice, grids, penalties, found, paths, errors):
    """The penalty that errors on test sets, or a criterion, tell for the best."""
    if choice.criterion != "cv":
        values = np.full(grids.shape, np.inf)
        n = paths.statistics.n_rows
        factor = choice.factor(n)
        for of_ratio, path, penalty, alphas in zip(values, found, penalties, grids, strict=False):
            done = len(path.errors)
            df = np.diff(path.coefs.indptr)
            of_ratio[:done] = n * paths.deviances(path, penalty.at(alphas[:done])) + factor * df
        return choice.by_values(grids, values)
    of_grids = np.full((1, *grids.shape, errors[0].shape[1]), np.inf)
    for of_ratio, of_path in zip(of_grids[0], errors, strict=False):
        of_ratio[: len(of_path)] = of_path
    chosen = choice.by_errors(grids, of_grids)
    of_grids[np.isinf(of_grids)] = np.nan
    return chosen
