"""How many columns are many: whether the Gram of all is taken, or working sets are."""

from __future__ import annotations

from ..places.place import Place

# Columns up to which rows are read once, for the Gram of all.
MAX_GRAM = 2000
# Columns up to which it can be had where there is no other way.
MAX_MOMENTS = 10_000

# Values, 256 MiB, of the Gram matrices that training sets have at once. Parts on their way and what
# steps make of them are up to four times as many (measured), so that a GiB is what is held.
_MOST_VALUES = 2**25
# Gram matrices that one of several fits has, between its pass and its step.
_OF_FIT = 6


def is_wide(place: Place, n_classes: int = 1, n_fits: int = 1) -> bool:
    """Whether rows are fitted through working sets and not through the Gram of all columns."""
    d = n_classes * place.n_features
    is_too_much = n_fits > 1 and n_fits > fits_at_once(d)
    return place.n_features > MAX_GRAM or d > MAX_MOMENTS or is_too_much


def may_have(n_grams: int, n_columns: int) -> bool:
    """Whether so many Gram matrices of training sets are not too much for this process."""
    return n_grams * n_columns**2 <= _MOST_VALUES


def fits_at_once(n_columns: int) -> int:
    """How many fits of training sets may go on side by side, with a Gram matrix each."""
    return max(1, _MOST_VALUES // (_OF_FIT * max(1, n_columns) ** 2))


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
