"""Warnings that name the user's line, from however deep in the package they come."""

from __future__ import annotations

import os
import sys
import warnings

import joblib
import sklearn

# Other than the user's: scikit-learn's decorators and searches call `fit`, these by joblib.
_INSIDE = tuple(
    os.path.dirname(path) + os.sep for path in (__file__, sklearn.__file__, joblib.__file__)
)


# `skip_file_prefixes` of Python 3.12 does the same.
def warn(message: str, category: type[Warning]) -> None:
    """``warnings.warn`` at the innermost line of the user's."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
