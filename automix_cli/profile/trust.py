"""Where the tiers of a profile that was found, and not named, may send questions and keys.

Such a file is somebody else's text. A server on this machine may be asked, but no variable that the file
names is sent there: any program here can listen at a port.
"""

from __future__ import annotations

from collections.abc import Iterable

from automix_cli.backends.catalog import is_loopback, standard_key_envs
from automix_cli.profile.model import Tier


def base_problem(api_base: str | None) -> str | None:
    """Why a found file may not send questions to an address; None where it may."""
    return None if api_base is None or is_loopback(api_base) else "may name this machine only"


def key_problem(model: str, api_base: str | None, variable: str | None) -> str | None:
    """Why a found file may not send what a variable holds; None where it may.

    Example:
        >>> key_problem("openai/x", None, "OPENAI_API_KEY")
        >>> key_problem("openai/x", "http://127.0.0.1:8000/v1", "MY_KEY")
        'may not stand beside an api_base'
    """
    if variable is None:
        return None
    if api_base is not None:
        return "may not stand beside an api_base"
    return None if variable in standard_key_envs(model) else "may only be the provider's own variable"


def must_be_named(tiers: Iterable[Tier]) -> bool:
    """Whether a file with these tiers is refused where it is found, and used only where it is named."""
    return any(base_problem(t.api_base) or key_problem(t.model, t.api_base, t.api_key_env) for t in tiers)
