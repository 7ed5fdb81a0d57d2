"""The end of a run whose votes nobody can read: when it comes, and what it says."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from automix_cli import prompts
from automix_cli.cascade.visit import LiveVisit
from automix_cli.cascade.vote_watch import VoteWatch
from automix_cli.errors import UnreadVotes
from automix_cli.profile.model import Tier, VerificationSettings
from automix_cli.prompts import read_votes
from automix_cli.records import Completion

READ, UNREAD = prompts.decision(False), "Verdict: CORRECT"


def visit(replies: Sequence[str], tier: str = "small", *flags: str) -> LiveVisit:
    """A tier whose answer got these replies as votes."""
    checks = [Completion(text=text, flags=flags) for text in replies]
    own = LiveVisit(Tier(name=tier, model=f"test/{tier}"), checks=checks)
    own.votes += read_votes(checks, len(checks))
    return own


def looks(visits: Sequence[LiveVisit]) -> int:
    """After how many visits the run ends; 0 for never."""
    watch = VoteWatch(VerificationSettings())
    for number, own in enumerate(visits, 1):
        try:
            watch.look(own)
        except UnreadVotes:
            return number
    return 0


@pytest.mark.parametrize(
    ("visits", "end"),
    [
        ([visit([UNREAD] * 8)] * 9, 3),
        ([visit([UNREAD] * 64)] * 9, 3),  # one answer may be what it refuses to judge
        ([visit([UNREAD] * 7)] * 2 + [visit([UNREAD] * 5)], 0),
        ([visit([UNREAD])] * 30, 20),
        ([visit([""] * 8)] * 3, 3),
        ([visit([])] * 50, 0),
        ([visit([UNREAD] * 7 + [READ]), *[visit([UNREAD] * 8)] * 50], 0),
        ([visit([UNREAD] * 8)] * 2 + [visit([UNREAD] * 7 + [READ])] + [visit([UNREAD] * 8)] * 9, 0),
        ([visit([READ] * 8, "small"), visit([UNREAD] * 8, "medium")] * 5, 6),
    ],
    ids=[
        *("8 a question", "64 a question", "19 votes", "1 a question", "no text", "no votes"),
        *("the first is read", "one in time", "each tier by itself"),
    ],
)
def test_a_run_ends_after_twenty_votes_of_a_tier_on_three_answers_none_of_which_is_read(
    visits: list[LiveVisit], end: int
) -> None:
    assert looks(visits) == end


@pytest.mark.parametrize(
    ("reply", "flags", "words", "ways"),
    [
        ("It is\n\x1b[31m18.\nVerdict: CORRECT", (), r'"It is \x1b[31m18. Verdict: CORRECT"', 4),
        ("a" * 500 + "!", ("truncated",), "a…a", 5),
        ("", (), "The replies have no text.", 4),
    ],
)
def test_it_says_what_came_and_what_to_do(reply: str, flags: tuple[str, ...], words: str, ways: int) -> None:
    watch = VoteWatch(VerificationSettings(max_tokens=2000), " --profile p.yaml")
    watch.look(visit([reply] * 8, "small", *flags))
    watch.look(visit([reply] * 8, "small", *flags))
    with pytest.raises(UnreadVotes) as caught:
        watch.look(visit([reply] * 8, "small", *flags))
    message, lines = caught.value.message, caught.value.hint.splitlines()
    assert message.startswith("none of the first 24 votes of small could be read, so no more are bought. ")
    assert words in message
    assert "\n" not in message
    assert len(message) < 300
    assert len(lines) == ways
    assert "automix verify --profile p.yaml --tier small --explain " in caught.value.hint
    assert ("2,000 tokens" in lines[0] and "{max_tokens: 8000}" in lines[0]) == bool(flags)
