"""What a run would meet on this machine: versions, profile, keys, prices, servers, cache and terminal.

A diagnosis is made to be shown to others: variables are named and never read out, and the home folder
is shown as ~.
"""

from __future__ import annotations

import difflib
import locale
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

from automix_cli import __version__
from automix_cli.backends.catalog import is_local, is_loopback, standard_key_envs
from automix_cli.backends.endpoints import OWN_HOSTS, endpoint_notes
from automix_cli.backends.local_servers import LOCAL_SERVERS, ask_all, ollama_address
from automix_cli.backends.openai_providers import PROVIDERS
from automix_cli.errors import AutomixError, redact
from automix_cli.profile.model import Profile, Tier
from automix_cli.profile.search import load_profile, profile_files
from automix_cli.profile.unknown_prices import price_notes
from automix_cli.streams import stderr, stdout
from automix_cli.texts import count_of

_PACKAGES = ("typer", "rich", "litellm", "openai", "aiohttp", "httpx", "PyYAML", "numpy", "diskcache")
_EXTRAS = ("scikit-learn", "scipy", "pyarrow")
_PING_SECONDS = 5.0


def diagnose(
    name: str | None, environ: Mapping[str, str], *, ping: bool = False, cwd: Path | None = None
) -> dict[str, Any]:
    """Everything that a report of a fault should hold.

    Args:
        name: the profile, as `--profile` takes it; None searches.
        environ: the environment.
        ping: whether servers on other machines are asked for their models, too, without a key.
        cwd: where the search starts, else the current folder.
    """
    profile, problem = _profile(name, environ, cwd)
    has_file = bool(name or environ.get("AUTOMIX_PROFILE") or profile_files(cwd or Path.cwd(), environ))
    servers = _servers(profile, environ, ping=ping)
    report = {
        "versions": _versions(),
        "profile": _profile_part(profile, problem, has_file=has_file),
        "tiers": _tiers(profile, environ),
        "keys": _keys(environ),
        "servers": servers,
        "cache": _cache(environ),
        "terminal": _terminal(environ),
        "notes": [*endpoint_notes(environ), *(() if profile is None else _profile_notes(profile))],
    }
    result: dict[str, Any] = _without_home({**report, "problems": list(_problems(report))}, environ)
    return result


# ---------------------------------------------------------------- versions


def _versions() -> dict[str, str | None]:
    """Of automix, Python, the machine and the packages; None for one that is not installed."""
    packages = {name: _version(name) for name in (*_PACKAGES, *_EXTRAS)}
    machine = f"{platform.system()} {platform.release()} {platform.machine()}"
    return {"automix": __version__, "python": platform.python_version(), "machine": machine, **packages}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


# ---------------------------------------------------------------- profile


def _profile(
    name: str | None, environ: Mapping[str, str], cwd: Path | None
) -> tuple[Profile | None, AutomixError | None]:
    """The profile that a run would take, or why it would take none."""
    try:
        return load_profile(name, environ=environ, cwd=cwd), None
    except AutomixError as exc:
        return None, exc


def _profile_part(profile: Profile | None, problem: AutomixError | None, *, has_file: bool) -> dict[str, Any]:
    """Which profile, why this one, and where each value that it sets comes from."""
    from automix_cli.profile.router import is_calibrated

    if profile is None:
        return _no_profile_part(problem, has_file=has_file) if problem else {}
    router = dict(profile.router or {})
    return {
        "name": profile.name,
        "origin": profile.origin,
        "path": None if profile.path is None else str(profile.path),
        "sha": profile.sha,
        "router": router.get("kind"),
        "calibrated": is_calibrated(profile),
        "values": {key: at for key, at in profile.sources if not key.startswith("router")},
    }


def _profile_notes(profile: Profile) -> Iterator[str]:
    """What a run would say of a profile's prices and router; of other models, where the tiers name them."""
    from automix_cli.profile.router import fit_notes

    yield from price_notes(profile)
    yield from fit_notes(profile)
    fitted = ((profile.router or {}).get("fitted") or {}).get("models") or ()
    places = dict(profile.sources)
    for i, (tier, model) in enumerate(zip(profile.tiers, fitted, strict=False)):
        if model != tier.model:
            at = places.get(f"tiers[{i}].model", f"profile {profile.name}")
            own = f"tier {tier.name} asks {tier.model}"
            yield f"the router was fitted on {model}; {own}: {at} says which model"


def _no_profile_part(problem: AutomixError, *, has_file: bool) -> dict[str, Any]:
    """Why there is no profile, and what mends that: a file that is there is named or corrected, not begun."""
    start = "automix profile init, or automix profile init --api-base URL"
    way = (problem.hint.splitlines() or ["correct that line"])[0] if has_file else start
    return {"problem": redact(problem.message), "hint": redact(problem.hint), "way": redact(way)}


