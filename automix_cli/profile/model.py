"""The profile: which tiers to ask, how to verify them, and the router that decides between them.

    YAML text ──parse──▶ tree of located nodes ──extends──▶ merged tree ──check──▶ Profile

A profile is found in this order: `--profile`, `AUTOMIX_PROFILE`, an `automix.yaml` in this folder
or a parent, the user's config folder, the first bundled profile whose key or local server is
present. A file that was merely *found* is someone else's text (a cloned repository) and may not
send a key or a prompt to another host, nor raise a limit; a file the user named may.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from automix_cli.backends.catalog import URL, context_window, is_local, is_loopback, model_problem
from automix_cli.backends.catalog import list_price as list_price
from automix_cli.backends.catalog import standard_key_envs as standard_key_envs
from automix_cli.errors import ProfileError, StorageError, UsageError, did_you_mean, quoted
from automix_cli.fitting.router_block import ROUTER_KINDS
from automix_cli.pomdp.signals import LOGPROB_OF, SIGNALS, LogprobOf, Signal
from automix_cli.profile import yamltree
from automix_cli.profile.schema import (
    BAD,
    Report,
    anything,
    expect,
    flag,
    is_number,
    list_of,
    matching,
    number,
    one_of,
    or_null,
    record,
    text,
    visible,
    whole,
)
from automix_cli.profile.yamltree import MAX_BYTES, UNREAD, Node, at
from automix_cli.prompts import VerificationExample
from automix_cli.records import Price
from automix_cli.scoring import SCORERS

FILE_NAME = "automix.yaml"
MAX_TIERS = 6
MAX_VOTES = 64
OLLAMA = ("127.0.0.1", 11434)

Origin = Literal["bundled", "named", "environment", "discovered", "user", "tiers-option"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One rung: a model with a price, cheapest first.

    `price` is what the profile says; `list_price()` falls back on LiteLLM's table.
    `params` are sampling parameters by name; `api_key_env` names the variable that holds
    the key (`key_envs()` says which are read without it).
    """

    name: str
    model: str
    price: Price | None = None
    params: tuple[tuple[str, Any], ...] = ()
    api_base: str | None = None
    api_key_env: str | None = None
    rpm: int | None = None

    def list_price(self) -> Price | None:
        """The profile's price, else the table's, else None: unknown.

        A local server's zero holds only while it is local: behind another host's
        `api_base` somebody may charge.
        """
        if self.price or (self.api_base and is_local(self.model) and not is_loopback(self.api_base)):
            return self.price
        return list_price(self.model)

    def context_window(self) -> int | None:
        """How many input tokens the model takes, where LiteLLM's table knows."""
        return context_window(self.model)

    def key_envs(self) -> tuple[str, ...]:
        """Variables that may hold the key, in order of preference.

        A key goes only to the host it belongs to: with an `api_base` none but the variable
        that the profile names for it.
        """
        if self.api_key_env:
            return (self.api_key_env,)
        return () if self.api_base else standard_key_envs(self.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is asked of every tier and how an answer is judged.

    `abstain_value` is the worth of "no answer" on the score's scale; None: always answer.
    A score of at least `pass_score` counts as right.
    """

    instruction: str = "Answer as concisely as you can."
    scorer: str = "exact"
    abstain_value: float | None = None
    pass_score: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationSettings:
    """Where confidence comes from and how much of it may be bought.

    `batch` holds how many votes one action may buy; `max_votes` 0 switches verification
    off. A `temperature` of None leaves it to the provider, since many models refuse one.
    Without `examples` the built-in ones are used.
    """

    signal: Signal = "votes"
    logprob_of: LogprobOf = "verdict"
    max_votes: int = 8
    batch: tuple[int, ...] = (1, 2, 4)
    temperature: float | None = 1.0
    max_tokens: int = 512
    examples: tuple[VerificationExample, ...] = ()
    last_tier: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How hard to press: requests in flight, seconds per call, tries per call, dollars per run."""

    concurrency: int = 16
    timeout: float = 60.0
    attempts: int = 6
    max_cost: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A checked profile; `router` is the block `automix calibrate` wrote, None when uncalibrated.

    `router` is checked for shape only (known kind, finite numbers); `fitting` reads the rest.
    `embedding` says what an embedding model costs and where it is; whether one is used at all is
    for `--embed-model` and the router to say.
    """

    name: str
    tiers: tuple[Tier, ...]
    task: Task = Task()
    verification: VerificationSettings = VerificationSettings()
    router: Mapping[str, Any] | None = None
    embedding: Tier | None = None
    limits: Limits = Limits()
    path: Path | None = None
    origin: Origin = "named"
    sources: tuple[tuple[str, str], ...] = field(default=(), compare=False, repr=False)

    @property
    def trusted(self) -> bool:
        """Whether the user chose this profile, rather than finding it in a folder."""
        return self.origin != "discovered"

    @property
    def sha(self) -> str:
        """Short hash over all that changes answers or routing.

        That is tiers, embedding, task, verification and router; prices too, where the profile gives
        them, because planned costs steer the router. Limits, keys, names of files and what
        the router says of its own fitting are left out, and so is LiteLLM's table: an
        upgrade must not orphan a half-finished output.
        """
        import hashlib

        body = self.to_dict()
        embedding = {"embedding": _lasting(body["embedding"])} if "embedding" in body else {}
        told = {
            **embedding,
            "tiers": [_lasting(tier) for tier in body["tiers"]],
            "task": body["task"],
            "verification": body["verification"],
            "router": {k: v for k, v in (self.router or {}).items() if k != "fitted"},
        }
        canonical = json.dumps(told, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def tier(self, name: str) -> Tier:
        """The tier of that name.

        Raises:
            UsageError: there is none.
        """
        for tier in self.tiers:
            if tier.name == name:
                return tier
        names = [t.name for t in self.tiers]
        raise UsageError(
            f"profile {self.name} has no tier {name}{did_you_mean(name, names)}",
            hint=f"tiers: {', '.join(names)}",
        )

    def embedder(self, model: str) -> Tier:
        """How an embedding model is reached and paid: as `embedding` says of it, else by its name alone."""
        known = self.embedding
        return known if known is not None and known.model == model else _embedder(model=model)

    def budget_price(self, tier: Tier) -> Price | None:
        """What a budget counts for `tier`: a discovered profile never less than LiteLLM's table.

        A discovered zero for a provider that charges is unknown, not free.
        """
        told = tier.list_price()
        if self.trusted or tier.price is None or told is None:
            return told
        table = replace(tier, price=None).list_price()
        if table is None:
            return told if told.input > 0 and (told.output > 0 or tier == self.embedding) else None
        return Price(
            input=max(told.input, table.input),
            output=max(told.output, table.output),
            cached_input=max(_cached_rate(told), _cached_rate(table)),
        )

    def to_dict(self) -> dict[str, Any]:
        """The effective profile in the shape of its YAML; what is unset is left out."""
        told: dict[str, Any] = {"version": 1, "name": self.name}
        told["tiers"] = [_tier_dict(tier) for tier in self.tiers]
        told["task"] = _settings_dict(self.task)
        told["verification"] = _settings_dict(self.verification)
        told["verification"]["examples"] = [
            _set_only({**e._asdict(), "choices": list(e.choices)}) for e in self.verification.examples
        ]
        if self.embedding is not None:
            told["embedding"] = _embedding_dict(self.embedding)
        if self.router is not None:
            told["router"] = dict(self.router)
        told["limits"] = _settings_dict(self.limits)
        return told


def _cached_rate(price: Price) -> float:
    return price.input if price.cached_input is None else price.cached_input


def _settings_dict(settings: Any) -> dict[str, Any]:
    """A dataclass as a dictionary of one level, tuples as lists."""
    values = ((f.name, getattr(settings, f.name)) for f in fields(settings))
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values}


def _set_only(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None and value != []}


def _tier_dict(tier: Tier) -> dict[str, Any]:
    """A tier as the YAML has it."""
    told = _settings_dict(tier)
    told["price"] = _set_only(_settings_dict(tier.price)) if tier.price else None
    told["params"] = dict(tier.params) or None
    return _set_only(told)


def _embedding_dict(embedding: Tier) -> dict[str, Any]:
    """The `embedding` block as the YAML has it."""
    told = _tier_dict(embedding)
    del told["name"]
    if embedding.price is not None:
        told["price"] = {"input": embedding.price.input}
    return told


def _lasting(tier: Mapping[str, Any]) -> dict[str, Any]:
    """What of a tier changes answers or routing."""
    return {key: value for key, value in tier.items() if key not in ("api_key_env", "rpm")}


# ── The search ────────────────────────────────────────────────────────────────────────────────


def load_profile(
    name: str | None = None,
    *,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
    probe: Callable[[], bool] | None = None,
) -> Profile:
    """Find and read the profile.

    Args:
        name: a path or a bundled name, as `--profile` takes it; None searches.
        cwd: where the search starts, else the current folder.
        environ: the environment, else the process's.
        probe: whether a local Ollama answers; asked in the very last step only.

    Raises:
        ProfileError: nothing is found, or what is found cannot be used.
    """
    cwd = Path.cwd() if cwd is None else cwd
    environ = os.environ if environ is None else environ
    if name is not None:
        return _named(name, cwd, "named")
    if named := environ.get("AUTOMIX_PROFILE"):
        return _named(named, cwd, "environment")
    for path, origin in found_files(cwd, environ):
        return read_profile(path, trusted=origin == "user", origin=origin)
    for bundled in ("openai", "anthropic", "gemini", "openrouter"):
        if any(environ.get(key) for key in standard_key_envs(f"{bundled}/")):
            return read_profile(bundled_path(bundled), trusted=True, origin="bundled")
    if (probe or ollama_answers)():
        return read_profile(bundled_path("ollama"), trusted=True, origin="bundled")
    raise _nothing_found(cwd, environ)


def found_files(cwd: Path, environ: Mapping[str, str]) -> list[tuple[Path, Origin]]:
    """The profiles that a search meets, the one it takes first: a folder's, then the user's."""
    near = (folder / FILE_NAME for folder in searched_folders(cwd, environ))
    found: list[tuple[Path, Origin]] = [(path, "discovered") for path in near if os.path.lexists(path)][:1]
    config = user_config(environ)
    if config is not None and config.exists() and (config, "discovered") not in found:
        found.append((config, "user"))
    return found


def _named(name: str, cwd: Path, origin: Origin) -> Profile:
    """The profile a person named: a bundled one, or a file."""
    if name in bundled_names():
        return read_profile(bundled_path(name), trusted=True, origin="bundled")
    path = cwd / Path(name).expanduser()
    if not path.exists():
        raise ProfileError(
            f"{name}: no such file, and no bundled profile{did_you_mean(name, bundled_names())}",
            hint=f"bundled profiles: {', '.join(bundled_names())}",
        )
    return read_profile(path, trusted=True, origin=origin)


def searched_folders(cwd: Path, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Folders looked into for `automix.yaml`, nearest first.

    Upwards to the repository root or the home folder, whichever comes first. Outside
    both, only `cwd`: above it may be a folder where anybody writes, such as /tmp.
    """
    home = _home(environ)
    homes = {home, home.resolve()} if home else set()
    folders = []
    for folder in (cwd, *cwd.parents):
        folders.append(folder)
        if folder in homes or os.path.lexists(folder / ".git"):
            return tuple(folders)
    return (cwd,)


def _home(environ: Mapping[str, str]) -> Path | None:
    home = environ.get("HOME") or os.path.expanduser("~")
    return Path(home) if os.path.isabs(home) else None


def user_config(environ: Mapping[str, str]) -> Path | None:
    """The user's own profile: `automix.yaml` in the config folder, whether it exists or not."""
    xdg, home = environ.get("XDG_CONFIG_HOME", ""), _home(environ)
    if os.path.isabs(xdg):
        return Path(xdg) / "automix" / FILE_NAME
    if home is None:
        return None
    folder = home / "Library" / "Application Support" if sys.platform == "darwin" else home / ".config"
    return folder / "automix" / FILE_NAME


def ollama_answers() -> bool:
    """Whether something listens where Ollama does on this machine."""
    import socket

    try:
        with socket.create_connection(OLLAMA, timeout=0.2):
            return True
    except OSError:
        return False


def _nothing_found(cwd: Path, environ: Mapping[str, str]) -> ProfileError:
    """What was looked for, and the three quickest ways on."""
    folders, config = searched_folders(cwd, environ), user_config(environ)
    last = f" up to {folders[-1]}" if len(folders) > 1 else ""
    keys = "OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY, OPENROUTER_API_KEY"
    return ProfileError(
        "no profile, no key and no local model found\n"
        f"looked for {FILE_NAME} in {cwd}{last}{f', for {config}' if config else ''},\n"
        f"for {keys} and for Ollama on {OLLAMA[0]}:{OLLAMA[1]}",
        hint="export OPENAI_API_KEY=…   or another provider's key\n"
        "ollama serve              or run models on this machine\n"
        "--profile demo            or try it with simulated models, no key and no network",
    )


@cache
def _bundled_folder() -> Path:
    """`automix_cli/profiles` in a wheel, `profiles` beside the package in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "profiles"
    return inside if inside.is_dir() else package.parent / "profiles"


def bundled_names() -> tuple[str, ...]:
    """Names of the profiles that ship with automix, sorted.

    Example:
        >>> "demo" in bundled_names()
        True
    """
    return tuple(sorted(path.stem for path in _bundled_folder().glob("*.yaml")))


def bundled_path(name: str) -> Path:
    """The file of a bundled profile."""
    return _bundled_folder() / f"{name}.yaml"


def profile_of_models(models: Sequence[str]) -> Profile:
    """The profile of `--tiers openai/a,openai/b`: these models, cheapest first, all else default.

    Example:
        >>> [t.name for t in profile_of_models(["demo/small", "demo/large"]).tiers]
        ['small', 'large']

    Raises:
        UsageError: too many, too few, equal or unknown models, or the dearer one first.
    """
    ends = [model.rpartition("/")[2] for model in models]
    names = ends if len(set(ends)) == len(ends) else list(models)
    tiers = tuple(Tier(name=name, model=model) for name, model in zip(names, models, strict=True))
    problems = [p for model in models if (p := model_problem(model))]
    if not 1 <= len(tiers) <= MAX_TIERS:
        problems.append(f"expected 1 to {MAX_TIERS} models, got {len(tiers)}")
    problems += [message for _, message in _order_problems(tiers, names)]
    if problems:
        raise UsageError(
            f"--tiers: {'; '.join(problems)}",
            hint="automix ask --tiers openai/gpt-6-luna,openai/gpt-6.1-sol …",
        )
    return Profile(name="tiers", tiers=tiers, origin="tiers-option")


# ── Reading: files and what they extend ───────────────────────────────────────────────────────


def read_profile(path: Path, *, trusted: bool, origin: Origin) -> Profile:
    """Read and check one file, with all it extends.

    Raises:
        ProfileError: with every problem found, one a line: `file:line: key.path: message`.
    """
    report = Report()
    tree = _merged(path, trusted, (), report)
    profile = _profile(tree, path, origin, report)
    if profile is None or report.lines:
        raise ProfileError(report.told(), hint=_trust(path) if report.foreign else "")
    return profile


def shown_path(path: Path) -> str:
    """A path as a person would type it here; a bundled file by its name."""
    near = path.name if path.parent == _bundled_folder() else os.path.relpath(path)
    return visible(str(path) if near.startswith(os.pardir) else near)


def _trust(path: Path) -> str:
    """How to use a file that was found and refused."""
    shown = shown_path(path)
    return f"if you trust this file, name it: --profile {shown if os.path.isabs(shown) else f'./{shown}'}"


def _merged(path: Path, trusted: bool, above: tuple[Path, ...], report: Report) -> Node:
    """The tree of a file laid over the trees it extends."""
    root, problems = yamltree.parse(_read_bytes(path, trusted), shown_path(path))
    for line, where, message in problems:
        report.add(Node(None, line, root.source), where, message)
    if not isinstance(root.value, dict):
        if root.value is not UNREAD:
            report.add(root, "", f"expected a mapping with `tiers`, got {quoted(root.value)}")
        return Node(UNREAD, root.line, root.source)
    own: dict[str, Node] = root.value
    base = _extended(own.get("extends"), path, trusted, (*above, path.resolve()), report)
    if not trusted:
        _refuse_foreign(own, base, report)
    return Node(_overlaid(base, own), root.line, root.source)


def _extended(
    node: Node | None, path: Path, trusted: bool, above: tuple[Path, ...], report: Report
) -> dict[str, Node]:
    """The tree that `extends` names; empty where there is none to read."""
    if node is None or node.value is UNREAD:
        return {}
    name = node.value
    if not isinstance(name, str) or not name:
        report.add(node, "extends", f"expected a bundled profile or a file, got {quoted(name)}")
        return {}
    bundled = name in bundled_names()
    base = bundled_path(name) if bundled else path.parent / Path(name).expanduser()
    if not trusted and not bundled and Path(name).name != name:
        report.refuse(node, "extends", "may name a bundled profile or a file in the same folder only")
    elif not bundled and not base.is_file():
        report.add(
            node, "extends", f"{name} is neither a file nor bundled{did_you_mean(name, bundled_names())}"
        )
    elif base.resolve() in above:
        report.add(node, "extends", f"{name} extends itself")
    else:
        tree = _merged(base, trusted or bundled, above, report)
        return tree.value if isinstance(tree.value, dict) else {}
    return {}


def _overlaid(base: Mapping[str, Node], own: Mapping[str, Node]) -> dict[str, Node]:
    """`own` over `base`: settings key by key, `tiers` and `router` whole.

    A router belongs to the tiers it was fitted on: new tiers do not inherit it.
    """
    kept = {
        k: v
        for k, v in base.items()
        if k not in ("name", "extends") and not (k == "router" and "tiers" in own)
    }
    merged = {**kept, **own}
    for key in ("task", "verification", "limits"):
        below, above = base.get(key), own.get(key)
        if below and above and isinstance(below.value, dict) and isinstance(above.value, dict):
            merged[key] = above._replace(value={**below.value, **above.value})
    return merged


def _read_bytes(path: Path, trusted: bool) -> bytes:
    """The file's bytes, one more than allowed at most; a discovered file is checked as it is opened."""
    flags = os.O_RDONLY | os.O_CLOEXEC | (0 if trusted else os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        descriptor = os.open(path, flags)
        with open(descriptor, "rb") as file:
            if not trusted:
                _refuse_planted(path, os.fstat(descriptor))
            return file.read(MAX_BYTES + 1)
    except OSError as e:
        if not trusted and path.is_symlink():
            raise _planted(path, "is a symbolic link") from e
        raise ProfileError(f"{shown_path(path)}: cannot be read: {e.strerror}") from e


def _refuse_planted(path: Path, status: os.stat_result) -> None:
    """Stop at a discovered file that somebody else could have put there."""
    if not stat.S_ISREG(status.st_mode):
        raise _planted(path, "is not a regular file")
    if status.st_uid not in (0, os.geteuid()):
        raise _planted(path, "belongs to another user")
    if status.st_mode & stat.S_IWOTH:
        raise _planted(path, "can be written by everybody")


def _planted(path: Path, why: str) -> ProfileError:
    return ProfileError(f"{shown_path(path)}: {why}, so it is not used unasked", hint=_trust(path))


def _refuse_foreign(own: Mapping[str, Node], base: Mapping[str, Node], report: Report) -> None:
    """Refuse what a discovered file may not say: where keys and prompts go, and higher limits."""
    for i, tier in enumerate(_children(own, "tiers", list)):
        if isinstance(tier.value, dict):
            _refuse_foreign_tier(tier.value, at("tiers", i), report)
    if embedding := _children(own, "embedding", dict):
        _refuse_foreign_tier(embedding, "embedding", report)
    below = _children(base, "limits", dict)
    for key, node in _children(own, "limits", dict).items():
        ceiling = below[key].value if key in below else getattr(Limits(), key, None)
        if is_number(ceiling) and (node.value is None or (is_number(node.value) and node.value > ceiling)):
            report.refuse(node, at("limits", key), f"may not be raised above {ceiling:g}")


def _children(tree: Mapping[str, Node], key: str, kind: type) -> Any:
    """The children of a node that is of the kind it should be; of any other there are none."""
    value = tree[key].value if key in tree else None
    return value if isinstance(value, kind) else kind()


def _refuse_foreign_tier(tier: Mapping[str, Node], path: str, report: Report) -> None:
    """A tier of a discovered file talks to its provider, with its provider's key, or to this machine."""
    base, key, model = (tier.get(k, Node(None, 0)) for k in ("api_base", "api_key_env", "model"))
    if base.value is not None and not is_loopback(str(base.value)):
        report.refuse(base, at(path, "api_base"), "may name this machine only")
    if key.value is not None and base.value is not None:
        report.refuse(key, at(path, "api_key_env"), "may not stand beside an api_base")
    elif key.value is not None and key.value not in standard_key_envs(str(model.value)):
        report.refuse(key, at(path, "api_key_env"), "may only be the provider's own variable")
    params = tier.get("params")
    if params is not None and isinstance(params.value, dict) and "extra_body" in params.value:
        report.refuse(params.value["extra_body"], f"{path}.params.extra_body", "is not allowed")


def _model(node: Node, path: str, report: Report) -> Any:
    """A model's name, with a provider that LiteLLM knows."""
    name = text(200)(node, path, report)
    problem = None if name is BAD else model_problem(name)
    if problem:
        report.add(node, path, problem)
    return BAD if problem else name


_ADDRESS = matching(URL.pattern, "an http:// or https:// address without user, query or fragment")


def _api_base(node: Node, path: str, report: Report) -> Any:
    address = _ADDRESS(node, path, report)
    return address if address is BAD else address.rstrip("/")


_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]{0,99}")
_KEY_LIKE = re.compile("(?=.*[a-z])(?=.*[0-9]).{20,}")


def _api_key_env(node: Node, path: str, report: Report) -> Any:
    """A variable's name. The value is never repeated: it may be a key put in the wrong place."""
    name = node.value
    if name is UNREAD:
        return BAD
    if not isinstance(name, str) or not _VARIABLE.fullmatch(name) or _KEY_LIKE.fullmatch(name):
        report.add(node, path, "expected the name of an environment variable, such as OPENAI_API_KEY")
        return BAD
    return name


def _batch(node: Node, path: str, report: Report) -> Any:
    sizes = list_of(whole(1, MAX_VOTES), MAX_VOTES)(node, path, report)
    if sizes is not BAD and (not sizes or list(sizes) != sorted(set(sizes))):
        report.add(node, path, f"expected rising numbers of votes such as [1, 2, 4], got {list(sizes)}")
        return BAD
    return sizes


def _stop(node: Node, path: str, report: Report) -> Any:
    """One text, or several; a blank line is a common one."""
    mark = matching("(?s).{1,200}", "text")
    return (list_of(mark, 16) if isinstance(node.value, list) else mark)(node, path, report)


def _params(**values: Any) -> tuple[tuple[str, Any], ...]:
    return tuple(values.items())


# ── The shape of the file ─────────────────────────────────────────────────────────────────────

_KEY_ADVICE = "a key does not belong in a file: export it and name the variable in api_key_env"
_DIRECT = "cannot be set here: see verification, limits and api_base"

_PARAMS = record(
    _params,
    {
        "temperature": number(0, 2),
        "top_p": number(0, 1, above=True),
        "top_k": whole(1, 100_000),
        "min_p": number(0, 1),
        "max_tokens": whole(1, 1_000_000),
        "seed": whole(-(2**63), 2**63 - 1),
        "stop": _stop,
        "presence_penalty": number(-2, 2),
        "frequency_penalty": number(-2, 2),
        "repetition_penalty": number(0, 10),
        "reasoning_effort": text(40),
        "thinking": anything,
        "verbosity": text(40),
        "response_format": anything,
        "extra_body": anything,
    },
    api_key=_KEY_ADVICE,
    max_completion_tokens="write max_tokens, whatever the provider calls it",
    **dict.fromkeys(("n", "stream", "timeout", "api_base", "base_url", "logprobs", "model"), _DIRECT),
)
_RATE = number(0, 1_000_000)


def _input_price(**rates: Any) -> Price:
    """A price of what is read; nothing is written."""
    return Price(output=0.0, **rates)


_NAME = matching(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,99}", "a name of letters, digits and . _ - (100 at most)")
_TIER = record(
    Tier,
    {
        "name": _NAME,
        "model": _model,
        "price": or_null(
            record(
                Price, {"input": _RATE, "output": _RATE, "cached_input": or_null(_RATE)}, ("input", "output")
            )
        ),
        "params": _PARAMS,
        "api_base": or_null(_api_base),
        "api_key_env": or_null(_api_key_env),
        "rpm": or_null(whole(1, 10_000_000)),
    },
    ("name", "model"),
    api_key=_KEY_ADVICE,
    headers="extra headers are not sent; name the key's variable in api_key_env",
)


def _embedder(**settings: Any) -> Tier:
    """An embedding model as a tier that answers nothing."""
    return Tier(name="embedding", **settings)


_EMBEDDING = record(
    _embedder,
    {
        "model": _model,
        "price": or_null(record(_input_price, {"input": _RATE}, ("input",))),
        "params": record(_params, {"dimensions": whole(1, 100_000), "extra_body": anything}),
        "api_base": or_null(_api_base),
        "api_key_env": or_null(_api_key_env),
        "rpm": or_null(whole(1, 10_000_000)),
    },
    ("model",),
    api_key=_KEY_ADVICE,
)
_EXAMPLE = record(
    VerificationExample,
    {
        "question": text(),
        "answer": text(),
        "reasons": text(),
        "correct": flag,
        "context": or_null(text()),
        "choices": list_of(text(), 26),
    },
    ("question", "answer", "reasons", "correct"),
)
_TASK = record(
    Task,
    {
        "instruction": text(),
        "scorer": one_of(*SCORERS),
        "abstain_value": or_null(number(0, 1)),
        "pass_score": number(0, 1, above=True),
    },
)
_VERIFICATION = record(
    VerificationSettings,
    {
        "signal": one_of(*SIGNALS),
        "logprob_of": one_of(*LOGPROB_OF),
        "max_votes": whole(0, MAX_VOTES),
        "batch": _batch,
        "temperature": or_null(number(0, 2)),
        "max_tokens": whole(1, 100_000),
        "examples": list_of(_EXAMPLE, 50),
        "last_tier": flag,
    },
)
_LIMITS = record(
    Limits,
    {
        "concurrency": whole(1, 1024),
        "timeout": number(0, 3600, above=True),
        "attempts": whole(1, 20),
        "max_cost": or_null(number(0, 1_000_000, above=True)),
    },
)


def _router(node: Node, path: str, report: Report) -> Any:
    """The router block: a known kind, counts that are none below zero; `fitting` reads the rest."""
    if not isinstance(node.value, dict):
        return anything(node, path, report)
    before = len(report.lines)
    one_of(*ROUTER_KINDS)(node.value.get("kind", node._replace(value=None)), at(path, "kind"), report)
    if "cost_weight" in node.value:
        number(0, 1e12)(node.value["cost_weight"], at(path, "cost_weight"), report)
    for where, leaf in _leaves(node.value.get("prior", node._replace(value={})), at(path, "prior")):
        if is_number(leaf.value) and leaf.value < 0:
            report.add(leaf, where, f"expected a count, got {quoted(leaf.value)}")
    query = node.value.get("query")
    if query is not None and not isinstance(query.value, dict):
        report.add(query, at(path, "query"), f"expected a query-side router, got {quoted(query.value)}")
    return node.plain() if len(report.lines) == before else BAD


def _leaves(node: Node, path: str) -> Iterator[tuple[str, Node]]:
    """Every scalar below a node, and every empty list or mapping, with its key path."""
    children: list[tuple[Any, Node]] = []
    if isinstance(node.value, (dict, list)):
        children = list(node.value.items() if isinstance(node.value, dict) else enumerate(node.value))
    if not children:
        yield path, node
    for key, child in children:
        yield from _leaves(child, at(path, key))


_ROOT = record(
    dict,
    {
        "version": expect("1, the only version there is", lambda v: v == 1 and is_number(v)),
        "name": _NAME,
        "extends": lambda node, path, report: None,  # followed, and checked, when the trees were merged
        "tiers": list_of(_TIER, MAX_TIERS),
        "task": _TASK,
        "verification": _VERIFICATION,
        "router": or_null(_router),
        "embedding": or_null(_EMBEDDING),
        "limits": _LIMITS,
    },
    ("tiers",),
)


def _profile(tree: Node, path: Path, origin: Origin, report: Report) -> Profile | None:
    """Check the merged tree; None when there is nothing to build from."""
    values = _ROOT(tree, "", report)
    if isinstance(tree.value, dict):
        _check_across(tree.value, report)
    if values is BAD:
        return None
    places = tuple((where, f"{leaf.source}:{leaf.line}") for where, leaf in _leaves(tree, ""))
    settings = {key: value for key, value in values.items() if key not in ("version", "extends")}
    return Profile(**{"name": path.stem, **settings}, path=path, origin=origin, sources=places)


def _check_across(tree: Mapping[str, Node], report: Report) -> None:
    """Check what must fit together, as far as it can be read: one mistake does not hide another."""
    nodes = _children(tree, "tiers", list)[:MAX_TIERS]
    if "tiers" in tree and tree["tiers"].value == []:
        report.add(tree["tiers"], "tiers", f"expected 1 to {MAX_TIERS} tiers, got none")
    tiers = [_readable(node) for node in nodes]
    names = [_plain_text(node, "name") for node in nodes]
    for i, message in _order_problems(tiers, names):
        report.add(nodes[i], at("tiers", i), message)
    for i, node in enumerate(nodes):
        _refuse_clear_text(node, at("tiers", i), report)
    if "embedding" in tree:
        _refuse_clear_text(tree["embedding"], "embedding", report)
    router, verification = (tree.get(key, Node(None, 0)) for key in ("router", "verification"))
    if _plain_text(router, "kind") == "always" and nodes and _plain_text(router, "tier") not in names:
        report.add(router, "router.tier", f"expected one of {', '.join(dict.fromkeys(filter(None, names)))}")
    most = _children(tree, "verification", dict).get("max_votes")
    if _plain_text(verification, "signal") == "consistency" and most and most.value in (0, 1):
        report.add(most, "verification.max_votes", "signal: consistency compares 2 answers at least")


def _readable(node: Node) -> Tier | None:
    """The tier of a node; None where something in it is wrong, which is told elsewhere."""
    tier = _TIER(node, "", Report())
    return tier if isinstance(tier, Tier) else None


def _plain_text(node: Node, key: str) -> str | None:
    """The text under a key of a mapping, where there is one."""
    child = node.value.get(key) if isinstance(node.value, dict) else None
    return child.value if child is not None and isinstance(child.value, str) else None


def _refuse_clear_text(node: Node, path: str, report: Report) -> None:
    """Refuse to send a key to another machine unencrypted."""
    base = _plain_text(node, "api_base") or ""
    if _plain_text(node, "api_key_env") and base.startswith("http:") and not is_loopback(base):
        message = "would send the key in the clear: use https://"
        report.add(node.value["api_base"], f"{path}.api_base", message)


def _order_problems(tiers: Sequence[Tier | None], names: Sequence[str | None]) -> list[tuple[int, str]]:
    """Tiers that repeat an earlier one, or are cheaper than the one before in every respect."""
    problems = []
    for i, tier in enumerate(tiers):
        for j, earlier in enumerate(tiers[:i]):
            if names[i] is not None and names[i] == names[j]:
                problems.append((i, f"is named {names[i]} like tiers[{j}]"))
            elif tier and earlier and _called_alike(tier, earlier):
                problems.append((i, f"is the same model with the same parameters as tiers[{j}]"))
        before = tiers[i - 1] if i else None
        if tier and before and _undercuts(tier.list_price(), before.list_price()):
            problems.append((i, f"costs less than tiers[{i - 1}]: put the cheapest tier first"))
    return problems


def _called_alike(tier: Tier, other: Tier) -> bool:
    """Whether a call of one is a call of the other."""
    return (tier.model, tier.params, tier.api_base) == (other.model, other.params, other.api_base)


def _undercuts(price: Price | None, other: Price | None) -> bool:
    """Whether `price` is nowhere above `other` and somewhere below; unknown prices are not compared."""
    if price is None or other is None:
        return False
    pairs = ((price.input, other.input), (price.output, other.output))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


# ── Writing the router back ───────────────────────────────────────────────────────────────────


def write_router(path: Path, router: Mapping[str, Any], *, profile: Profile | None = None) -> None:
    """Put `router` into the profile at `path`; every other byte of the file survives.

    A file that does not exist is created from `profile`: with `extends` where that is a
    bundled profile or a neighbour, else as a copy, because a discovered profile may extend
    nothing else. Where the file exists, `profile` guards against writing a router beside tiers
    that it was not fitted on.

    Args:
        path: the file to write.
        router: the block's content: mappings, sequences, texts and finite numbers.
        profile: what the router was fitted on.

    Raises:
        ProfileError: the file cannot take the block, or holds other tiers.
        StorageError: the file cannot be written.
    """
    old = _text_for_router(path, profile)
    try:
        new = yamltree.put_block(old, "router", yamltree.lines_of({"router": router}))
    except ValueError as e:
        raise ProfileError(f"{shown_path(path)}: cannot take a router block: {e}") from e
    _check_rewrite(path, old, new, router)
    _replace_file(path, new.encode())


def room_for_router(path: Path, profile: Profile) -> int:
    """How many bytes a router block may take in the profile at `path`, there or still to be made.

    Raises:
        ProfileError: the file cannot take the block or be made, or holds other tiers.
    """
    if not path.parent.is_dir():
        raise ProfileError(f"{shown_path(path)}: there is no folder {path.parent}", hint="make it first")
    text = _text_for_router(path, profile)
    try:
        return yamltree.MAX_BYTES - len(yamltree.put_block(text, "router", ["router: null"]).encode())
    except ValueError as e:
        raise ProfileError(f"{shown_path(path)}: cannot take a router block: {e}") from e


def _text_for_router(path: Path, profile: Profile | None) -> str:
    """The text of the profile that is to take a router: one with the tiers of `profile`, or a new one."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise ProfileError(
            f"{shown_path(path)}: is not a regular file, so it is not replaced",
            hint="name another file with -o",
        )
    if not path.exists():
        return _new_text(path, profile)
    there = read_profile(path, trusted=True, origin="named")
    tiers = [replace(t, price=None, rpm=None) for t in there.tiers]
    if profile is not None and tiers != [replace(t, price=None, rpm=None) for t in profile.tiers]:
        names = ", ".join(f"{t.name}: {t.model}" for t in there.tiers)
        raise ProfileError(
            f"{shown_path(path)}: has other tiers ({names}) than the router was fitted on",
            hint="name a new file with -o, or use this one with --profile",
        )
    return path.read_bytes().decode("utf-8")


def _new_text(path: Path, profile: Profile | None) -> str:
    """A profile without a router that means the same as `profile`."""
    if profile is None:
        raise ProfileError(f"{shown_path(path)}: no such profile")
    if profile.origin == "bundled" or profile.path is None:
        bundled = profile.path is not None
        head = {"extends": profile.name} if bundled else {"tiers": [_tier_dict(t) for t in profile.tiers]}
        return "\n".join(yamltree.lines_of({"version": 1, **head})) + "\n"
    if profile.path.resolve().parent == path.resolve().parent:
        return "\n".join(yamltree.lines_of({"version": 1, "extends": profile.path.name})) + "\n"
    data = profile.path.read_bytes()
    extends = yamltree.parse(data)[0].value.get("extends")
    if extends is not None and extends.value not in bundled_names():
        raise ProfileError(
            f"{shown_path(path)}: cannot extend {extends.value} from another folder",
            hint=f"write beside it: -o {shown_path(profile.path.parent / 'automix.yaml')}",
        )
    return data.decode("utf-8")


def _check_rewrite(path: Path, old: str, new: str, router: Mapping[str, Any]) -> None:
    """Read the new text back: the router must be `router`, and all else what it was."""
    before, _ = yamltree.parse(old.encode())
    after, problems = yamltree.parse(new.encode())
    if problems:
        raise ProfileError(f"{shown_path(path)}: cannot take this router: {problems[0].message}")
    expected = {**before.plain(), "router": json.loads(json.dumps(router))}
    if after.plain() != expected:
        raise ProfileError(
            f"{shown_path(path)}: cannot take a router block without changing another",
            hint="end the file with a newline and write its top level as plain `key:` lines",
        )


def _replace_file(path: Path, data: bytes) -> None:
    """Put `data` in the file's place at once; readers see the old bytes or the new."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
        part.unlink(missing_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as e:
        part.unlink(missing_ok=True)
        raise StorageError(f"{shown_path(path)}: cannot be written: {e.strerror}") from e
