"""The fitted model: counts and parameters, as the profile's `router:` block stores them.

It holds no policy, because planning takes milliseconds: `Fitted.model` turns it into the
decision problem for any cost_weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct

from automix_cli.data.question_classes import NamedClasses
from automix_cli.errors import DataError, reading_problem
from automix_cli.fitting.prior import independent, shrunk
from automix_cli.fitting.router_block import HINT, Settings
from automix_cli.pomdp.agreement import AgreementModel, read_agreement
from automix_cli.pomdp.arrays import Floats
from automix_cli.pomdp.model import FREE, Cost, Model, TierModel
from automix_cli.pomdp.observations import NO_OBSERVATIONS, ObservationModel, observations_from_dict
from automix_cli.pomdp.policy import PomdpPolicy


class Scores(NamedTuple):
    """Sum of the scores of some answers, and how many there are."""

    total: float = 0.0
    answers: int = 0

    def mean(self, towards: float) -> float:
        """Mean score, shrunk with two pseudo-answers: (Σ + 2·towards)/(n + 2).

        Example:
            >>> Scores(3.5, 4).mean(1.0), Scores().mean(0.0)
            (0.9166666666666666, 0.0)
        """
        return (self.total + 2 * towards) / (self.answers + 2)


_NO_SCORES = Scores()


class FittedTier(Struct, frozen=True, kw_only=True):
    """The fitted parameters of one tier; costs as in `TierModel`.

    `failed` is the chance that the tier gives no answer when it is asked. `note` says in words what
    could not be fitted; "" where everything could.
    """

    name: str
    right: Scores = _NO_SCORES
    wrong: Scores = _NO_SCORES
    observation: ObservationModel = NO_OBSERVATIONS
    max_votes: int = 0
    failed: float = 0.0
    answer: Cost = FREE
    vote: Cost = FREE
    round: Cost = FREE
    answer_s: float = 0.0
    round_s: float = 0.0
    note: str = ""

    def model(self, max_votes: int) -> TierModel:
        """The planner's view of the tier."""
        return TierModel(
            right=self.right.mean(1.0),
            wrong=self.wrong.mean(0.0),
            observation=self.observation,
            max_votes=min(max_votes, self.max_votes),
            failure=self.failed,
            answer=self.answer,
            vote=self.vote,
            round=self.round,
            answer_s=self.answer_s,
            round_s=self.round_s,
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, without the name, which is its key."""
        row: dict[str, Any] = {
            "right": list(self.right),
            "wrong": list(self.wrong),
            "observation": self.observation.to_dict(),
            "max_votes": self.max_votes,
            "costs": {key: list(getattr(self, key)) for key in _COST_FIELDS},
            "latency": [self.answer_s, self.round_s],
        }
        if self.failed:
            row["failed"] = self.failed
        return {**row, "note": self.note} if self.note else row

    @classmethod
    def from_dict(cls, name: str, row: Mapping[str, Any]) -> FittedTier:
        """Read what `to_dict` wrote."""
        answer_s, round_s = map(float, row["latency"])
        return cls(
            name=name,
            right=_scores(row["right"]),
            wrong=_scores(row["wrong"]),
            observation=observations_from_dict(row["observation"]),
            max_votes=int(row["max_votes"]),
            failed=float(row.get("failed", 0.0)),  # blocks written before failures were counted have none
            answer_s=answer_s,
            round_s=round_s,
            note=str(row.get("note", "")),
            **{key: Cost(*map(float, row["costs"][key])) for key in _COST_FIELDS},
        )


_COST_FIELDS = ("answer", "vote", "round")


def _scores(row: Sequence[Any]) -> Scores:
    total, answers = row
    scores = Scores(float(total), int(answers))
    if not 0 <= scores.total <= scores.answers + 1e-6:
        raise ValueError(f"expected a sum of scores and the number of answers, got {list(row)}")
    return scores


class Fitted(Struct, frozen=True, kw_only=True):
    """The fitted parameters of all tiers, and the counts behind the prior.

    Attributes:
        tiers: cheapest first.
        counts: per class of questions, how many rows were in each of the 2^N states
            (bit i is set where tier i is right); one class unless a query-side router or a column makes
            more. A row on which a tier failed is a fraction in each state that it may have been in.
        alpha: pseudo-counts that shrink the prior of all classes towards the product of the marginals.
        kappa: pseudo-counts that shrink a class's prior towards that of all classes.
        mean_tokens: mean prompt tokens of a question; 0 where they were not counted.
        agreement: how likely answers are to be equal; None where comparing them told nothing.
        classes: the names of the classes, where a column of the rows makes them; the last of `counts`
            is then of the rows in none of them, whose prior is that of all rows.
        trust: how far a question's prior follows the query-side router; 0 where there is none, or where
            it says nothing.
    """

    tiers: tuple[FittedTier, ...]
    counts: tuple[tuple[float, ...], ...]
    alpha: float
    kappa: float = 0.0
    mean_tokens: float = 0.0
    agreement: AgreementModel | None = None
    classes: NamedClasses | None = None
    trust: float = 0.0

    @property
    def rows(self) -> int:
        """How many rows the fit used."""
        return round(sum(map(sum, self.counts)))

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be fitted, tier by tier."""
        return tuple(f"{tier.name}: {tier.note}" for tier in self.tiers if tier.note)

    def priors(self) -> tuple[tuple[float, ...], ...]:
        """Chances of the states, per class."""
        counts = np.array(self.counts, dtype=float)
        overall = shrunk(counts.sum(axis=0), independent(counts.sum(axis=0)), self.alpha)
        if len(counts) == 1:
            return (as_probabilities(overall),)
        own_counts = counts if self.classes is None else counts[:-1]
        priors = [shrunk(own, overall, self.kappa) for own in own_counts]
        return tuple(map(as_probabilities, priors if self.classes is None else [*priors, overall]))

    def model(self, cost_weight: float, settings: Settings) -> Model:
        """The decision problem at a cost_weight."""
        return Model(
            tiers=tuple(tier.model(settings.max_votes) for tier in self.tiers),
            priors=self.priors(),
            cost_weight=cost_weight,
            batch=settings.batch,
            abstain_value=settings.abstain_value,
            last_tier=settings.last_tier,
            value_of_time=settings.value_of_time,
            mean_tokens=self.mean_tokens,
            agreement=self.agreement,
            trust=self.trust,
        )

    def policy(self, cost_weight: float, settings: Settings) -> PomdpPolicy:
        """The best policy at a cost_weight, under the model."""
        names = tuple(tier.name for tier in self.tiers)
        return PomdpPolicy(self.model(cost_weight, settings), names)

    def to_dict(self) -> dict[str, Any]:
        """The `prior` and `observations` of a profile's `router:` block."""
        counts = [[int(count) if count.is_integer() else count for count in row] for row in self.counts]
        block = {
            "prior": {
                "counts": counts,
                "alpha": self.alpha,
                "kappa": self.kappa,
                "mean_tokens": self.mean_tokens,
            },
            "observations": {tier.name: tier.to_dict() for tier in self.tiers},
        }
        agreement = {"agreement": self.agreement.to_dict()} if self.agreement else {}
        classes = {"classes": self.classes.to_dict()} if self.classes else {}
        return {**block, **classes, **agreement, **({"trust": self.trust} if self.trust else {})}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Fitted:
        """Read a `router:` block.

        Raises:
            DataError: when it is not what `to_dict` writes.
        """
        try:
            prior = row["prior"]
            model = cls(
                tiers=tuple(FittedTier.from_dict(name, tier) for name, tier in row["observations"].items()),
                counts=tuple(tuple(map(float, counts)) for counts in prior["counts"]),
                alpha=float(prior["alpha"]),
                kappa=float(prior["kappa"]),
                mean_tokens=float(prior["mean_tokens"]),
                agreement=read_agreement(row["agreement"]) if row.get("agreement") else None,
                classes=named_classes_of(row),
                trust=float(row.get("trust", 0.0)),
            )
            model.model(0.0, Settings())  # also checks that the numbers make a model
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise DataError(f"the router block cannot be read: {reading_problem(exc)}", hint=HINT) from exc
        return model


def named_classes_of(router: Mapping[str, Any]) -> NamedClasses | None:
    """Read the names of the classes in a `router:` block; None where it names none.

    Raises:
        DataError: they cannot be read, or are not as many as the prior has.
    """
    row = router.get("classes")
    if row is None:
        return None
    try:
        classes, priors = NamedClasses.from_dict(row), len(router["prior"]["counts"])
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise DataError(f"the router block cannot be read: {reading_problem(exc)}", hint=HINT) from exc
    if len(classes) != priors:
        problem = f"the router block names {len(classes.names)} classes and has {priors} priors, not one more"
        raise DataError(problem, hint=HINT)
    return classes


def as_probabilities(values: Floats) -> tuple[float, ...]:
    """Values as a distribution that sums to one."""
    return tuple(map(float, values / values.sum()))
