"""What would spoil a run on labelled rows, told from the rows alone, before anything is paid for."""

from __future__ import annotations

from automix_cli.library.trace_source import TraceSource
from automix_cli.profile.model import Profile
from automix_cli.texts import count_of


def few_rows_note(source: TraceSource) -> str:
    """Why the run could not tell whether routing pays, and what mends it; "" where it may."""
    from automix_cli.data.groups import FEWEST_GROUPS, Grouping, group_questions, why_no_verdict

    if source.options.drop_incomplete and source.options.group is None:
        labelled = [question for question in source.questions() if question.expected]
        own: Grouping = group_questions(labelled, (), None)
    else:
        own = source.data.grouping(source.options.group)
    why = why_no_verdict(own)
    if not why:
        return ""
    left = FEWEST_GROUPS - len(own)
    remedy = f"add {left:,} more with a right answer" if left > 0 else f"add rows of other {own.noun}s"
    return f"note: {why}: the run would not tell whether routing pays; {remedy}"


def label_note(source: TraceSource, profile: Profile, keep: float | None) -> str:
    """That rows without a label change what the run aims at, and what mends it; "" where none do.

    Args:
        source: of questions.
        profile: whose tiers would be asked.
        keep: the share of the best tier's quality that is asked for; None where something else is.
    """
    from automix_cli.data.relative import misses_few
    from automix_cli.views.verdict_words import lost_points_words

    questions = source.questions()
    missing = [question for question in questions if not question.expected]
    is_meant = source.labels_from is not None or source.options.drop_incomplete
    if is_meant or not missing or len(missing) == len(questions) or len(profile.tiers) == 1:
        return ""
    baseline = source.baseline or profile.tiers[-1].name
    if source.baseline is None and misses_few(len(questions) - len(missing), len(questions)):
        few = count_of(len(missing), "row")
        return f"note: {few} without a label would be left out, the first id {missing[0].id}"
    aim = ""
    if keep is not None:
        quality = f"at least {100 * keep:.4g} % of the best tier's quality"
        aim = f", and lose {lost_points_words(keep, baseline)} instead of keeping {quality}"
    labelled = f"{len(questions) - len(missing):,} of {count_of(len(questions), 'row')} have a label"
    others = "the others, the first of them" if len(missing) > 1 else "the other,"
    return (
        f"note: {labelled}: the run would compare answers with those of {baseline}{aim}; label {others} "
        f"id {missing[0].id}, or --drop-incomplete uses the rows with a label alone"
    )
