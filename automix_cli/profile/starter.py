"""The files that `automix profile init` writes: a profile with comments, and ten rows to replace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from automix_cli.profile.model import Tier
from automix_cli.profile.proposal import Proposal

SCHEMA_FILE = "automix.schema.json"

_FIRST_LINES = f"""\
# yaml-language-server: $schema=./{SCHEMA_FILE}
# What automix asks in this folder. `automix profile show` prints all it amounts to.
version: 1
"""

_LAST_LINES = """
# What is left out keeps its default, for example:
# task:
#   instruction: Answer with a single word.
#   scorer: exact                # exact | numeric | choice | f1 | contains | json
# verification:
#   max_votes: 8                 # the most votes that may be bought on one answer
#   temperature: 1               # of votes; null leaves it to the provider
# limits:
#   max_cost: 1.00               # USD a run may spend
"""

_ROWS = (
    ("What is 17 * 23?", "391"),
    ("What is the capital of Australia?", "Canberra"),
    ("Who wrote Dune?", "Frank Herbert"),
    ("How many days has a leap year?", "366"),
    ("What is the chemical symbol of gold?", "Au"),
    ("What is 144 / 12 + 7?", "19"),
    ("In which year did Apollo 11 land on the Moon?", "1969"),
    ("Which planet is the largest of the solar system?", "Jupiter"),
    ("What is the square root of 1521?", "39"),
    ("How many minutes are 2.5 hours?", "150"),
)


def starter_text(proposal: Proposal, scorer: str | None = None) -> str:
    """The profile of a proposal as YAML with comments; a bundled one is extended and not copied.

    Args:
        proposal: its tiers.
        scorer: how answers are judged; None leaves that to the default.
    """
    lines = [f"extends: {proposal.extends}"] if proposal.extends else ["tiers:"]
    lines += [f"# {line}" for line in _bundled_lines(proposal)] if proposal.extends else []
    if not proposal.extends:
        lines += [line for tier in proposal.tiers for line in _tier_lines(tier)]
        if len(proposal.tiers) == 1:
            lines += _LONE_TIER
    lines += [] if scorer is None else ["task:", f"  scorer: {scorer}"]
    return _FIRST_LINES + "\n".join(lines) + "\n" + _LAST_LINES


_LONE_TIER = (
    "# With one tier there is nothing to route. Add a dearer and better one below it, for example",
    "#   - {name: large, model: openai/gpt-6.1-sol}",
)


def _bundled_lines(proposal: Proposal) -> Iterator[str]:
    """What the bundled profile asks, in words."""
    yield "Its tiers, cheapest first; written here, they would replace these:"
    for tier in proposal.tiers:
        yield f"  - {{name: {tier.name}, model: {tier.model}}}   {price_words(tier)}"


def _tier_lines(tier: Tier) -> Iterator[str]:
    """A tier as YAML."""
    yield f"  - name: {tier.name}"
    yield f"    model: {tier.model}"
    if tier.api_base is not None:
        yield f"    api_base: {tier.api_base}"
    if tier.api_key_env is not None:
        yield f"    api_key_env: {tier.api_key_env}"
    if tier.list_price() is None or _is_free(tier):
        without = "unknown" if tier.list_price() is None else "free, as a server of one's own"
        yield f"    # without a price it counts as {without}"
        yield "    # price: {input: 0.1, output: 0.4}   # USD per million tokens"
    else:
        yield f"    # {price_words(tier)}"
    yield "    params: {max_tokens: 2048}"


def price_words(tier: Tier) -> str:
    """What a tier costs, in words."""
    price = tier.list_price()
    if price is None:
        return "price unknown"
    if _is_free(tier):
        return "free: a server of one's own"
    return f"list price: ${price.input:g} in, ${price.output:g} out per million tokens"


def _is_free(tier: Tier) -> bool:
    """Whether a tier is known to cost nothing."""
    price = tier.list_price()
    return price is not None and not price.input and not price.output


def labelled_rows() -> Sequence[dict[str, str]]:
    """Ten rows that show what labelled rows look like, to be replaced by one's own."""
    return [{"question": question, "expected": answer} for question, answer in _ROWS]
