"""The words of `automix doctor`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from automix_cli.texts import count_of, readable_size

_ORIGINS = {
    "bundled": "bundled",
    "named": "named with --profile",
    "environment": "named by AUTOMIX_PROFILE",
    "discovered": "found in this folder or above",
    "user": "the user's own",
}


def diagnosis_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """A diagnosis for people, fit to be pasted into a report of a fault."""
    yield from _version_lines(report["versions"])
    yield ""
    yield from _profile_lines(report["profile"])
    for tier in report["tiers"]:
        yield from _tier_lines(tier)
    yield ""
    present = [name for name, is_present in report["keys"].items() if is_present]
    yield f"keys      {', '.join(present) or 'none of the usual providers'}"
    for server in report["servers"]:
        yield f"server    {_server(server)}"
    yield f"cache     {_cache(report['cache'])}"
    terminal = report["terminal"]
    width = "" if terminal["columns"] is None else f", {terminal['columns']} columns"
    yield f"terminal  stdout: {terminal['stdout']}; stderr: {terminal['stderr']}{width}"
    own = ", ".join(f"{name}={value}" for name, value in terminal["variables"].items())
    yield f"          locale {terminal['locale']}{f'; {own}' if own else ''}"
    yield ""
    for note in report["notes"]:
        yield f"note: {note}"
    for problem in report["problems"]:
        yield f"problem: {problem}"
    if not report["problems"]:
        yield "no problem found" if not report["notes"] else "no problem found beside what is noted"


def _version_lines(versions: Mapping[str, str | None]) -> Iterator[str]:
    yield f"automix   {versions['automix']}, Python {versions['python']}, {versions['machine']}"
    packages = [(name, v) for name, v in versions.items() if name not in ("automix", "python", "machine")]
    for start in range(0, len(packages), 4):
        yield "          " + ", ".join(f"{name} {v or 'absent'}" for name, v in packages[start : start + 4])


def _profile_lines(profile: Mapping[str, Any]) -> Iterator[str]:
    if "problem" in profile:
        first, *rest = profile["problem"].splitlines()
        yield f"profile   none: {first}"
        yield from (f"          {line}" for line in (*rest, *profile["hint"].splitlines()))
        return
    router = f"router {profile['router']}, " if profile["router"] else ""
    state = "calibrated" if profile["calibrated"] else "uncalibrated"
    origin = _ORIGINS.get(profile["origin"], profile["origin"])
    yield f"profile   {profile['name']} ({origin}; {router}{state})"
    files: dict[str, list[str]] = {}
    for key, at in profile["values"].items():
        file, _, line = at.rpartition(":")
        files.setdefault(file, []).append(f"{key}:{line}")
    for file, keys in files.items():
        yield f"          {file} sets {count_of(len(keys), 'value')} (key:line):"
        yield from _in_lines(keys)
    yield "          all else: default (automix profile show --origin)"


def _in_lines(words: list[str]) -> Iterator[str]:
    """Words in lines of at most 80 characters, none of them broken."""
    line = " " * 11
    for word in words:
        if len(line) + len(word) + 1 > 80 and line.strip():
            yield line
            line = " " * 11
        line += f" {word}"
    yield line


def _tier_lines(tier: Mapping[str, Any]) -> Iterator[str]:
    yield f"tier      {tier['name']}: {tier['model']}, {tier['client']} client"
    price = tier["price"]
    amount = (
        "unknown" if price is None else f"${price['input']:g} in, ${price['output']:g} out per million tokens"
    )
    origin = "" if price is None else f" ({tier['price_from']})"
    yield f"          price {amount}{origin}"
    if tier["key_variables"]:
        names = " or ".join(tier["key_variables"])
        yield f"          key {tier['key']} is set" if tier["key"] else f"          key absent: {names}"


def _server(server: Mapping[str, Any]) -> str:
    is_listed = bool(server["models"]) or server["status"] in (0, 200)
    answers = "answers" if is_listed else f"answers with status {server['status']}, lists no models"
    states = {None: "not asked (--ping asks it)", True: answers, False: server["problem"]}
    models = f", lists {count_of(server['models'], 'model')}" if server["models"] else ""
    users = f" (tier {', '.join(server['tiers'])})" if server["tiers"] else ""
    usual = f", the usual address of {server['usual_for']}" if server["usual_for"] else ""
    return f"{server['address']}{users}: {states[server['reachable']]}{models}{usual}"


def _cache(cache: Mapping[str, Any]) -> str:
    if cache["problem"]:
        return f"{cache['folder'] or 'none'}: {cache['problem']}"
    aside = f", {count_of(cache['damaged'], 'damaged file')} set aside" if cache["damaged"] else ""
    size = readable_size(cache["bytes"])
    return f"{cache['folder']}: {count_of(cache['entries'], 'completion')}, {size}{aside}"
