"""One answer that exists already, checked by one tier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from automix_cli import scoring
from automix_cli.cascade.answer import QuestionRun, row_error
from automix_cli.cascade.checks import samples_per_check
from automix_cli.cascade.failed_attempts import open_bill
from automix_cli.cascade.verification import LabelledAnswers, Verification
from automix_cli.cascade.visit import LiveVisit
from automix_cli.errors import BackendError
from automix_cli.pomdp.problem import Action, Facts, Observation, Policy
from automix_cli.profile.model import Tier
from automix_cli.records import Question
from automix_cli.usage import add_money, total_usage

if TYPE_CHECKING:
    from automix_cli.cascade.cascade import Cascade


class AnswerCheck:
    """One answer that exists already, and the tier that checks it."""

    def __init__(self, cascade: Cascade, question: Question, answer: str, tier: Tier, votes: int) -> None:
        self.cascade, self.question, self.answer = cascade, question, answer
        self.samples = samples_per_check(cascade.profile.verification, votes)
        self.signal = cascade.profile.verification.signal
        self.index = cascade.profile.tiers.index(tier)
        self.visit = LiveVisit(tier, answer=answer)
        self.question_run = QuestionRun(cascade, question)
        self.question_run.visits.append(self.visit)

    async def run(self) -> Verification:
        """The verification; a call that fails makes an error row."""
        self.question_run.bill = open_bill()
        try:
            observation = await self._observe()
            confidence, calibrated = await self._confidence(observation)
        except BackendError as exc:
            return replace(self._row(), error=row_error(exc, self.visit.tier.name))
        return replace(
            self._row(),
            confidence=None if confidence is None else round(confidence, 6),
            calibrated=calibrated,
            calibrated_on=self._labelled_answers() if calibrated else None,
            sampled=len(self.visit.answers) or None,
            agreeing=observation.correct if self.visit.answers else None,
        )

    async def _observe(self) -> Observation:
        if self.signal == "consistency":
            return await self._agreement()
        return await self.question_run.carry_out(Action("vote", self.index, self.samples))

    async def _agreement(self) -> Observation:
        """How many of k answers that the tier samples itself are equivalent to the given one."""
        run = self.question_run
        request, cut = run.requests.for_answer(self.question, self.visit.tier, n=self.samples)
        self.visit.note(await run.buy(request, self.visit.answers), cut)
        scorer = self.cascade.profile.task.scorer
        same = sum(
            scoring.equivalent(c.text.strip(), self.answer, scorer, self.question.choices)
            for c in self.visit.answers
        )
        return Observation(same, len(self.visit.answers), len(self.visit.answers))

    async def _confidence(self, observation: Observation) -> tuple[float | None, bool]:
        """The posterior where a fit has learned this tier's signal, else the signal itself.

        None stands for no evidence. The second value is true for the posterior.
        """
        if observation.signal is None and not observation.parsed:
            return None, False
        policy = self.cascade.policy
        if policy is None or not self._knows_signal(policy):
            share = observation.signal
            return (observation.correct / observation.parsed if share is None else share), False
        run = self.question_run
        facts = Facts(None, run.question_class(), await run.read_question())
        belief = policy.begin(facts)
        belief = policy.update(belief, Action("start", self.index), Observation())
        belief = policy.update(belief, Action("vote", self.index, observation.n_votes), observation)
        return policy.confidence(belief, self.index), True

    def _knows_signal(self, policy: Policy[Any]) -> bool:
        """Whether a policy has learned what this tier's signal shows; rules of thumb have learned nothing."""
        model = getattr(policy, "plan_model", None)
        if model is None:
            return False
        from automix_cli.pomdp.observations import NoObservations

        return not isinstance(model.tiers[self.index].observation, NoObservations)

    def _labelled_answers(self) -> LabelledAnswers | None:
        """How many labelled answers of the tier the router was fitted on; None where nobody says."""
        router = self.cascade.profile.router or {}
        own = (router.get("observations") or {}).get(self.visit.tier.name)
        if own is None:
            return None
        right, wrong = (int(own[kind][1]) for kind in ("right", "wrong"))
        return LabelledAnswers(right + wrong, wrong)

    def _row(self) -> Verification:
        """The row, with all that was paid for, and no verdict yet."""
        embedding = self.question_run.embedding
        steps = [visit.step() for visit in (self.visit, embedding) if visit is not None]
        unread = ["embedding_failed"] if self.question_run.is_unread else []
        return Verification(
            question=self.question,
            answer=self.answer,
            tier=self.visit.tier.name,
            signal=self.signal,
            votes=tuple(self.visit.votes),
            usage=total_usage([s.usage for s in steps]),
            cost_usd=add_money(*(s.cost_usd for s in steps)),
            spent_usd=add_money(self.question_run.failed_usd(), *(s.spent_usd for s in steps)),
            flags=(*steps[0].flags, *unread),
        )
