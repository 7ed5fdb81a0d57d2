"""What collecting the rows of `calibrate` and `bench` would cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automix_cli.library.row_shortage import few_rows_note, label_note
from automix_cli.library.trace_source import FREE_NOTE, TraceSource, is_free, profile_for_traces
from automix_cli.views.terminal import print_text, show_plan

if TYPE_CHECKING:
    from automix_cli.evaluation.objective import Objective


def dry_run(
    source: TraceSource, as_json: bool, *, note_free: bool = True, objective: Objective | None = None
) -> int:
    """Say what collecting would cost; traces cost nothing, but embeddings of their questions do.

    With `note_free`, that nothing can be saved is said where every tier costs nothing. What would spoil the
    run is said before the bill: too few rows, and rows without a label where `objective` is another then.

    Raises:
        UsageError: what the run itself would refuse.
    """
    from automix_cli.cascade.uncalibrated import is_free as all_free
    from automix_cli.data.label_file import trace_rows

    source.check_traces()
    say = source.reporter.say
    if source.is_recorded and source.embed_model is None:
        profile = profile_for_traces(source.calls)
        rows = trace_rows(source.data, source.options, source.labels, say)
        if is_free(source.table(profile, *rows)) and note_free:
            say(FREE_NOTE)
        print_text(f"{source.data.name} holds traces: no calls, $0")
        return 0
    if source.is_recorded:
        show_plan(source.plan_of_traces(), as_json)
        return 0
    profile = source.profile()
    saves_nothing = note_free and all_free(profile)
    if saves_nothing:
        say(FREE_NOTE)
    source.note_samples()
    source.note_choices(profile)
    few = "" if saves_nothing or len(profile.tiers) == 1 else few_rows_note(source)
    keep = objective.value if objective is not None and objective.kind == "keep" else None
    for note in (few, label_note(source, profile, keep)):
        if note:
            say(note)
    plan = source.plan(profile)
    if not as_json:
        print_text(source.data.reading_line())
    show_plan(plan, as_json, source.break_even(profile), pays_back=not few, profile=profile)
    return 0
