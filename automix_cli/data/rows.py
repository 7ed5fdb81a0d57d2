"""Read question and trace rows strictly: every error names the key that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automix_cli.data.row_keys import (
    HIGHEST,
    NOT_BESIDE_FAILED,
    ROW_KEY_NAMES,
    SCORE_ALIAS,
    STEP_NUMBERS,
    UNKNOWN_FAILURE,
)
from automix_cli.errors import DataError, describe_value
from automix_cli.records import Json, Message, Question, Step, Trace, Usage, Verdict
from automix_cli.texts import TIER_NAME, TIER_NAME_RULE, is_blank


def value_of(row: Mapping[str, Json], name: str) -> Json:
    """The value under a name or the first of its aliases."""
    return next((row[key] for key in ROW_KEY_NAMES[name] if row.get(key) is not None), None)


def has_gold(row: Mapping[str, Json]) -> bool:
    """Whether a row has a gold answer; a blank one, which other tools leave where nobody wrote, is none.

    Example:
        >>> has_gold({"gold": "4"}), has_gold({"expected": ["", " "]}), has_gold({"expected": 0})
        (True, False, True)
    """
    value = value_of(row, "expected")
    values = value if isinstance(value, list) else [value]
    return not all(v is None or (isinstance(v, str) and is_blank(v)) for v in values)


def has_blank_gold(row: Mapping[str, Json]) -> bool:
    """Whether a row has a place for a gold answer with nothing in it."""
    return value_of(row, "expected") is not None and not has_gold(row)


def answer_text(value: Json) -> str | None:
    """The text of an answer, which may be recorded as a number; None for none.

    Example:
        >>> answer_text("4"), answer_text(4), answer_text(None)
        ('4', '4', None)
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)
    return value if isinstance(value, str) else None


def _texts(row: Mapping[str, Json], value: Json, key: str) -> tuple[str, ...]:
    """Read a text or a list of texts as a tuple; numbers are read as their text."""
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(v, str | int | float) and not isinstance(v, bool) for v in values):
        raise DataError(f"{key}: expected text or a list of texts, got {_kind(value)}")
    return tuple(v if isinstance(v, str) else repr(v) for v in values)


def _kind(value: Json) -> str:
    """The JSON name of a value's type, for messages."""
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _chat(row: Mapping[str, Json]) -> tuple[Message, ...]:
    """The messages of a chat row (`messages`, or `body.messages` as in OpenAI batch files)."""
    body = row.get("body")
    raw = row.get("messages", body.get("messages") if isinstance(body, dict) else None)
    if raw is None:
        return ()
    if not isinstance(raw, list) or not raw:
        raise DataError("messages: expected a list of {role, content} objects")
    messages = tuple(_message(m) for m in raw)
    if messages[-1].role != "user":
        raise DataError("messages: the last one must be the user's")
    return messages


def _message(raw: Json) -> Message:
    """A message whose content is text, or a list of parts that are."""
    content = raw.get("content") if isinstance(raw, dict) else None
    if isinstance(content, list) and content:
        content = "\n".join(map(_text_of_part, content))
    if not (isinstance(raw, dict) and isinstance(raw.get("role"), str) and isinstance(content, str)):
        raise DataError("messages: each needs a text role and a text content")
    return Message(raw["role"], content)


def _text_of_part(part: Json) -> str:
    """The text of a part of a message.

    Raises:
        DataError: it is a part of another kind, such as an image.

    Example:
        >>> _text_of_part({"type": "text", "text": "2 + 2?"})
        '2 + 2?'
    """
    text = part.get("text") if isinstance(part, dict) else None
    if isinstance(text, str) and part.get("type") in ("text", "input_text"):
        return text
    kind = describe_value(part.get("type")) if isinstance(part, dict) else _kind(part)
    raise DataError(f"messages: a part of type {kind} cannot be sent: only text parts can")


def question_from_dict(row: Json, index: int = 0, *, textless: bool = False) -> Question:
    """Read a question row, labelled or not; `index` is its place in the input.

    `textless`: the text may be missing, as in traces recorded without it.

    Raises:
        DataError: when the row is not an object or a field has the wrong shape.

    Example:
        >>> question_from_dict({"prompt": "2 + 2?", "gold": "4"}, 3)
        Question(text='2 + 2?', id=3, index=3, context=None, choices=(), expected=('4',), history=(), metadata=None, dataset=None, split=None)
    """  # noqa: E501
    if not isinstance(row, dict):
        raise DataError(f"expected a JSON object, got {_kind(row)}")
    chat = _chat(row)
    text = _question_text(chat[-1].content if chat else value_of(row, "question"), textless)
    ident = _question_id(value_of(row, "id"), index)
    context = row.get("context")
    expected = value_of(row, "expected")
    choices = row.get("choices")
    return Question(
        text=text,
        id=ident,
        index=index,
        context=None if context is None else "\n\n".join(_texts(row, context, "context")),
        choices=() if choices is None else _texts(row, choices, "choices"),
        expected=() if expected is None else _texts(row, expected, "expected"),
        history=chat[:-1],
        metadata=row.get("metadata"),
        dataset=row["dataset"] if isinstance(row.get("dataset"), str) else None,
        split=row["split"] if isinstance(row.get("split"), str) else None,
        columns={key: value for key, value in row.items() if key not in _CONTENT},
    )


_CONTENT = {"context", "choices", "messages", "body", "tiers"}.union(
    *(ROW_KEY_NAMES[name] for name in ("question", "expected"))
)


