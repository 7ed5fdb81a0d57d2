"""What a profile's `router:` block stands for: its policy, and whether it still fits the profile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from automix_cli import prompts
from automix_cli.backends.catalog import model_problem
from automix_cli.errors import DataError, ProfileError, UsageError, describe_value
from automix_cli.fitting.router_block import (
    HINT,
    PLANNED_KINDS,
    ROUTER_KINDS,
    UNCALIBRATED_KINDS,
    Settings,
    embedding_model_of,
    policy_from_router,
    query_router_of,
)
from automix_cli.pomdp.problem import Policy
from automix_cli.pomdp.signals import recorded_signal
from automix_cli.profile.model import Profile, Tier
from automix_cli.profile.router_layout import router_problems

if TYPE_CHECKING:
    from automix_cli.data.question_classes import NamedClasses
    from automix_cli.fitting.query_router import QueryRouter


def settings_of(profile: Profile) -> Settings:
    """What the profile decides and no data changes, as the fitting needs it."""
    v, task = profile.verification, profile.task
    return Settings(
        max_votes=v.max_votes,
        batch=v.batch,
        abstain_value=task.abstain_value,
        last_tier=v.last_tier,
        value_of_time=_value_of_time(profile),
        pass_score=task.pass_score,
    )


def _value_of_time(profile: Profile) -> float:
    """USD per hour of waiting, as the router block was fitted with; 0 where it names none."""
    amount = (profile.router or {}).get("value_of_time", 0.0)
    if isinstance(amount, bool) or not isinstance(amount, int | float):
        message = f"router.value_of_time: expected a number, got {describe_value(amount)}"
        raise DataError(message, hint=HINT)
    return float(amount)


def check_router(profile: Profile) -> None:
    """Refuse a `router:` block with keys that its kind does not have, or with impossible values.

    It is checked where it is used, not where the profile is read: `calibrate` replaces it.

    Raises:
        ProfileError: with every problem, one a line: `file:line: key.path: message`.
    """
    if profile.router is not None and (problems := router_problems(profile.router, profile.sources)):
        by_hand = "cost_weight" not in ROUTER_KINDS[str(profile.router.get("kind"))].keys
        raise ProfileError(problems, hint="" if by_hand else HINT)


def router_policy(profile: Profile) -> Policy[Any] | None:
    """The policy that the profile's `router:` block holds; None when it is uncalibrated.

    Raises:
        ProfileError: the block has unknown keys, or impossible values.
        DataError: the block cannot be read, or was fitted on other tiers.
    """
    check_router(profile)
    with naming_router(profile):
        if profile.router is None or not is_calibrated(profile):
            give_up_of(profile)
            return None
        return policy_from_router(profile.router, settings_of(profile), [t.name for t in profile.tiers])


@contextmanager
def naming_router(profile: Profile) -> Iterator[None]:
    """Have errors of what a router block holds begin with its file and line."""
    try:
        yield
    except DataError as exc:
        place = next((place for path, place in profile.sources if path.startswith("router")), "")
        if not place or exc.message.startswith(place):
            raise
        raise DataError(f"{place}: router: {exc.message.removeprefix('router.')}", hint=exc.hint) from exc


def is_planned(profile: Profile) -> bool:
    """Whether the profile has a router that plans its decisions."""
    return profile.router is not None and profile.router.get("kind") in PLANNED_KINDS


def is_calibrated(profile: Profile) -> bool:
    """Whether the profile has a router that `calibrate` writes."""
    return profile.router is not None and profile.router.get("kind") not in UNCALIBRATED_KINDS


def give_up_of(profile: Profile) -> float:
    """How much score an uncalibrated profile gives up for the price of an answer of its last tier.

    Raises:
        DataError: the block gives no such number.
    """
    router = profile.router or {}
    if router.get("kind") != "prior":
        from automix_cli.fitting.public_prior import GIVE_UP

        return GIVE_UP
    amount = router.get("give_up")
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 < amount <= 1:
        message = f"router.give_up: expected a number above 0 and up to 1, got {describe_value(amount)}"
        raise DataError(message, hint="router: {kind: prior, give_up: 0.1}")
    return float(amount)


def query_router(profile: Profile) -> QueryRouter | None:
    """The query-side router that reads each question before any call; None where there is none.

    Raises:
        DataError: it cannot be read, or an earlier automix wrote it.
    """
    with naming_router(profile):
        return query_router_of(profile.router or {})


def named_classes(profile: Profile) -> NamedClasses | None:
    """The classes of questions that the profile's router tells apart by a column; None where it does not.

    Raises:
        DataError: they cannot be read, or are not those of the prior.
    """
    if (profile.router or {}).get("classes") is None:
        return None
    from automix_cli.fitting.fitted import named_classes_of

    with naming_router(profile):
        return named_classes_of(profile.router or {})


def embedder_of(profile: Profile) -> Tier | None:
    """The embedding model that the profile's router reads, as the profile reaches it; None for none.

    Raises:
        DataError: what the router names is no model.
    """
    model = embedding_model_of(profile.router or {})
    if model is None:
        return None
    if problem := model_problem(model):
        raise DataError(f"the query-side router reads embeddings of no known model: {problem}", hint=HINT)
    return profile.embedder(model)


def baseline_of(profile: Profile) -> Tier:
    """The tier to compare with: the one that calibration was told to compare with, else the dearest."""
    name = ((profile.router or {}).get("fitted") or {}).get("baseline")
    return next((tier for tier in profile.tiers if tier.name == name), profile.tiers[-1])


def check_signal(profile: Profile, name: str) -> None:
    """Refuse a router that looks at a signal of this name where the profile does not ask for it.

    Raises:
        UsageError: naming the keys of the profile that ask for it, where there are any.
    """
    from automix_cli.data.recorded_signals import LIVE_SIGNALS, NONE, OWN

    if name in ("", NONE, OWN):
        return
    live, own = LIVE_SIGNALS.get(name), profile.verification
    if live is None:
        raise UsageError(
            f"no router written: it looks at {name}, which ask cannot record",
            hint="--signal NAME takes a signal that a profile asks for, or none",
        )
    if recorded_signal(own.signal, own.logprob_of) != live.kind:
        raise UsageError(
            f"no router written: it looks at {live.words}, and profile {profile.name} does not ask for it",
            hint=f"write verification: {live.keys} into the profile, or calibrate with --signal",
        )


def fingerprint(profile: Profile) -> dict[str, Any]:
    """What a router is fitted to, apart from the rows; `differences` compares it later."""
    v = profile.verification
    return {
        "models": [t.model for t in profile.tiers],
        "prompt_sha256": prompts.prompt_sha(profile.task.instruction, v.examples),
        "signal": v.signal if v.signal != "logprob" else f"logprob of the {v.logprob_of}",
        "votes": [v.max_votes, list(v.batch), v.temperature],
    }


def differences(profile: Profile) -> list[str]:
    """In words, what is no longer as it was when the router was fitted."""
    fitted = (profile.router or {}).get("fitted")
    if not fitted:
        return []
    names = {
        "models": "the models",
        "prompt_sha256": "the prompts",
        "signal": "the signal",
        "votes": "the vote settings",
        "prices": "the prices",
    }
    now = fingerprint(profile) | {"prices": prices_of(profile)}
    return [name for key, name in names.items() if key in fitted and fitted[key] != now[key]]


def fit_notes(profile: Profile) -> Iterator[str]:
    """What is to be said where something is no longer as it was when the router was fitted."""
    if changes := differences(profile):
        yield f"{' and '.join(changes)} changed since this profile was calibrated: calibrate again"


def prices_of(profile: Profile) -> dict[str, dict[str, float | None] | None]:
    """The list prices of the tiers, in USD per million tokens; None where one is unknown."""
    prices = {tier.name: tier.list_price() for tier in profile.tiers}
    return {name: None if price is None else asdict(price) for name, price in prices.items()}
