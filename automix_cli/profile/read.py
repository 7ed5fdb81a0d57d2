"""Reading a profile: files and what they extend, the rules of trust, and checks across fields.

    YAML text ──parse──▶ tree of located nodes ──extends──▶ merged tree ──layout──▶ Profile

A discovered file, one that nobody named, may be someone else's text (a cloned repository). It may not
send a key or a prompt to another host, nor raise a limit; a file that the user named may.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from automix_cli.backends.catalog import (
    is_loopback,
    model_problem,
    names_host,
    provider_of,
)
from automix_cli.backends.choice import not_direct
from automix_cli.backends.openai_providers import NATIVE_OLLAMA
from automix_cli.errors import ProfileError, describe_value, did_you_mean
from automix_cli.fitting.router_block import votes_problem
from automix_cli.profile import yamltree
from automix_cli.profile.bundled import bundled_names, bundled_path, shown_path
from automix_cli.profile.layout import PROFILE
from automix_cli.profile.model import (
    MAX_TIERS,
    Limits,
    Origin,
    Profile,
    Tier,
    VerificationSettings,
    order_problems,
)
from automix_cli.profile.schema import Report, is_number
from automix_cli.profile.trust import base_problem, key_problem
from automix_cli.profile.yamltree import MAX_BYTES, UNREAD, Node


def read_profile(path: Path, *, trusted: bool, origin: Origin) -> Profile:
    """Read and check one file, with all it extends.

    Raises:
        ProfileError: with every problem, one a line: `file:line: key.path: message`.
    """
    report = Report()
    tree = _merged_tree(path, trusted, (), report)
    values = PROFILE.values(tree, report)
    if values is not None:
        _check_across(tree.value, values.get("tiers", ()), report)
    if values is None or report.lines:
        raise ProfileError(report.text(), hint=_trust_hint(path) if report.foreign else "")
    sources = tuple((leaf.path, f"{leaf.source}:{leaf.line}") for leaf in tree.leaves())
    settings = {key: value for key, value in values.items() if key not in ("version", "extends")}
    return Profile(**{"name": path.stem, **settings}, path=path, origin=origin, sources=sources)


# ---------------------------------------------------------------- files and what they extend


def _merged_tree(path: Path, trusted: bool, chain: tuple[Path, ...], report: Report) -> Node:
    """The tree of a file over the trees that it extends; `chain` holds the files that extend this one."""
    root, problems = yamltree.parse(_read_bytes(path, trusted), shown_path(path))
    for line, where, message in problems:
        report.add(Node(None, line, root.source, where), message)
    if not isinstance(root.value, dict):
        if root.value is not UNREAD:
            report.add(root, f"expected a mapping with `tiers`, got {describe_value(root.value)}")
        return root._replace(value=UNREAD)
    own: dict[str, Node] = root.value
    base = _base_tree(own.get("extends"), path, trusted, (*chain, path.resolve()), report)
    if not trusted:
        _refuse_foreign(own, base, report)
    return root._replace(value=_overlay(base, own))


def _base_tree(
    node: Node | None, path: Path, trusted: bool, chain: tuple[Path, ...], report: Report
) -> dict[str, Node]:
    """The tree that `extends` names; empty where there is none or it cannot be read."""
    if node is None or node.value is UNREAD:
        return {}
    name = node.value
    if not isinstance(name, str) or not name:
        report.add(node, f"expected a bundled profile or a file, got {describe_value(name)}")
        return {}
    is_bundled = name in bundled_names()
    base = bundled_path(name) if is_bundled else path.parent / Path(name).expanduser()
    if not trusted and not is_bundled and Path(name).name != name:
        report.refuse(node, "may name a bundled profile or a file in the same folder only")
    elif not is_bundled and not base.is_file():
        report.add(node, f"{name} is neither a file nor bundled{did_you_mean(name, bundled_names())}")
    elif base.resolve() in chain:
        report.add(node, f"{name} extends itself")
    else:
        tree = _merged_tree(base, trusted or is_bundled, chain, report)
        return tree.value if isinstance(tree.value, dict) else {}
    return {}


def _overlay(base: Mapping[str, Node], own: Mapping[str, Node]) -> dict[str, Node]:
    """`own` over `base`: settings key by key, `tiers` and `router` whole.

    A router belongs to the tiers it was fitted on: new tiers do not inherit it.
    """
    new_tiers = "tiers" in own
    base_settings = {
        k: v for k, v in base.items() if k not in ("name", "extends") and not (k == "router" and new_tiers)
    }
    tree = {**base_settings, **own}
    for key in ("task", "verification", "limits"):
        below, above = base.get(key), own.get(key)
        if below and above and isinstance(below.value, dict) and isinstance(above.value, dict):
            tree[key] = above._replace(value={**below.value, **above.value})
    return tree


def _read_bytes(path: Path, trusted: bool) -> bytes:
    """The file's bytes, one more than allowed at most; a discovered file is checked as it is opened."""
    flags = os.O_RDONLY | os.O_CLOEXEC | (0 if trusted else os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        descriptor = os.open(path, flags)
        with open(descriptor, "rb") as file:
            if not trusted:
                _require_own_file(path, os.fstat(descriptor))
            return file.read(MAX_BYTES + 1)
    except OSError as e:
        if not trusted and path.is_symlink():
            raise _distrust(path, "is a symbolic link") from e
        raise ProfileError(f"{shown_path(path)}: cannot be read: {e.strerror}") from e


def _require_own_file(path: Path, status: os.stat_result) -> None:
    """Refuse a discovered file that somebody else could have put there."""
    if not stat.S_ISREG(status.st_mode):
        raise _distrust(path, "is not a regular file")
    if status.st_uid not in (0, os.geteuid()):
        raise _distrust(path, "belongs to another user")
    if status.st_mode & stat.S_IWOTH:
        raise _distrust(path, "can be written by everybody")


def _distrust(path: Path, why: str) -> ProfileError:
    """The error of a discovered file that is not used unless the user names it."""
    return ProfileError(f"{shown_path(path)}: {why}, so it is not used unasked", hint=_trust_hint(path))


# ---------------------------------------------------------------- the rules of trust


def _trust_hint(path: Path) -> str:
    """The option that uses a discovered file in spite of its refusal."""
    name = shown_path(path)
    return f"if you trust this file, name it: --profile {name if os.path.isabs(name) else f'./{name}'}"


def _refuse_foreign(own: Mapping[str, Node], base: Mapping[str, Node], report: Report) -> None:
    """Refuse what a discovered file may not say: where keys and prompts go, and higher limits."""
    for tier in _children(own, "tiers", list):
        if isinstance(tier.value, dict):
            _refuse_foreign_tier(tier.value, report)
    if embedding := _children(own, "embedding", dict):
        _refuse_foreign_tier(embedding, report)
    below = _children(base, "limits", dict)
    for key, node in _children(own, "limits", dict).items():
        ceiling = below[key].value if key in below else getattr(Limits(), key, None)
        if is_number(ceiling) and (node.value is None or (is_number(node.value) and node.value > ceiling)):
            report.refuse(node, f"may not be raised above {ceiling:g}")


def _refuse_foreign_tier(tier: Mapping[str, Node], report: Report) -> None:
    """A tier of a discovered file talks to its provider, with its key, or to a server on this machine."""
    base, key, model = (tier.get(k, Node(None, 0)) for k in ("api_base", "api_key_env", "model"))
    if isinstance(model.value, str) and names_host(model.value):
        report.refuse(model, "may not carry a host, an ARN or a path with ..")
    address, variable = (None if node.value is None else str(node.value) for node in (base, key))
    if problem := base_problem(address):
        report.refuse(base, problem)
    if problem := key_problem(str(model.value), address, variable):
        report.refuse(key, problem)
    params = tier.get("params")
    if params is not None and isinstance(params.value, dict) and "extra_body" in params.value:
        report.refuse(params.value["extra_body"], "is not allowed")


# ---------------------------------------------------------------- checks across fields


def _check_across(tree: Mapping[str, Node], tiers: Any, report: Report) -> None:
    """Check what must fit together, as far as it can be read: one mistake does not hide another.

    `tiers` holds the tiers as read, `BAD` for one that is wrong in itself.
    """
    nodes = _children(tree, "tiers", list)[:MAX_TIERS]
    if "tiers" in tree and tree["tiers"].value == []:
        report.add(tree["tiers"], f"expected 1 to {MAX_TIERS} tiers, got none")
    names = [_text_at(node, "name") for node in nodes]
    sound = [tier if isinstance(tier, Tier) else None for tier in tiers] if isinstance(tiers, tuple) else []
    for i, message in order_problems(sound or [None] * len(nodes), names):
        report.add(nodes[i], message)
    for node in (*nodes, *([tree["embedding"]] if "embedding" in tree else [])):
        _refuse_clear_text(node, report)
        _check_client(node, report)
    _check_router_tier(tree, names, report)
    _check_router_votes(tree, report)
    votes = _children(tree, "verification", dict).get("max_votes")
    if votes and votes.value in (0, 1) and _text_at(tree["verification"], "signal") == "consistency":
        report.add(votes, "signal: consistency compares 2 answers at least")


def _check_client(node: Node, report: Report) -> None:
    """The client that a tier names must be able to call its model, with its parameters."""
    model, params = _text_at(node, "model") or "", _children(node.value, "params", dict)
    if model_problem(model):
        return
    reason = not_direct(model, params, _text_at(node, "api_base"))
    if reason and _text_at(node, "backend") == "direct":
        report.add(node.value["backend"], f"{reason}: write litellm or auto")
    if provider_of(model) not in ("ollama", "ollama_chat"):
        for name in NATIVE_OLLAMA:
            if name in params:
                report.add(params[name], "is a parameter of Ollama alone")


def _check_router_tier(tree: Mapping[str, Node], names: list[str | None], report: Report) -> None:
    """A router that always asks one tier must name one that there is."""
    router = tree.get("router", Node(None, 0))
    if _text_at(router, "kind") == "always" and names and _text_at(router, "tier") not in names:
        choices = ", ".join(dict.fromkeys(filter(None, names)))
        report.add(router, f"expected one of {choices}", path="router.tier")


def _check_router_votes(tree: Mapping[str, Node], report: Report) -> None:
    """A router may buy no more votes on one answer than the profile allows."""
    votes = _children(tree, "router", dict).get("votes")
    limit = _children(tree, "verification", dict).get("max_votes")
    most = VerificationSettings().max_votes if limit is None else limit.value
    if votes is None or votes.value is UNREAD or not isinstance(most, int):
        return
    if problem := votes_problem(votes.value, most):
        report.add(votes, problem)


def _refuse_clear_text(node: Node, report: Report) -> None:
    """Refuse to send a key to another machine unencrypted."""
    base = _text_at(node, "api_base") or ""
    if _text_at(node, "api_key_env") and base.startswith("http:") and not is_loopback(base):
        report.add(node.value["api_base"], "would send the key in the clear: use https://")


def _children(tree: Mapping[str, Node], key: str, kind: type) -> Any:
    """The children of a node that is of the expected kind; of any other there are none."""
    value = tree[key].value if isinstance(tree, dict) and key in tree else None
    return value if isinstance(value, kind) else kind()


def _text_at(node: Node, key: str) -> str | None:
    """The text under a key of a mapping, where there is one."""
    child = node.value.get(key) if isinstance(node.value, dict) else None
    return child.value if child is not None and isinstance(child.value, str) else None
