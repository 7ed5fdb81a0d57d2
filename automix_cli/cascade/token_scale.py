"""How a tier's count of prompt tokens stands to the estimate that is made before a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from automix_cli.cascade.requests import estimated_tokens
from automix_cli.profile.model import Profile
from automix_cli.records import Question

if TYPE_CHECKING:
    from automix_cli.data.traces import TraceTable

_ENOUGH = 5_000  # rows to tell how tokens are counted


def token_scale(
    profile: Profile, table: TraceTable, questions: Sequence[Question] | None = None
) -> float | None:
    """Prompt tokens as counted by the first tier per token as estimated; None where they were not counted.

    Without `questions`, one per row, the recorded texts stand for them; some thousands, evenly spaced,
    are enough. Rows that no tier counted because it failed are left out.
    """
    import numpy as np

    counts = table.prompt_tokens
    has_count = np.isfinite(counts)
    if not (has_count | table.failed.any(axis=1)).all():
        return None
    texts, counts = table.texts[has_count], counts[has_count]
    if questions is not None:
        questions = [q for q, is_known in zip(questions, has_count, strict=True) if is_known]
    if questions is None:
        some = np.flatnonzero(texts != "")[:: max(1, len(texts) // _ENOUGH)]
        questions, counts = [Question(text=str(text)) for text in texts[some]], counts[some]
    estimate = sum(estimated_tokens(profile, q) for q in questions if q.text)
    return float(counts.sum()) / estimate if estimate else None
