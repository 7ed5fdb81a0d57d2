"""Results as text and Rich renderables. Nothing here prints.

Model text never meets Rich markup: it goes in as `Text`, with its controls made visible.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from automix_cli.data.jsonl import printable
from automix_cli.records import Answer, Step, VoteCount
from automix_cli.texts import count_of, share_text

if TYPE_CHECKING:
    from rich.tree import Tree

    from automix_cli.cascade.tally import CheckTally, Faults, ShadowTally, Tally
    from automix_cli.cascade.verification import Verification
    from automix_cli.data.output import EarlierRows
    from automix_cli.data.shards import Stamp


def money(dollars: float | None) -> str:
    """Dollars for people: two significant digits below a cent, cents above.

    Example:
        >>> money(None), money(0.0), money(0.000412), money(1.5)
        ('$ unknown', '$0', '$0.00041', '$1.50')
    """
    if dollars is None:
        return "$ unknown"
    if dollars == 0:
        return "$0"
    if abs(dollars) >= 0.01:
        return f"${dollars:,.2f}"
    return f"${float(f'{dollars:.1e}'):.12f}".rstrip("0")


def range_words(ends: Sequence[float]) -> str:
    """Two sums of dollars.

    Example:
        >>> range_words([0.000412, 1.5])
        '$0.00041 to $1.50'
    """
    return " to ".join(map(money, ends))


def votes_of(count: VoteCount) -> str:
    """Votes for people.

    Example:
        >>> votes_of(VoteCount(3, 1, 1))
        '3 of 4 votes correct, 1 unparsed'
    """
    remark = f", {count.unparsed} unparsed" if count.unparsed else ""
    return f"{count.correct} of {count_of(count.parsed, 'vote')} correct{remark}"


def one_line(text: str | None, width: int = 60) -> str:
    r"""The beginning of a text on one line, controls made visible.

    Example:
        >>> one_line("a\nb"), one_line("x" * 99, 5)
        ('a b', 'xxxx…')
    """
    flat = " ".join(printable(text or "").split())
    return flat if len(flat) <= width else f"{flat[: width - 1]}…"


# ---------------------------------------------------------------- one answer


def footer(answer: Answer) -> str:
    """The cost line under a single answer."""
    tiers = " → ".join(step.tier for step in answer.route)
    votes = [votes_of(step.count) for step in answer.route if step.votes]
    bill = f"cost {money(answer.cost_usd)}, spent {money(answer.spent_usd)}"
    calls = count_of(answer.usage.calls, "call")
    return " · ".join([tiers, *votes, bill, f"{calls}, {answer.latency_s:.2f} s"])


def explain_tree(answer: Answer, plan: str = "", trust: str = "") -> Tree:
    """What was planned, then each tier with its votes, the belief, the decision and the money.

    Args:
        answer: of one question.
        plan: in words; "" to leave it out.
        trust: what the number beside `trust` stands for; "" to leave that out.
    """
    from rich.text import Text
    from rich.tree import Tree

    tree = Tree(Text(one_line(answer.question.text, 72), style="bold"))
    if answer.embedding is not None:
        embedding = answer.embedding
        tree.add(Text.assemble(("look ", "dim"), f"{embedding.model}, {money(embedding.cost_usd)}"))
    if answer.tells_classes:
        name = printable(answer.question_class or "none that the router knows: the prior of all questions")
        tree.add(Text.assemble(("class ", "dim"), name))
    for step in answer.route:
        if step.reading is not None:
            chances = ", ".join(f"{name} {share_text(p, '.2f')}" for name, p in step.reading.right)
            tree.add(Text.assemble(("read ", "dim"), f"{step.reading.router}, chance to be right: {chances}"))
        if plan and step is answer.route[0]:
            tree.add(Text.assemble(("plan ", "dim"), plan))
        branch = tree.add(Text.assemble((step.tier, "cyan"), f"  {step.model or ''}"))
        for line in _explain_step(step, trust):
            branch.add(Text(line))
    if answer.reason:
        tree.add(Text.assemble(("why  ", "dim"), answer.reason))
    tree.add(
        Text.assemble(("bill ", "dim"), f"cost {money(answer.cost_usd)}, spent {money(answer.spent_usd)}")
    )
    if (shadow := answer.shadow) is not None:
        words = {True: "the same", False: f"another: {one_line(shadow.answer)}", None: "no answer"}
        tree.add(Text.assemble(("beside ", "dim"), f"{shadow.tier} gives {words[shadow.equal]}"))
    if answer.error is not None:
        tree.add(Text(f"error {answer.error.type}: {printable(answer.error.message)}", style="red"))
    return tree


def explain_legend(answer: Answer) -> list[str]:
    """What the marks and the two sums of `explain_tree` stand for.

    Example:
        >>> from automix_cli.records import Question
        >>> explain_legend(Answer(question=Question(text="?")))
        ['cost: list price of all calls, cached ones too; spent: what this run paid']
    """
    has_votes = any(step.votes for step in answer.route)
    votes = "votes: + correct, - incorrect, ? cannot be read; then: what was decided"
    bill = "cost: list price of all calls, cached ones too; spent: what this run paid"
    why = "why: what each next step comes to in the end (score: 1 is right); best last"
    has_worth = answer.reason is not None and "; expected score" in answer.reason
    return [*([votes] if has_votes else []), *([why] if has_worth else []), bill]


def _explain_step(step: Step, trust: str) -> list[str]:
    why = f": {step.failed}" if step.failed else ""
    lines = [f"answer  {one_line(step.answer)}" if step.answer is not None else f"no answer{why}"]
    if step.votes:
        marks = "".join({1: "+", 0: "-", None: "?"}[v.value] for v in step.votes)
        lines.append(f"votes   {marks}  {votes_of(step.count)}")
    if len(step.samples) > 1:
        lines.append(f"samples {len(step.samples)}, the plurality reported")
    if step.confidence is not None:
        lines.append(f"trust   {share_text(step.confidence, '.2f')} {trust}".rstrip())
    if step.flags:
        lines.append(f"flags   {', '.join(step.flags)}")
    if step.action:
        lines.append(f"then    {step.action}")
    lines.append(f"money   {money(step.cost_usd)}, {count_of(step.calls, 'call')}")
    return lines


# ---------------------------------------------------------------- a batch


def batch_summary(tally: Tally, seconds: float) -> list[str]:
    """What a batch came to, a line for the whole and one per kind of error."""
    parts = [f"{count_of(tally.rows, 'row')}: {tally.ok:,} ok"]
    errors = tally.errors - tally.faults.not_asked
    for number, word in (
        (tally.abstained, "abstained"),
        (tally.degraded, "degraded"),
        (tally.skipped, "skipped"),
        (errors, "error" if errors == 1 else "errors"),
        (tally.faults.not_asked, "not asked"),
    ):
        if number:
            parts[0] += f", {number:,} {word}"
    if tally.escalated_share is not None:
        of = " of the answered rows" if tally.is_partial else ""
        parts.append(f"{share_text(tally.escalated_share, '.0%')}{of} escalated")
    if tally.scores.rows:
        parts.append(_quality_words(tally))
    if tally.votes.unparsed:
        parts.append(f"{share_text(tally.votes.unparsed / tally.votes.n_votes, '.1%')} of votes unparsed")
    parts.append(f"cost {money(tally.cost_usd)}, spent {money(tally.spent_usd)}")
    parts.append(f"{count_of(tally.usage.calls, 'call')} behind the rows, {seconds:.1f} s")
    shadow = _shadow_line(tally.shadow)
    mute = [f"  {tier} gave no answer to {count_of(count, 'row')}" for tier, count in tally.mute.items()]
    if tally.without_class:
        own = count_of(tally.without_class, "row")
        mute.append(f"  {own} in no class that the router knows: the prior of all questions was used")
    return [" · ".join(parts), *_scorer_lines(tally), *shadow, *mute, *_fault_lines(tally.faults)]


def _scorer_lines(tally: Tally) -> Iterator[str]:
    """What is said where nearly no answer is right, and another scorer finds many right."""
    if (other := tally.scores.other_scorer(tally.scorer)) is not None:
        from automix_cli.views.scorer_words import scorer_lines

        yield from scorer_lines(other)


def _quality_words(tally: Tally) -> str:
    """The quality of the answers to rows that say what is right, and which rows these are."""
    rows, partial = tally.scores.rows, tally.is_partial
    on = " of the answered rows" if partial else ""
    if rows != tally.ok:
        on = f" on {count_of(rows, 'answered row' if partial else 'row')} with a right answer"
    return f"quality {share_text(tally.scores.total / rows, '.0%')}{on}"


def _shadow_line(shadow: ShadowTally) -> list[str]:
    """How many rows were compared with the baseline, what came of it, and what it cost."""
    if not shadow.rows:
        return []
    equal = shadow.rows - shadow.differing - shadow.without_answer - shadow.errors
    parts = [f"{equal:,} equal, {shadow.differing:,} different"]
    if shadow.without_answer:
        parts.append(f"{shadow.tier} gave no answer to {shadow.without_answer:,}")
    if shadow.errors:
        parts.append(
            f"{count_of(shadow.errors, 'call')} failed, the first: {one_line(shadow.first_error, 100)}"
        )
    head = f"  {count_of(shadow.rows, 'row')} compared with {shadow.tier}: {', '.join(parts)}"
    return [f"{head} · {count_of(shadow.calls, 'shadow call')}, spent {money(shadow.spent_usd)}"]


_REASON_LENGTH = 200  # characters: what a budget says has two sums and what lies between them


def _fault_lines(faults: Faults) -> list[str]:
    """How often each kind of error occurred, and the first of it; then how to mend each kind, once."""
    counts = [
        f"  {count:,} × {kind}, the first: {one_line(first, _REASON_LENGTH)}"
        for kind, (count, first) in sorted(faults.kinds.items())
    ]
    return [*counts, *(f"  {kind}: {hint}" for kind, hint in sorted(faults.hints.items()))]


def shard_line(stamp: Stamp, max_cost: float | None) -> str:
    """Which rows a shard has, and its share of the most that all shards may spend.

    Example:
        >>> from automix_cli.data.shards import Shard, Stamp
        >>> shard_line(Stamp(Shard(2, 4), 251, 1000), 2.51)
        'shard 2/4: 251 of 1,000 rows; it may spend $2.51, its share of --max-cost'
    """
    rows = "rows of a pipe"
    if stamp.rows is not None:
        rows = f"{stamp.rows:,} of {count_of(stamp.input_rows or 0, 'row')}"
    share = "" if max_cost is None else f"; it may spend {money(max_cost)}, its share of --max-cost"
    return f"shard {stamp.shard}: {rows}{share}"


def resume_line(earlier: EarlierRows) -> str:
    """What became of the rows of an earlier run."""
    repeats = [
        (earlier.failed_rows, "failed or skipped before"),
        (earlier.changed_rows, "with changed input"),
        (earlier.partial_rows, "drawn for a shadow call that they lack"),
        (earlier.torn_rows, "torn"),
    ]
    again = [f"{number:,} {word}" for number, word in repeats if number]
    redo = f"; redone: {', '.join(again)}" if again else ""
    dropped_part = (
        f"; left out: {earlier.dropped_rows:,} no longer asked for" if earlier.dropped_rows > 0 else ""
    )
    return f"{count_of(earlier.kept_rows, 'row')} kept{redo}{dropped_part}"


def plan_lines(plan: Mapping[str, Any]) -> list[str]:
    """A dry run for people: completions and dollars at best, expected, at worst.

    Several completions may come in one request, and requests are what a run counts as calls.
    """
    unit = "answer" if "answers" in plan else "question"
    rows = {name: plan[name] for name in ("low", "expected", "worst")}
    sums = {name: _sum_words(row) for name, row in rows.items()}
    width = max(14, *(len(words) + 2 for words in sums.values()))
    lines = [
        f"{count_of(plan[f'{unit}s'], unit)}, profile {plan['profile']} ({plan['policy']})",
        f"{'':10}{'completions':>12}{'dollars':>{width}}",
        *(f"{name:10}{row['calls']:>12,}{sums[name]:>{width}}" for name, row in rows.items()),
    ]
    parts = (
        *_likely_lines(plan),
        *_guess_lines(plan),
        *_shadow_lines(plan),
        *_votes_lines(plan),
        *_check_lines(plan),
        *_pay_lines(plan),
        *_bad_lines(plan),
    )
    return [*lines, *parts, plan["assumes"], "nothing was sent"]


def _sum_words(row: Mapping[str, Any]) -> str:
    """The dollars of a row of a plan, or between which they are."""
    return range_words(row["usd_range"]) if "usd_range" in row else money(row["usd"])


def _guess_lines(plan: Mapping[str, Any]) -> list[str]:
    """What stands between the ends of what is expected, which nobody should count on."""
    row = plan["expected"]
    return [f"a guess between those ends: {money(row['usd'])}"] if "usd_range" in row else []


def _whole_words(plan: Mapping[str, Any]) -> str:
    """What parts of the expected bill are said to be of."""
    return "the guess" if "usd_range" in plan["expected"] else "expected"


def _likely_lines(plan: Mapping[str, Any]) -> list[str]:
    """Between which sums the bill is likely to lie, where calibration tells."""
    likely = plan.get("likely_usd")
    return [] if likely is None else [f"likely {money(likely[0])} to {money(likely[1])} (95 %)"]


def _bad_lines(plan: Mapping[str, Any]) -> list[str]:
    """How many rows cannot be read."""
    bad = plan.get("bad_rows", 0)
    if not bad:
        return []
    return [
        f"not counted: {count_of(bad, 'row')} that cannot be read, which would be "
        f"{'an error row' if bad == 1 else 'error rows'}; the first: {plan['first_bad_row']}"
    ]


def _pay_lines(plan: Mapping[str, Any]) -> list[str]:
    """What is still to be paid of the expected bill, where the cache holds some of it."""
    own = plan.get("to_pay")
    if not own:
        return []
    cached = f"{own['cached_calls']:,} of {count_of(plan['expected']['calls'], 'completion')}"
    if not own["calls"]:
        return ["to pay now: $0, all of it is in the cache"]
    some = plan["questions"] > own["looked_up"]
    rest = f" (of the first {own['looked_up']:,} questions; the others count in full)" if some else ""
    embeddings = ", embeddings in full" if plan.get("embeddings") else ""
    about = range_words(own["usd_range"]) if "usd_range" in own else f"about {money(own['usd'])}"
    return [f"to pay now: {about}; {cached} are in the cache{rest}{embeddings}"]


def _shadow_lines(plan: Mapping[str, Any]) -> list[str]:
    """What it costs to ask the baseline, too, on the rows that are drawn for it."""
    shadow = plan.get("shadow")
    if not shadow:
        return []
    rows = f"{count_of(shadow['rows'], 'row')} drawn {money(shadow['usd'])}"
    return [f"of {_whole_words(plan)}: shadow calls of {shadow['tier']} on {rows}"]


def _votes_lines(plan: Mapping[str, Any]) -> list[str]:
    """What it costs that tiers check their own answers, where a plan says it."""
    votes = plan.get("votes")
    if not votes or not votes["calls"]:
        return []
    times = f", {votes['times_answers']:.1f} times the answers" if votes["times_answers"] else ""
    names = votes["tiers"]
    whose = (
        f"{' and '.join(names)}, each on its own answers"
        if len(names) > 1
        else f"{names[0]} on its own answers"
    )
    return [f"of {_whole_words(plan)}: votes of {whose} {money(votes['usd'])}{times}"]


def _check_lines(plan: Mapping[str, Any]) -> list[str]:
    """What it costs that each tier checks its own answers, and beside what the answers cost."""
    tiers, whole, answers = plan.get("tiers", {}), plan["expected"]["usd"], plan.get("answers_usd")
    result = []
    if len(tiers) > 1:
        parts = [
            f"{name} {money(t['usd'])} ({count_of(t['answers'], 'answer')})" for name, t in tiers.items()
        ]
        cheapest, usd = plan["cheapest"].values()
        result.append(
            f"of {_whole_words(plan)}: {', '.join(parts)}; all by {cheapest} {money(usd)} (--tier {cheapest})"
        )
    if whole and answers:
        result.append(
            f"{_whole_words(plan)} is {whole / answers:.1f} times what the answers cost ({money(answers)})"
        )
    return result


def progress_note(tally: Tally, seconds: float) -> str:
    """Rate, escalations, errors and dollars so far.

    Example:
        >>> from automix_cli.cascade.tally import Tally
        >>> progress_note(Tally(rows=30, ok=30, escalated=3), 2.0)
        '15.0 rows/s · 10% escalated · 0 errors · $0'
    """
    share = tally.escalated_share or 0.0
    rate = tally.rows / seconds if seconds > 0 else 0.0
    escalated = f"{share_text(share, '.0%')} escalated"
    return f"{rate:.1f} rows/s · {escalated} · {tally.errors:,} errors · {money(tally.spent_usd)}"


# ---------------------------------------------------------------- verifications


def verification_line(row: Verification) -> str:
    """One verification for people.

    Example:
        >>> from automix_cli.cascade.verification import Verification
        >>> from automix_cli.records import Question, Verdict, Vote
        >>> votes = (Vote(verdict=Verdict.CORRECT),) * 6 + (Vote(verdict=Verdict.INCORRECT),) * 2
        >>> verification_line(
        ...     Verification(
        ...         question=Question(text="?"), tier="small", signal="votes",
        ...         votes=votes, confidence=0.75, verdict="correct",
        ...     )
        ... )
        '0.75 correct (6 of 8 votes; small)'
    """
    head = "no evidence" if row.confidence is None else f"{share_text(row.confidence, '.2f')} {row.verdict}"
    parts = []
    if row.sampled is not None:
        parts.append(f"{row.agreeing} of {count_of(row.sampled, 'sample')} agree")
    elif row.signal == "logprob":
        parts.append("log-probability of the verdict")
    else:
        count = row.count
        unparsed = f", {count.unparsed} unparsed" if count.unparsed else ""
        parts.append(f"{count.correct} of {count_of(count.parsed, 'vote')}{unparsed}")
    return f"{head} ({'; '.join([*parts, row.tier, *_learned_from(row)])})"


def unread_votes_note(row: Verification) -> str:
    """What to do where no vote of a verification could be read; "" elsewhere.

    Example:
        >>> from automix_cli.cascade.verification import Verification
        >>> from automix_cli.records import Question, Verdict, Vote
        >>> mute = (Vote(verdict=Verdict.UNPARSED),)
        >>> row = Verification(question=Question(text="?"), tier="small", signal="votes", votes=mute)
        >>> unread_votes_note(row).splitlines()[0]
        'no vote could be read: its last line should be'
    """
    from automix_cli import prompts

    if not row.votes or row.count.parsed:
        return ""
    origin = "" if row.spent_usd else "\nthese votes came from the cache: --refresh asks anew"
    form = f"no vote could be read: its last line should be\n  {prompts.decision(True)}"
    return f"{form}\n--explain shows what {row.tier} wrote{origin}"


def _learned_from(row: Verification) -> Iterator[str]:
    """From what the confidence was learned, where it is more than the signal itself."""
    if row.calibrated_on is not None:
        answers, wrong = row.calibrated_on
        yield f"as in {count_of(answers, 'labelled answer')}, {wrong:,} wrong"
    elif row.calibrated:
        yield "a chance, not a share"


def reasons_lines(row: Verification) -> list[str]:
    """What the verifier wrote, a line a vote."""
    return [f"  {v.verdict.name.lower():10}{one_line(v.reasons, 160)}" for v in row.votes]


def check_note(tally: CheckTally, seconds: float) -> str:
    """Rate, errors and dollars so far."""
    rate = tally.rows / seconds if seconds > 0 else 0.0
    return f"{rate:.1f} rows/s · {tally.errors:,} errors · {money(tally.spent_usd)}"


def check_summary(tally: CheckTally, seconds: float) -> list[str]:
    """What a batch of verifications came to, a line for the whole and one per kind of error."""
    verdicts = tally.verdicts
    counts = [f"{verdicts[v]:,} {v}" for v in ("correct", "incorrect") if v in verdicts]
    counts += [f"{verdicts['none']:,} without evidence"] if "none" in verdicts else []
    errors = tally.errors - tally.faults.not_asked
    counts += [f"{tally.skipped:,} skipped"] if tally.skipped else []
    counts += [count_of(errors, "error")] if errors else []
    counts += [f"{tally.faults.not_asked:,} not asked"] if tally.faults.not_asked else []
    bill = f"cost {money(tally.cost_usd)}, spent {money(tally.spent_usd)}"
    whole = f"{count_of(tally.rows, 'row')}: {', '.join(counts) or 'none'} · {bill} · {seconds:.1f} s"
    return [whole, *_fault_lines(tally.faults)]
