"""The plan of a question in one sentence: before it is asked, and beside what happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from automix_cli.cascade.plan_memo import PlanMemo
from automix_cli.cascade.question_facts import FactsReader, facts_of_answer
from automix_cli.fitting.router_block import start_shares
from automix_cli.pomdp.problem import Facts, Policy
from automix_cli.pomdp.rules import QuestionPolicy
from automix_cli.pomdp.signals import recorded_signal
from automix_cli.profile.model import Profile
from automix_cli.records import Answer, Question
from automix_cli.texts import count_of
from automix_cli.views.first_moves_words import plan_sentence, question_sentence

if TYPE_CHECKING:
    from automix_cli.cascade.cascade import Cascade

MOST_PLANS = 3  # that a dry run writes out


class QuestionPlans:
    """Sentences of the plans of questions, each made once for all that the policy takes for the same.

    Args:
        profile: whose tiers are asked.
        policy: that decides.
    """

    def __init__(self, profile: Profile, policy: Policy[Any]) -> None:
        self.profile = profile
        self.policy = policy.policy if isinstance(policy, PlanMemo) else policy
        self._sentences: dict[Facts, str] = {}

    def sentence(self, facts: Facts) -> str:
        """The plan of a question of these facts."""
        same = self.policy.relevant(facts)
        if same not in self._sentences:
            v = self.profile.verification
            self._sentences[same] = question_sentence(
                self.policy,
                [tier.name for tier in self.profile.tiers],
                facts,
                recorded_signal(v.signal, v.logprob_of),
                v.max_votes if v.signal == "consistency" else 0,
            )
        return self._sentences[same]

    def of_answer(self, cascade: Cascade, answer: Answer) -> str:
        """The plan that was made for a question before it was answered."""
        return self.sentence(facts_of_answer(cascade, answer))

    @property
    def trust(self) -> str:
        """What the number stands for that rows call confidence."""
        if isinstance(self.policy, QuestionPolicy):
            return "by the query router, before the answer"
        if hasattr(self.policy, "plan_model"):
            return "chance to be right"
        signal = self.profile.verification.signal
        return {
            "votes": "of its votes, not calibrated",
            "consistency": "of its samples, not calibrated",
            "logprob": "by log-probability, not calibrated",
        }[signal]


def planned_lines(
    profile: Profile, policy: Policy[Any], questions: Sequence[Question], count: int
) -> Iterator[str]:
    """What is planned for questions, a line a plan, the most frequent first.

    Args:
        profile: whose tiers are asked.
        policy: that decides.
        questions: to look at.
        count: of all questions; those after `questions` are not looked at.
    """
    reader, plans = FactsReader.of(profile), QuestionPlans(profile, policy)
    if not reader.is_complete:  # an embedding, which costs, decides
        names = [tier.name for tier in profile.tiers]
        starts = start_shares(profile.router or {}) or {}
        yield f"plan: {plan_sentence(policy, names, starts=starts)}"
        return
    every = Counter(plans.sentence(reader.facts(profile, question)) for question in questions)
    whole = f"the first {len(questions):,}" if count > len(questions) else f"{count:,}"
    for words, own in every.most_common(MOST_PLANS):
        share = f" of {own:,} of {whole} questions" if len(every) > 1 else ""
        only = f" of {whole} questions" if not share and count > len(questions) else ""
        yield f"plan{share}{only}: {words}"
    if len(every) > MOST_PLANS:
        rest = sum(own for _, own in every.most_common()[MOST_PLANS:])
        yield f"other plans: {len(every) - MOST_PLANS}, of {count_of(rest, 'question')}"
