"""moesim for programs and notebooks: `run` one scenario, `sweep` many; `Scenario` is what they take, in full.

    import simulator

    simulator.run("examples/demo.yaml", max_tokens=500)

All else is imported from its own module. Importing this package imports nothing of it: a name is fetched as it is first
used.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.api import Scenario, run, sweep

__all__ = ["Scenario", "run", "sweep"]


class _Public:
    """A name of `simulator.api`, as an attribute of this package.

    `simulator.run` and `simulator.sweep` are submodules as well, and importing a submodule sets it on its package: that is
    what `__set__` passes over, so that these names mean the functions whatever was imported before. From the submodules,
    names are taken with `from simulator.run import ...`.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, package: ModuleType | None, owner: type | None = None) -> object:
        return getattr(import_module("simulator.api"), self._name)

    def __set__(self, package: ModuleType, value: object) -> None:
        if not isinstance(value, ModuleType):
            raise AttributeError(f"simulator.{self._name} cannot be set")


class _Package(ModuleType):
    Scenario = _Public()
    run = _Public()
    sweep = _Public()

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
