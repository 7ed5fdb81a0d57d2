"""What a policy is told of a question before any call: its length, its class, what a router reads in it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from automix_cli.cascade.requests import estimated_tokens
from automix_cli.pomdp.problem import Facts
from automix_cli.profile.model import Profile
from automix_cli.profile.router import is_calibrated, named_classes, query_router
from automix_cli.records import Answer, Question

if TYPE_CHECKING:
    from automix_cli.cascade.cascade import Cascade
    from automix_cli.data.question_classes import NamedClasses
    from automix_cli.fitting.query_router import QueryRouter
    from automix_cli.pomdp.tilt import Logits


def planned_tokens(profile: Profile, question: Question) -> float | None:
    """Prompt tokens as the fit counted them, which says how far the estimate is off; None for a mean.

    A profile that was not calibrated has planned costs that are made from the estimate itself.
    """
    scale = (profile.router or {}).get("token_scale") if is_calibrated(profile) else 1.0
    return None if scale is None else float(scale) * estimated_tokens(profile, question)


class FactsReader(NamedTuple):
    """What tells questions apart before any call: the classes of a column, and a router of their texts.

    It is not complete with a router of embeddings, which are bought first.
    """

    classes: NamedClasses | None
    query: QueryRouter | None
    is_complete: bool

    @classmethod
    def of(cls, profile: Profile) -> FactsReader:
        """What the profile's router reads.

        Raises:
            DataError: the router cannot be read.
        """
        query = query_router(profile)
        is_complete = query is None or query.embed_model is None
        return cls(named_classes(profile), query if is_complete else None, is_complete)

    def facts(self, profile: Profile, question: Question) -> Facts:
        """What the policy plans with: prompt tokens, class, and what is read."""
        own = 0 if self.classes is None else self.classes.place(self.classes.name_of(question))
        return Facts(planned_tokens(profile, question), own, self._logits(question))

    def _logits(self, question: Question) -> Logits:
        if self.query is None:
            return ()
        from automix_cli.pomdp.tilt import logit

        return tuple(logit(self.query.predict([question.text])[0]).tolist())


def facts_of_answer(cascade: Cascade, answer: Answer) -> Facts:
    """What the policy was told of a question that was answered."""
    classes = cascade.classes
    place = 0 if classes is None else classes.place(answer.question_class)
    reading = next((step.reading for step in answer.route if step.reading is not None), None)
    right = () if reading is None else tuple(math.log(p) - math.log1p(-p) for _, p in reading.right)
    return Facts(planned_tokens(cascade.profile, answer.question), place, right)
