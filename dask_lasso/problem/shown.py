"""How penalties are shown, among the parameters of estimators."""

from __future__ import annotations

from inspect import signature
from reprlib import repr as shortened


class Shown:
    """What is shown as the call that makes it."""

    def __repr__(self) -> str:
        given = {name: getattr(self, name) for name in signature(type(self)).parameters}
        arguments = ", ".join(f"{name}={shortened(value)}" for name, value in given.items())
        return f"{type(self).__name__}({arguments})"
