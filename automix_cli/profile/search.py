"""Where a profile comes from when none is given as a file.

The search order is: `--profile`, `AUTOMIX_PROFILE`, an `automix.yaml` in this folder or a parent, the
user's config folder, the first bundled profile whose key or local server is present.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from automix_cli.backends.catalog import model_problem, standard_key_envs
from automix_cli.errors import ProfileError, UsageError, did_you_mean
from automix_cli.profile.bundled import bundled_names, bundled_path
from automix_cli.profile.model import MAX_TIERS, Origin, Profile, Tier, order_problems
from automix_cli.profile.read import read_profile

FILE_NAME = "automix.yaml"
OLLAMA = ("127.0.0.1", 11434)


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
        probe: whether a local Ollama answers; called in the last step only.

    Raises:
        ProfileError: there is no profile, or the first one cannot be used.
    """
    cwd = Path.cwd() if cwd is None else cwd
    environ = os.environ if environ is None else environ
    if name is not None:
        return _named_profile(name, cwd, "named")
    if variable := environ.get("AUTOMIX_PROFILE"):
        return _named_profile(variable, cwd, "environment")
    for path, origin in profile_files(cwd, environ):
        return read_profile(path, trusted=origin == "user", origin=origin)
    for provider in ("openai", "anthropic", "gemini", "openrouter"):
        if any(environ.get(key) for key in standard_key_envs(f"{provider}/")):
            return read_profile(bundled_path(provider), trusted=True, origin="bundled")
    if (probe or ollama_answers)():
        return read_profile(bundled_path("ollama"), trusted=True, origin="bundled")
    raise _no_profile(cwd, environ)


def profile_files(cwd: Path, environ: Mapping[str, str]) -> list[tuple[Path, Origin]]:
    """The files that a search considers, the first one first: a folder's, then the user's."""
    near = (folder / FILE_NAME for folder in searched_folders(cwd, environ))
    files: list[tuple[Path, Origin]] = [(path, "discovered") for path in near if os.path.lexists(path)][:1]
    config = user_config(environ)
    if config is not None and config.exists() and (config, "discovered") not in files:
        files.append((config, "user"))
    return files


def _named_profile(name: str, cwd: Path, origin: Origin) -> Profile:
    """The profile of a name: a bundled one, or a file."""
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
    """The folders that are searched for `automix.yaml`, nearest first.

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


def user_config(environ: Mapping[str, str], platform: str = sys.platform) -> Path | None:
    """The user's own profile: `automix.yaml` in the config folder, whether it exists or not."""
    xdg, home = environ.get("XDG_CONFIG_HOME", ""), _home(environ)
    if os.path.isabs(xdg):
        return Path(xdg) / "automix" / FILE_NAME
    if home is None:
        return None
    folder = home / "Library" / "Application Support" if platform == "darwin" else home / ".config"
    return folder / "automix" / FILE_NAME


def ollama_answers(address: tuple[str, int] = OLLAMA) -> bool:
    """Whether a server listens at Ollama's address on this machine."""
    import socket

    try:
        with socket.create_connection(address, timeout=0.2):
            return True
    except OSError:
        return False


def _no_profile(cwd: Path, environ: Mapping[str, str]) -> ProfileError:
    """The error that names what was searched, and three commands that help."""
    folders, config = searched_folders(cwd, environ), user_config(environ)
    last = f" up to {folders[-1]}" if len(folders) > 1 else ""
    keys = "OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY, OPENROUTER_API_KEY"
    return ProfileError(
        "no profile, no key and no local model found\n"
        f"looked for {FILE_NAME} in {cwd}{last}{f', for {config}' if config else ''},\n"
        f"for {keys} and for Ollama on {OLLAMA[0]}:{OLLAMA[1]}",
        hint="export OPENAI_API_KEY=…                     or another provider's key\n"
        "ollama serve                                or run models on this machine\n"
        "automix profile init --api-base URL         or name a server of the OpenAI protocol\n"
        "--profile demo                              or try it with simulated models, no key and no network",
    )


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
    problems += [message for _, message in order_problems(tiers, names)]
    if problems:
        raise UsageError(
            f"--tiers: {'; '.join(problems)}",
            hint="automix ask --tiers openai/gpt-6-luna,openai/gpt-6.1-sol …",
        )
    return Profile(name="tiers", tiers=tiers, origin="tiers-option")
