"""The row that `verify` writes."""

from __future__ import annotations

from typing import Literal, NamedTuple

from msgspec import Struct

from automix_cli.records import VERIFY_SCHEMA, Json, Question, RowError, Status, Vote, VoteCount
from automix_cli.usage import NO_USAGE, Usage


class LabelledAnswers(NamedTuple):
    """The labelled answers of one tier on which a fit learned what its signal shows."""

    answers: int
    wrong: int


class Verification(Struct, frozen=True, kw_only=True):
    """The row that `verify` writes: the signal on one answer, and the verdict that follows.

    `calibrated` is true when `confidence` is a chance that labelled answers have shown of the signal,
    rather than the signal itself; `calibrated_on` says how many they were, where the profile tells it.
    `verdict` is none when there is no evidence either way.
    """

    question: Question
    tier: str
    signal: str
    answer: str | None = None
    votes: tuple[Vote, ...] = ()
    agreeing: int | None = None
    sampled: int | None = None
    confidence: float | None = None
    calibrated: bool = False
    calibrated_on: LabelledAnswers | None = None
    verdict: Literal["correct", "incorrect", "none"] = "none"
    usage: Usage = NO_USAGE
    cost_usd: float | None = 0.0
    spent_usd: float | None = 0.0
    flags: tuple[str, ...] = ()
    error: RowError | None = None
    input_sha: str = ""
    profile_sha: str = ""

    @property
    def status(self) -> Status:
        """Whether it was done, failed, or was skipped because a cap was reached."""
        if self.error is None:
            return "ok"
        return "skipped" if self.error.type == "budget" else "error"

    @property
    def count(self) -> VoteCount:
        """The votes, counted."""
        return VoteCount.of(v.verdict for v in self.votes)

    def to_dict(self, *, reasons: bool = False) -> dict[str, Json]:
        """The `automix.verify/1` row; `reasons` adds the verifier's texts."""
        row: dict[str, Json] = {
            "schema": VERIFY_SCHEMA,
            "id": self.question.id,
            "index": self.question.index,
            "status": self.status,
            "question": self.question.text,
            "answer": self.answer,
            "tier": self.tier,
            "signal": self.signal,
            "votes": self.count._asdict(),
        }
        if self.sampled is not None:
            row["samples"] = {"agreeing": self.agreeing, "sampled": self.sampled}
        row |= {
            "confidence": self.confidence,
            "calibrated": self.calibrated,
            "calibrated_on": None if self.calibrated_on is None else self.calibrated_on._asdict(),
            "verdict": self.verdict,
            "usage": self.usage.to_dict(),
            "cost_usd": self.cost_usd,
            "spent_usd": self.spent_usd,
            "error": self.error.to_dict() if self.error else None,
            "input_sha": self.input_sha,
            "profile_sha": self.profile_sha,
            **self.question.material(),
        }
        if self.flags:
            row["flags"] = list(self.flags)
        if reasons:
            row["reasons"] = [{"verdict": v.verdict.name, "text": v.reasons} for v in self.votes]
        return row
