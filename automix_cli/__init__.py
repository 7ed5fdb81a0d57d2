"""automix: ask the cheapest model first, let it check itself, escalate when that pays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from automix_cli.api import CallOptions, Runtime, choose_profile

__version__ = "0.1.0"

__all__ = ["CallOptions", "Runtime", "__version__", "choose_profile"]


def __getattr__(name: str) -> Any:
    """Load the public names of `api` when they are first asked for."""
    if name in __all__:
        from automix_cli import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
