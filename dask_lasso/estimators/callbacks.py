"""scikit-learn's callbacks, where the installed version has them (1.9 and later)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..places.input import Given

try:
    from sklearn import callback
except ImportError:
    callback = None

Method = TypeVar("Method", bound=Callable)


class CallbackSupport(getattr(callback, "CallbackSupportMixin", object)):  # type: ignore[misc]
    """`sklearn.callback.CallbackSupportMixin`, where there is one."""


def with_callbacks(method: Method) -> Method:
    """`sklearn.callback.with_callbacks`, where there is one."""
    return method if callback is None else callback.with_callbacks(method)


class Callbacks:
    """The callbacks of one fit: a root task, and a subtask per estimate.

    Parameters
    ----------
    estimator : estimator being fitted
    given : what `fit` was called with
    """

    def __init__(self, estimator: Any, given: Given) -> None:
        # The context is made even without callbacks of our own: a meta-estimator's
        # callbacks hang on it.
        self._context = None
        if not hasattr(estimator, "_init_callback_context"):
            return
        self._estimator = estimator
        metadata = {name: values for name, values in given.named.items() if name != "y"}
        self._data = {"X": given.X, "y": given.y, "metadata": metadata or None}
        self._context = estimator._init_callback_context(max_subtasks=None)
        self._context.call_on_fit_task_begin(estimator=estimator, **self._data)

    def on_update(self, attributes: Callable[[], dict[str, Any]]) -> bool:
        """Tell the callbacks of a new estimate; True if one of them asks to stop."""
        if self._context is None or not hasattr(self._estimator, "_skl_callbacks"):
            return False
        context = self._context.subcontext(task_name="estimate")
        context.call_on_fit_task_begin(estimator=self._estimator, **self._data)
        return bool(
            context.call_on_fit_task_end(
                estimator=self._estimator, reconstruction_attributes=attributes, **self._data
            )
        )

    def on_end(self, attributes: Callable[[], dict[str, Any]]) -> None:
        """Tell the callbacks that the fit has ended."""
        if self._context is not None:
            self._context.call_on_fit_task_end(
                estimator=self._estimator, reconstruction_attributes=attributes, **self._data
            )
