"""The profile: which tiers to ask, how to verify them, and the router that decides between them.

    YAML text ──parse──▶ tree of located nodes ──extends──▶ merged tree ──check──▶ Profile

A profile is found in this order: `--profile`, `AUTOMIX_PROFILE`, an `automix.yaml` in this folder
or a parent, the user's config folder, the first bundled profile whose key or local server is
present. A file that was merely *found* is someone else's text (a cloned repository) and may not
send a key or a prompt to another host, nor raise a limit; a file the user named may.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from automix_cli.records import Price

Origin = Literal["bundled", "named", "environment", "discovered", "user", "tiers-option"]
Signal = Literal["votes", "logprob", "consistency"]
LogprobOf = Literal["verdict", "answer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One rung: a model with a price, cheapest first.

    `price` is what the profile says; `list_price()` falls back on LiteLLM's table.
    `params` are sampling parameters by name; `api_key_env` names the variable that holds
    the key, None means the provider's own (`standard_key_envs`).
    """

    name: str
    model: str
    price: Price | None = None
    params: tuple[tuple[str, Any], ...] = ()
    api_base: str | None = None
    api_key_env: str | None = None
    rpm: int | None = None

    def list_price(self) -> Price | None:
        """The profile's price, else the table's, else None: unknown."""
        return self.price or list_price(self.model)


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
class VerificationExample:
    """A few-shot example for the verifier: a question, an answer, and whether it is right and why."""

    question: str
    answer: str
    reasons: str
    correct: bool
    context: str | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationSettings:
    """Where confidence comes from and how much of it may be bought.

    `batch` holds how many votes one action may buy; `max_votes` 0 switches verification
    off. Without `examples` the built-in ones are used.
    """

    signal: Signal = "votes"
    logprob_of: LogprobOf = "verdict"
    max_votes: int = 8
    batch: tuple[int, ...] = (1, 2, 4)
    temperature: float = 1.0
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
    """

    name: str
    tiers: tuple[Tier, ...]
    task: Task = Task()
    verification: VerificationSettings = VerificationSettings()
    router: Mapping[str, Any] | None = None
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
        """Short hash over all that changes answers or routing."""
        raise NotImplementedError

    def tier(self, name: str) -> Tier:
        """The tier of that name.

        Raises:
            UsageError: there is none.
        """
        raise NotImplementedError

    def budget_price(self, tier: Tier) -> Price | None:
        """What a budget counts for `tier`: a discovered profile never less than LiteLLM's table."""
        raise NotImplementedError


def load_profile(
    name: str | None = None,
    *,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
    probe: Callable[[], bool] | None = None,
) -> Profile:
    """Find and read the profile: `name` is a path or a bundled name, None searches."""
    raise NotImplementedError


def profile_of_models(models: Sequence[str]) -> Profile:
    """The profile of `--tiers openai/a,openai/b`: these models, cheapest first, all else default."""
    raise NotImplementedError


def read_profile(path: Path, *, trusted: bool, origin: Origin) -> Profile:
    """Read and check one file, with all it extends."""
    raise NotImplementedError


def bundled_names() -> tuple[str, ...]:
    """Names of the profiles that ship with automix."""
    raise NotImplementedError


def bundled_path(name: str) -> Path:
    """The file of a bundled profile."""
    raise NotImplementedError


def list_price(model: str) -> Price | None:
    """The list price of a model in LiteLLM's table; None when unknown."""
    raise NotImplementedError


def standard_key_envs(model: str) -> tuple[str, ...]:
    """The variables in which the model's provider looks for a key; empty when it needs none."""
    raise NotImplementedError


def write_router(path: Path, router: Mapping[str, Any], *, profile: Profile | None = None) -> None:
    """Put `router` into the profile at `path`; every other byte of the file survives.

    A file that does not exist is created from `profile`: `extends: NAME` for a bundled one.
    """
    raise NotImplementedError
