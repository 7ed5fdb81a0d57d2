"""automix: ask the cheapest model first, let it check itself, escalate when that pays."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from automix_cli.api import CallOptions, Runtime, choose_profile
    from automix_cli.library.automix import Automix
    from automix_cli.records import Answer, Question

__version__ = "0.1.0"

__all__ = ["Answer", "Automix", "CallOptions", "Question", "Runtime", "__version__", "choose_profile"]

_MODULES = {"Automix": "library.automix", "Answer": "records", "Question": "records"}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for."""
    if name in __all__:
        return getattr(import_module(f"automix_cli.{_MODULES.get(name, 'api')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