def _tiers(profile: Profile | None, environ: Mapping[str, str]) -> list[dict[str, Any]]:
    return [] if profile is None else [_tier(t, i, profile, environ) for i, t in enumerate(profile.tiers)]


def _tier(tier: Tier, place: int, profile: Profile, environ: Mapping[str, str]) -> dict[str, Any]:
    """A tier: who calls it, where, with which key, and what is known of its price."""
    price, names = tier.list_price(), tier.key_envs()
    present = next((name for name in names if environ.get(name, "").strip()), None)
    return {
        "name": tier.name,
        "model": tier.model,
        "client": tier.client(),
        "address": _address(tier, environ),
        "key": present,
        "key_variables": list(names),
        "price": None if price is None else {"input": price.input, "output": price.output},
        "price_from": _price_origin(tier, place, profile),
    }


def _price_origin(tier: Tier, place: int, profile: Profile) -> str:
    """Where a price comes from: the profile's line, the table, or nowhere."""
    if tier.list_price() is None:
        return "unknown"
    if tier.price is not None:
        at = (at for key, at in profile.sources if key.startswith(f"tiers[{place}].price"))
        return next(at, "the profile")
    return "free: a server of one's own" if is_local(tier.model) else "LiteLLM's table"


def _address(tier: Tier, environ: Mapping[str, str]) -> str | None:
    """Where a tier's requests go; None for simulated models, and clients that find out themselves."""
    provider = tier.model.partition("/")[0]
    if tier.api_base is not None:
        return tier.api_base
    if provider in ("ollama", "ollama_chat"):
        return ollama_address(environ)
    if provider in OWN_HOSTS:
        return OWN_HOSTS[provider][0]
    return environ.get(PROVIDERS[provider].address_env) if provider in PROVIDERS else None


# ---------------------------------------------------------------- keys, servers, cache, terminal


def _keys(environ: Mapping[str, str]) -> dict[str, bool]:
    """Whether the variables of the usual providers hold something; what they hold is never looked at."""
    providers = ("openai", "anthropic", "gemini", "openrouter", "groq", "mistral", "deepseek", "together_ai")
    names = dict.fromkeys(name for p in providers for name in standard_key_envs(f"{p}/"))
    return {name: bool(environ.get(name, "").strip()) for name in names}


def _servers(profile: Profile | None, environ: Mapping[str, str], *, ping: bool) -> list[dict[str, Any]]:
    """The servers of the profile's tiers, and those at the usual addresses of this machine."""
    users: dict[str, list[Tier]] = {}
    for tier in () if profile is None else profile.tiers:
        address = _address(tier, environ)
        if address is not None:
            users.setdefault(address, []).append(tier)
    usual = {server.address: server.name for server in LOCAL_SERVERS}
    near = [address for address in (*users, *usual) if is_loopback(address)]
    far = [address for address in users if not is_loopback(address)]
    variables = {
        address: name for address in near if (name := _key_variable(users.get(address, ()), environ))
    }
    keys = {address: environ[name].strip() for address, name in variables.items()}
    replies = {**ask_all(near, keys=keys), **(ask_all(far, _PING_SECONDS) if ping else {})}
    rows: list[dict[str, Any]] = []
    for address in dict.fromkeys((*users, *usual)):
        reply, tiers = replies.get(address), [tier.name for tier in users.get(address, ())]
        if tiers or (reply is not None and reply.is_reachable):
            rows.append(
                {
                    "address": address,
                    "usual_for": usual.get(address),
                    "tiers": tiers,
                    "reachable": None if reply is None else reply.is_reachable,
                    "problem": "" if reply is None else redact(reply.problem),
                    "status": 0 if reply is None else reply.status,
                    "key": variables.get(address),
                    "models": 0 if reply is None else len(reply.models),
                    "not_listed": _not_listed(profile, tiers, () if reply is None else reply.models),
                }
            )
    return rows


def _key_variable(tiers: Sequence[Tier], environ: Mapping[str, str]) -> str | None:
    """The variable whose key a run would send to the address of these tiers; None where it holds nothing."""
    names = (name for tier in tiers for name in tier.key_envs())
    return next((name for name in names if environ.get(name, "").strip()), None)


