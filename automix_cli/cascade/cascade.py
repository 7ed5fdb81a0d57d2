"""A profile, a policy and a backend: answers questions, verifies answers, collects traces.

Everything that costs money goes through one `Backend`. Nothing in this folder knows a terminal
or a command.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from automix_cli.backends.base import Backend
from automix_cli.cascade.answer import Degrading, QuestionRun, collect_trace
from automix_cli.cascade.requests import embedding_request, input_sha
from automix_cli.pomdp.problem import Facts, Policy
from automix_cli.profile.model import Profile, Tier
from automix_cli.profile.router import baseline_of, embedder_of, is_planned, named_classes, query_router
from automix_cli.records import Answer, Completion, Json, Question, Trace

if TYPE_CHECKING:
    from automix_cli.cascade.shadow import ShadowPlan
    from automix_cli.cascade.verification import Verification
    from automix_cli.cascade.vote_watch import VoteWatch
    from automix_cli.data.question_classes import NamedClasses
    from automix_cli.fitting.query_router import QueryRouter


@dataclass(frozen=True, slots=True)
class Cascade:
    """A profile, a policy and a backend: answers, verifies and collects.

    `query` reads each question before any call, by the embeddings of `embedder` where it is no text that it
    reads. With `degrading`, a question that the budget stops is answered by the cheapest tier, unverified, if
    that still fits; so is every question after it. With `shadow`, questions that it draws are put to the
    baseline, too, once they are answered.

    Example:
        >>> import asyncio
        >>> from automix_cli import prompts
        >>> from automix_cli.backends.base import ScriptedBackend
        >>> from automix_cli.profile.search import profile_of_models
        >>> verdict = prompts.decision(True)
        >>> backend = ScriptedBackend(lambda r: verdict if prompts.is_verification(r.messages) else "4")
        >>> cascade = Cascade(profile_of_models(["demo/small", "demo/large"]), backend)
        >>> asyncio.run(cascade.answer(Question(text="2 + 2?"))).answer
        '4'
    """

    profile: Profile
    backend: Backend
    policy: Policy[Any] | None = None
    degrading: Degrading | None = None
    shadow: ShadowPlan | None = None
    query: QueryRouter | None = field(init=False, repr=False, compare=False)
    embedder: Tier | None = field(init=False, repr=False, compare=False)
    classes: NamedClasses | None = field(init=False, repr=False, compare=False)
    default: Policy[Any] | None = field(init=False, repr=False, compare=False)
    profile_sha: str = field(init=False, repr=False, compare=False)
    counts_tokens: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        query = query_router(self.profile)
        reads_text = query is None or query.embed_model is None
        object.__setattr__(self, "query", query)
        object.__setattr__(self, "embedder", None if reads_text else embedder_of(self.profile))
        object.__setattr__(self, "classes", named_classes(self.profile))
        object.__setattr__(self, "default", None)
        if self.policy is None:
            from automix_cli.cascade.uncalibrated import default_policy

            object.__setattr__(self, "default", default_policy(self.profile))
        object.__setattr__(self, "profile_sha", self.profile.sha)  # every row has it, and it takes a while
        # A plan is made when it first decides, not to be asked what it looks at: then tokens are counted.
        counts = is_planned(self.profile)
        counts = counts or self.active_policy().relevant(Facts(1.0)).prompt_tokens is not None
        object.__setattr__(self, "counts_tokens", counts)

    def with_backend(self, backend: Backend) -> Cascade:
        """The same cascade over another backend; what was planned is shared."""
        other = copy(self)
        object.__setattr__(other, "backend", backend)
        return other

    async def answer(self, question: Question) -> Answer:
        """Run one question through the cascade.

        A call that fails makes an error row with the route and the money so far; only an
        error of automix itself is raised.

        Raises:
            DataError: a list, an object or a text that is too long stands where the class is looked for.
        """
        if self.classes is not None:
            self.classes.check(question)
        run = QuestionRun(self, question)
        row = await run.answer()
        if self.shadow is None or not self.shadow.draws(question.id):
            return row
        from automix_cli.cascade.shadow import with_shadow

        return await with_shadow(run, row, self.shadow)

    async def collect(self, question: Question, watch: VoteWatch | None = None) -> Trace:
        """Ask every tier, buy all votes, score each answer that can be scored; `watch` looks at the votes.

        Raises:
            BackendError: when a call fails, or no vote can be read; what was paid for is in the cache.
        """
        return await collect_trace(self, question, watch)

    async def verify(self, question: Question, answer: str, tier: Tier, votes: int) -> Verification:
        """Have `tier` check an answer with `votes` votes (samples, for `consistency`).

        Raises:
            DataError: as `answer` raises it.
        """
        if self.classes is not None:
            self.classes.check(question)
        from automix_cli.cascade.verify import AnswerCheck

        return await AnswerCheck(self, question, answer, tier, votes).run()

    def input_sha(self, question: Question, *others: Json) -> str:
        """A short hash of all that a result depends on besides the profile."""
        name = None if self.classes is None else self.classes.name_of(question)
        return input_sha(question, *others, question_class=name)

    @property
    def baseline(self) -> Tier:
        """The tier that answers and costs are compared with."""
        return baseline_of(self.profile) if self.shadow is None else self.shadow.baseline

    async def embed(self, question: Question, tier: Tier) -> Completion:
        """Buy the embedding of a question.

        Raises:
            BackendError: the call failed.
        """
        request = embedding_request(question.text, tier, self.profile.limits.timeout)
        return (await self.backend.complete(request))[0]

    def active_policy(self) -> Policy[Any]:
        """The policy given, or the one of a profile that was not calibrated."""
        policy = self.policy or self.default
        assert policy is not None
        return policy
