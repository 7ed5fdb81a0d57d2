"""automix: ask the cheapest model first, let it check itself, escalate when that pays."""

__version__ = "0.1.0"

__all__ = ["__version__"]