def _not_listed(
    profile: Profile | None, names: Sequence[str], models: Sequence[str]
) -> list[dict[str, str | None]]:
    """The tiers whose model their own server does not list; none where it lists no models, or patterns.

    The lists of public services are long and leave out variants: they are not looked at.
    """
    if profile is None or not models or any("*" in model for model in models):
        return []
    rows: list[dict[str, str | None]] = []
    for place, tier in enumerate(profile.tiers):
        own = tier.model.partition("/")[2]
        is_own = tier.name in names and (tier.api_base is not None or is_local(tier.model))
        if not is_own or {own, f"{own}:latest", tier.model} & set(models):
            continue
        near = difflib.get_close_matches(own, models, 3, 0.0)
        at = next((at for key, at in profile.sources if key == f"tiers[{place}].model"), None)
        rows.append({"tier": tier.name, "model": own, "nearest": ", ".join(near), "line": at})
    return rows


def _cache(environ: Mapping[str, str]) -> dict[str, Any]:
    """Where completions are kept, how many, and whether they can be read."""
    from automix_cli.backends.store import survey
    from automix_cli.backends.store_folder import cache_folder

    row: dict[str, Any] = {"folder": None, "entries": 0, "bytes": 0, "damaged": 0, "problem": ""}
    try:
        folder = cache_folder(environ)
        row["folder"] = str(folder)
        usage = survey(folder)
    except (AutomixError, OSError) as exc:
        return {**row, "problem": str(exc)}
    return {**row, "entries": usage.entries, "bytes": usage.bytes, "damaged": len(usage.damaged_files)}


def _terminal(environ: Mapping[str, str]) -> dict[str, Any]:
    """The streams, and the variables that change what is shown."""
    variables = ("TERM", "NO_COLOR", "LANG", "LC_ALL", "CI")
    return {
        "stdout": _stream(stdout()),
        "stderr": _stream(stderr()),
        "columns": os.get_terminal_size(2).columns if _is_terminal(stderr()) else None,
        "locale": locale.getlocale()[0] or "C",
        "variables": {name: environ[name] for name in variables if environ.get(name)},
    }


def _stream(stream: TextIO | None) -> str:
    """What a stream is: closed, a terminal or not, and its encoding."""
    if stream is None:
        return "closed"
    return f"{'terminal' if _is_terminal(stream) else 'no terminal'}, {stream.encoding}"


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


# ---------------------------------------------------------------- problems


def _problems(report: Mapping[str, Any]) -> Iterator[str]:
    """What would keep a run from working, each in one line with what mends it."""
    if problem := report["profile"].get("problem"):
        yield f"no profile can be used: {problem.splitlines()[0]}; {report['profile']['way']}"
    for name in _PACKAGES:
        if report["versions"][name] is None:
            yield f"{name} is not installed: python -m pip install automix-cli"
    for tier in report["tiers"]:
        if tier["key_variables"] and tier["key"] is None:
            yield f"tier {tier['name']}: no key: export {tier['key_variables'][0]}=…"
    for server in report["servers"]:
        if server["tiers"] and server["reachable"] is False:
            names, address = ", ".join(server["tiers"]), server["address"]
            yield f"tier {names}: {address} does not answer ({server['problem']})"
        if problem := _refused_key(server, report["tiers"]):
            yield problem
        for own in server["not_listed"]:
            count = count_of(server["models"], "model")
            head = f"tier {own['tier']}: {server['address']} does not list {own['model']}"
            where = f"model: in {own['line']}" if own["line"] else "the tier's model"
            yield f"{head}; it lists {count}, the nearest: {own['nearest']}; change {where}"
    if report["cache"]["problem"]:
        yield f"cache: {report['cache']['problem']}"


def _refused_key(server: Mapping[str, Any], tiers: Sequence[Mapping[str, Any]]) -> str:
    """That a server on this machine wants another key, or any; "" where it does not, or none can be sent."""
    own = [tier for tier in tiers if tier["name"] in server["tiers"]]
    is_told = any(tier["key_variables"] and tier["key"] is None for tier in own)
    if not own or is_told or server["status"] not in (401, 403) or not is_loopback(server["address"]):
        return ""
    head = f"tier {', '.join(server['tiers'])}: {server['address']}"
    if server["key"]:
        return f"{head} refuses the key in {server['key']} (status {server['status']})"
    return f"{head} wants a key (status {server['status']}): name its variable in api_key_env"


def _without_home(value: Any, environ: Mapping[str, str]) -> Any:
    """A value with the home folder as ~ in every text."""
    home = environ.get("HOME") or os.path.expanduser("~")
    if isinstance(value, dict):
        return {_without_home(k, environ): _without_home(v, environ) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_home(item, environ) for item in value]
    is_shown = isinstance(value, str) and len(home) > 1
    return value.replace(home, "~") if is_shown else value
