"""Where the tiers of a profile that was found, and not named, may send questions and keys.

Such a file is somebody else's text. A server on this machine may be asked, with a key of its own; a key that
belongs to somebody's service may not go there, since anybody on this machine can listen at a port.
"""

from __future__ import annotations

from collections.abc import Iterable

from automix_cli.backends.catalog import is_key_of_service, is_loopback, standard_key_envs
from automix_cli.profile.model import Tier


def base_problem(api_base: str | None) -> str | None:
    """Why a found file may not send questions to an address; None where it may."""
    return None if api_base is None or is_loopback(api_base) else "may name this machine only"


def key_problem(model: str, api_base: str | None, variable: str | None) -> str | None:
    """Why a found file may not send what a variable holds; None where it may.

    Example:
        >>> key_problem("openai/x", "http://127.0.0.1:8000/v1", "MY_KEY")
        >>> key_problem("openai/x", "http://127.0.0.1:8000/v1", "OPENAI_API_KEY")
        'may not be a key of a service beside an api_base'
    """
    if variable is None:
        return None
    if api_base is None:
        own = standard_key_envs(model)
        return None if variable in own else "may only be the provider's own variable"
    if not is_loopback(api_base):
        return "may not stand beside an api_base on another machine"
    return "may not be a key of a service beside an api_base" if is_key_of_service(variable) else None


def must_be_named(tiers: Iterable[Tier]) -> bool:
    """Whether a file with these tiers is refused where it is found, and used only where it is named."""
    return any(base_problem(t.api_base) or key_problem(t.model, t.api_base, t.api_key_env) for t in tiers)
