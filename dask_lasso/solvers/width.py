"""How many columns are many: whether the Gram of all is taken, or working sets are."""

from __future__ import annotations

from ..places.place import Place

# Columns up to which rows are read once, for the Gram of all.
MAX_GRAM = 2000
# Columns up to which it can be had where there is no other way.
MAX_MOMENTS = 10_000


def is_wide(place: Place, n_classes: int = 1) -> bool:
    """Whether rows are fitted through working sets and not through the Gram of all columns."""
    return place.n_features > MAX_GRAM or n_classes * place.n_features > MAX_MOMENTS


def is_wide_path(place: Place) -> bool:
    """Whether paths go through working sets: where one pass for all moments is too much."""
    k = place.n_features
    return k > MAX_MOMENTS or (k > MAX_GRAM and place.n_rows < k)


def is_huge(place: Place) -> bool:
    """Whether the Gram of all columns is too large, whatever there is to do."""
    return place.n_features > MAX_MOMENTS


def check_width(place: Place, n_classes: int = 1) -> None:
    """Raise where the Gram of all columns is needed, of all classes, and is too large."""
    if n_classes > 1 and n_classes * place.n_features > MAX_MOMENTS:
        raise ValueError(
            f"X has {place.n_features} columns and y {n_classes} classes, and this fit needs the"
            f" moments of all pairs of both, of at most {MAX_MOMENTS} in all: use an l1 penalty"
            " (alpha > 0, l1_ratio > 0), or select columns first, or use"
            " sklearn.multiclass.OneVsRestClassifier."
        )
    if place.n_features > MAX_MOMENTS:
        raise ValueError(
            f"X has {place.n_features} columns, and this fit needs the {MAX_MOMENTS} squared"
            " moments of all pairs of at most that many. More columns take an l1 penalty on each"
            " of them (alpha > 0, l1_ratio > 0, penalty_weights > 0), and where alpha is chosen,"
            " criterion='cv'; or select columns first."
        )
