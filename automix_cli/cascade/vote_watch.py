"""Ends a run that buys the votes of tiers whose verdicts nobody can read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct, field

from automix_cli import prompts
from automix_cli.cascade.requests import MAX_TOKENS
from automix_cli.cascade.visit import LiveVisit
from automix_cli.data.jsonl import printable
from automix_cli.errors import UnreadVotes
from automix_cli.profile.model import VerificationSettings
from automix_cli.records import Verdict, Vote
from automix_cli.texts import is_blank

LEAST_VOTES = 20
LEAST_ANSWERS = 3  # one answer alone may be what a verifier refuses to judge


class VoteWatch(Struct):
    """Counts the votes of each tier until one of them can be read.

    A tier whose first votes, `LEAST_VOTES` or more on `LEAST_ANSWERS` answers or more, hold no verdict ends
    the run. A verifier of which one vote in five can be read gets that far in one of a hundred runs, and
    one of which one vote in seven can be read in one of twenty; the worse ones are hardly worth their price.
    `profile_option` is the option that names the profile, with a blank before it; "" for none.
    """

    verification: VerificationSettings
    profile_option: str = ""
    _votes: dict[str, list[Vote]] = field(default_factory=dict)
    _answers: dict[str, int] = field(default_factory=dict)
    _readable: set[str] = field(default_factory=set)

    def look(self, visit: LiveVisit) -> None:
        """Count the votes of a visit.

        Raises:
            UnreadVotes: none of this tier's votes could be read so far, and there were enough of them.
        """
        name = visit.tier.name
        if not visit.votes or name in self._readable:
            return
        if any(vote.verdict is not Verdict.UNPARSED for vote in visit.votes):
            self._readable.add(name)
            return
        votes = self._votes.setdefault(name, [])
        votes += visit.votes
        self._answers[name] = self._answers.get(name, 0) + 1
        if len(votes) >= LEAST_VOTES and self._answers[name] >= LEAST_ANSWERS:
            raise self._error(visit, votes)

    def _error(self, visit: LiveVisit, votes: Sequence[Vote]) -> UnreadVotes:
        replies = [vote.reasons for vote in votes if not is_blank(vote.reasons)]
        reply = f"One reply: {_shorten(replies[-1])}" if replies else "The replies have no text."
        head = f"none of the first {len(votes)} votes of {visit.tier.name} could be read"
        return UnreadVotes(f"{head}, so no more are bought. {reply}", hint="\n".join(self._ways(visit)))

    def _ways(self, visit: LiveVisit) -> Iterator[str]:
        """What to do about it, a line each."""
        if any("truncated" in check.flags for check in visit.checks):
            now = max(
                int(dict(visit.tier.params).get("max_tokens", MAX_TOKENS)), self.verification.max_tokens
            )
            yield (
                f"replies were cut off after {now:,} tokens, before any verdict: in the profile, "
                f"verification: {{max_tokens: {4 * now}}}"
            )
        yield f"a vote is read from its last line, which should be: {prompts.decision(True)}"
        which = f"{self.profile_option} --tier {visit.tier.name}"
        yield f'automix verify{which} --explain --question "…" --answer "…"   shows what it writes'
        yield "verification: {examples: […]} shows a verifier how to end; {signal: consistency} needs no vote"
        yield "the cache keeps what was paid for; --refresh asks anew, where another model has the name now"


def _shorten(reply: str) -> str:
    r"""A reply on one line, its middle left out where it is long, controls made visible.

    Example:
        >>> _shorten("It is 4.\n\x1b[1mVerdict: yes"), len(_shorten("x" * 999))
        ('"It is 4. \\x1b[1mVerdict: yes"', 182)
    """
    flat = " ".join(printable(reply).split())
    return f'"{flat}"' if len(flat) <= 180 else f'"{flat[:79]}…{flat[-100:]}"'
