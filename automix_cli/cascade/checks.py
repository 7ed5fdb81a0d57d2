"""What a row asks to be verified: an answer that exists already, and the tier that checks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from automix_cli.data.jsonl import Row
from automix_cli.errors import DataError, UsageError
from automix_cli.profile.model import Profile, Tier, VerificationSettings
from automix_cli.records import Json, Question


class Check(NamedTuple):
    """An answer to a question, and the tier that checks it; what the answer cost, where that is known."""

    question: Question
    answer: str
    tier: Tier
    cost_usd: float | None = None


def check_of(row: Row, profile: Profile, tier: str | None) -> Check:
    """The check that a row asks for: by `tier`, else by the tier it names, else by the cheapest.

    Raises:
        DataError: it holds no question or no answer, or names a tier that the profile does not have.
    """
    if row.question is None:
        raise DataError(row.fault)
    answer = answer_of(row.raw)
    name, tiers = tier_name(row.raw, profile, tier), {t.name: t for t in profile.tiers}
    if name not in tiers:
        raise DataError(f"tier: no tier {name!r} in profile {profile.name} ({', '.join(tiers)}); see --tier")
    cost = row.raw.get("cost_usd")
    return Check(row.question, answer, tiers[name], cost if isinstance(cost, float) else None)


def checks_of(
    rows: Iterable[Row], profile: Profile, tier: str | None, on_fault: Callable[[Row, str], None]
) -> Iterator[Check]:
    """The checks that rows ask for; a row that makes an error goes to `on_fault`, with what is wrong."""
    for row in rows:
        try:
            yield check_of(row, profile, tier)
        except DataError as exc:
            on_fault(row, exc.message)


def check_signal_of_answers(profile: Profile) -> None:
    """Refuse a signal that only the tier's own answer has: here the answer is given.

    Raises:
        UsageError: the profile's is such a signal.
    """
    if profile.verification.signal == "logprob" and profile.verification.logprob_of == "answer":
        raise UsageError(
            "logprob_of: answer needs the tier's own answer, and here the answer is given",
            hint="--signal votes, --signal consistency, or logprob_of: verdict",
        )


def samples_per_check(verification: VerificationSettings, votes: int) -> int:
    """How many votes, or answers to compare with, are bought where `votes` are wanted.

    Example:
        >>> samples_per_check(VerificationSettings(signal="consistency"), 1)
        2
    """
    return {"votes": votes, "consistency": max(2, votes)}.get(verification.signal, 1)


def tier_name(raw: Json, profile: Profile, tier: str | None) -> str:
    """The name of the tier that checks; that of the cheapest where the row names none."""
    name = raw.get("tier") if isinstance(raw, dict) else None
    return tier or (profile.tiers[0].name if name is None else str(name))


def answer_of(raw: Json) -> str:
    """The answer of a row; an empty text is one, null is not.

    Raises:
        DataError: the row has none.

    Example:
        >>> answer_of({"answer": 4})
        '4'
    """
    if raw.get("status") == "error":
        raise DataError("the row is an error: it holds no answer to check")
    if raw.get("answer") is None:
        raise DataError("answer: expected text, got nothing")
    answer = answer_text(raw)
    if answer is None:
        raise DataError("answer: expected text")
    return answer


def answer_text(raw: Json) -> str | None:
    """The answer of a row as text; None where it has none, or one that is no text."""
    answer = raw.get("answer") if isinstance(raw, dict) else None
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        return None
    return answer if isinstance(answer, str) else repr(answer)