def _question_text(text: Json, textless: bool) -> str:
    """Check the text of a question; see `question_from_dict`."""
    if text is None and textless:
        return ""
    if not isinstance(text, str):
        raise DataError(f"question: expected text, got {'nothing' if text is None else _kind(text)}")
    if not text.strip() and not textless:
        raise DataError("question: is empty")
    return text


def _question_id(ident: Json, index: int) -> str | int:
    """Check the id of a question; a row without one gets its `index`."""
    if ident is None:
        return index
    if isinstance(ident, bool) or not isinstance(ident, str | int):
        raise DataError(f"id: expected text or a whole number, got {_kind(ident)}")
    return ident


def trace_from_dict(row: Json, index: int = 0) -> Trace:
    """Read a trace row: a question with, under `tiers`, what each tier did on it.

    Unknown keys of a tier are ignored, because recorders add their own; known ones are read
    strictly. `correct` is read as `score`, and only under that name may it be a boolean.
    A tier that is null was not recorded. One that `failed` (the kind of failure, or true) scores 0.
    A recorded row does not hold the total cost of a step, so `cost_usd` is None.

    Raises:
        DataError: when a field has the wrong type, a number is not finite or out of range, or a tier
            that failed has an answer.

    Example:
        >>> row = {"id": "q", "tiers": {"small": {"correct": True, "votes": [1, None]}}}
        >>> step = trace_from_dict(row).steps[0]
        >>> step.score, step.count
        (1.0, VoteCount(correct=1, incorrect=0, unparsed=1))
    """
    question = question_from_dict(row, index, textless=True)
    tiers = row.get("tiers")
    if not isinstance(tiers, dict):
        raise DataError(f"tiers: expected an object of tiers by name, got {_kind(tiers)}")
    for name in tiers:
        if not TIER_NAME.fullmatch(name):
            raise DataError(f"tiers: expected {TIER_NAME_RULE}, got {describe_value(name)}")
    steps = (_recorded_step(name, cell) for name, cell in tiers.items() if cell is not None)
    return Trace(question=question, steps=tuple(steps))


def _recorded_step(tier: str, cell: Json) -> Step:
    """A value of a trace row's `tiers`."""
    where = f"tiers.{tier}"
    if not isinstance(cell, dict):
        raise DataError(f"{where}: expected an object, got {_kind(cell)}")
    answer, samples = cell.get("answer"), cell.get("samples")
    if isinstance(answer, list):
        raise DataError(f"{where}.answer: expected text, got a list")
    if samples is not None and not isinstance(samples, list):
        raise DataError(f"{where}.samples: expected a list of texts, got {_kind(samples)}")
    tokens = (_number(cell, key, where) for key in ("input_tokens", "output_tokens"))
    input_tokens, output_tokens = (int(count or 0) for count in tokens)
    numbers: dict[str, Any] = {field: _number(cell, key, where) for key, field in STEP_NUMBERS.items()}
    failed = _failure(cell, where)
    if failed:
        numbers["score"] = 0.0
    return Step(
        tier=tier,
        failed=failed,
        answer=None if answer is None else _texts(cell, answer, f"{where}.answer")[0],
        votes=_recorded_votes(cell.get("votes"), f"{where}.votes"),
        samples=() if samples is None else _texts(cell, samples, f"{where}.samples"),
        answer_usage=Usage(input_tokens=input_tokens, output_tokens=output_tokens),
        cost_usd=None,
        **numbers,
    )


def _failure(cell: Mapping[str, Json], where: str) -> str | None:
    """Read why a tier gave no answer; None where it gave one."""
    value = cell.get("failed")
    if value is None or value is False:
        return None
    if value is not True and not (isinstance(value, str) and value):
        problem = "empty text" if value == "" else _kind(value)
        raise DataError(f"{where}.failed: expected the kind of failure or true, got {problem}")
    for key in NOT_BESIDE_FAILED:
        if cell.get(key) not in (None, []):
            raise DataError(f"{where}.{key}: a tier that failed has none")
    if _number(cell, "score", where):
        raise DataError(f"{where}.score: a tier that failed scores 0, got {_number(cell, 'score', where)!r}")
    return UNKNOWN_FAILURE if value is True else value


def _number(cell: Mapping[str, Json], key: str, where: str) -> float | None:
    """Read a number of a tier, finite and in range; None where nothing is recorded."""
    value = cell.get(key)
    if key == "score" and value is None:
        key, value = SCORE_ALIAS, cell.get(SCORE_ALIAS)
        value = float(value) if isinstance(value, bool) else value
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{where}.{key}: expected a number, got {_kind(value)}")
    highest = HIGHEST.get(key, 1.0)
    if not 0 <= value <= highest:  # false for NaN too
        span = "0 or more" if highest > 1 else "in 0..1"
        raise DataError(f"{where}.{key}: expected a finite number {span}, got {value!r:.40}")
    return float(value)


def _recorded_votes(votes: Json, key: str) -> tuple[Verdict, ...]:
    """Read recorded verdicts: 1 or true, 0 or false, null."""
    if votes is None:
        return ()
    if not isinstance(votes, list):
        raise DataError(f"{key}: expected a list of 1, 0 and null, got {_kind(votes)}")
    try:
        return tuple(Verdict(vote) for vote in votes)
    except ValueError:
        raise DataError(f"{key}: expected a list of 1, 0 and null, got {votes!r:.60}") from None
