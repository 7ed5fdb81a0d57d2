"""Read question and trace rows strictly: every error names the key that is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from automix_cli.data.chat_rows import NO_CHAT, chat_of, is_batch_output, kind_of
from automix_cli.data.row_keys import (
    ANSWER_NAMES,
    CONTENT_NAMES,
    HIGHEST,
    NOT_BESIDE_FAILED,
    OWN_ROW_KEYS,
    PLAIN_NAMES,
    ROW_KEY_NAMES,
    SCORE_ALIAS,
    STEP_NUMBERS,
    UNKNOWN_FAILURE,
    plain_name,
)
from automix_cli.errors import DataError, describe_value
from automix_cli.records import Json, Question, Step, Trace, Verdict
from automix_cli.texts import TIER_NAME, TIER_NAME_RULE, is_blank
from automix_cli.usage import Usage


def value_of(row: Mapping[str, Json], name: str) -> Json:
    """The value under a name or the first of its aliases; names compare as in `plain_name`.

    Example:
        >>> value_of({"Prompt": "2 + 2?"}, "question"), value_of({"answer": "4"}, "expected")
        ('2 + 2?', '4')
    """
    return _value_in(row, _layout_of(row), name)


def _value_in(row: Mapping[str, Json], layout: _KeyPlaces, name: str) -> Json:
    """The value under a name, in a row of this layout; see `value_of`."""
    for key in layout.names[name]:
        if (value := row[key]) is not None:
            if name == "expected":
                return _as_letter(row, value)
            return _text_of_stem(value) if isinstance(value, dict) and name == "question" else value
    return _texts_of_answers(row.get("answers")) if name == "expected" and not layout.is_own else None


def _as_letter(row: Mapping[str, Json], gold: Json) -> Json:
    """The letter that a right answer is asked with, where it names a choice by a label as ARC's rows do.

    Example:
        >>> _as_letter({"choices": {"text": ["Rome", "Oslo"], "label": ["1", "2"]}}, "2")
        'B'
    """
    if "choices" not in row and not isinstance(row.get("question"), dict):  # of most rows, and soon told
        return gold
    choices = _arc_choices(row) if isinstance(gold, str) else None
    labels = choices.get("label") if isinstance(choices, dict) else None
    if isinstance(labels, list) and gold in labels:
        return chr(65 + labels.index(gold))
    return gold


def _text_of_stem(question: Mapping[str, Json]) -> Json:
    """The text of a question that stands with its choices in one object, as in ARC's own files.

    Example:
        >>> _text_of_stem({"stem": "Which?", "choices": [{"text": "Rome", "label": "A"}]})
        'Which?'
    """
    return question["stem"] if isinstance(question.get("stem"), str) else question


def _arc_choices(row: Mapping[str, Json]) -> Json:
    """The choices of a row as ARC has them, in lists of texts and of labels; any other as they are.

    ARC's own files have them beside the stem of the question, each with its text and label.

    Example:
        >>> _arc_choices({"question": {"stem": "Which?", "choices": [{"text": "Rome", "label": "A"}]}})
        {'text': ['Rome'], 'label': ['A']}
    """
    choices, question = row.get("choices"), row.get("question")
    if choices is None and isinstance(question, dict):
        choices = question.get("choices")
    if not (isinstance(choices, list) and choices and isinstance(choices[0], dict)):
        return choices
    if not all(isinstance(choice, dict) and {"text", "label"} <= choice.keys() for choice in choices):
        return choices
    return {key: [choice[key] for choice in choices] for key in ("text", "label")}


def choices_in(row: Mapping[str, Json]) -> Json:
    """The choices of a row: a list, or an object of texts by letter, or of texts and labels as in ARC.

    Other options are none.

    Example:
        >>> choices_in({"options": {"A": "Rome", "B": "Oslo"}}), choices_in({"options": 3})
        (['Rome', 'Oslo'], None)
    """
    return _choices_in(row, _layout_of(row))


def _choices_in(row: Mapping[str, Json], layout: _KeyPlaces) -> Json:
    """The choices of a row of this layout; see `choices_in`."""
    value = _value_in(row, layout, "choices")
    if value is None and "choices" not in row and not isinstance(row.get("question"), dict):
        return None
    if value is None or (isinstance(value, list) and value and isinstance(value[0], dict)):
        value = _arc_choices(row) or value
    if isinstance(value, dict) and [*value] == [chr(65 + place) for place in range(len(value))]:
        return list(value.values())
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        return list(value["text"])
    return value if isinstance(value, list) or "choices" in row else None


def _context_in(row: Mapping[str, Json], layout: _KeyPlaces, text: str) -> Json:
    """The context of a row; below an `instruction` that is the question, its input, as Alpaca has it.

    Example:
        >>> question_from_dict({"instruction": "Say the opposite.", "input": "hot"}).context
        'hot'
    """
    context = _value_in(row, layout, "context")
    if context is not None or len(layout.names["question"]) < 2:
        return context
    names = [key for key in layout.names["question"] if row[key] is not None]
    if len(names) < 2 or plain_name(names[0]) != "instruction":
        return context
    own = row[names[1]]
    return own if isinstance(own, str) and row[names[0]] == text and not is_blank(own) else None


_ANSWERS = frozenset(map(plain_name, ANSWER_NAMES))
_CHAT_KEYS = frozenset({"messages", "body", "input"})


class _KeyPlaces(NamedTuple):
    """What the keys of a row stand for: nearly all rows of an input have the same ones.

    Attributes:
        names: the keys to look under for each key of `ROW_KEYS`, in order.
        others: those that say nothing of question and answer.
        is_own: whether an `answer` among them is a model's.
        has_chat: whether the question may be a list of messages.
    """

    names: Mapping[str, tuple[str, ...]]
    others: tuple[str, ...]
    is_own: bool
    has_chat: bool


_WIDEST_ROW = 1024
"""Keys of a row whose layout is kept."""


def _layout_of(row: Mapping[str, Json]) -> _KeyPlaces:
    """The layout of a row."""
    keys = tuple(row)
    return _known_layout(keys) if len(keys) <= _WIDEST_ROW else _new_layout(keys)


def _new_layout(keys: tuple[str, ...]) -> _KeyPlaces:
    """The layout of rows with these keys, in this order."""
    is_own = not OWN_ROW_KEYS.isdisjoint(keys)
    names = {
        name: (*exact, *(key for key in keys if plain_name(key) in PLAIN_NAMES[name]))
        for name, exact in ROW_KEY_NAMES.items()
    }
    if not is_own:
        names["expected"] += tuple(key for key in keys if plain_name(key) in _ANSWERS)
    present = {name: tuple(key for key in order if key in keys) for name, order in names.items()}
    others = tuple(key for key in keys if plain_name(key) not in CONTENT_NAMES)
    return _KeyPlaces(present, others, is_own, not _CHAT_KEYS.isdisjoint(keys))


_known_layout = lru_cache(maxsize=64)(_new_layout)


def _texts_of_answers(answers: Json) -> Json:
    """The texts of SQuAD's answers: `{"text": [...]}`, or `[{"text": ...}, ...]`.

    Example:
        >>> _texts_of_answers({"text": ["Rome", "Rome"], "answer_start": [3, 8]})
        ['Rome']
    """
    if isinstance(answers, dict):
        texts = answers.get("text")
    elif isinstance(answers, list) and all(isinstance(a, dict) for a in answers):
        texts = [a.get("text") for a in answers]
    else:
        return None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return None
    return list(dict.fromkeys(texts))


def has_gold(row: Mapping[str, Json]) -> bool:
    """Whether a row has a gold answer; a blank one, which other tools leave where nobody wrote, is none.

    Example:
        >>> has_gold({"gold": "4"}), has_gold({"expected": ["", " "]}), has_gold({"expected": 0})
        (True, False, True)
    """
    value = value_of(row, "expected")
    values = value if isinstance(value, list) else [value]
    return not all(v is None or (isinstance(v, str) and is_blank(v)) for v in values)


_KEYS_BESIDE_GOLD = frozenset({"id", "question", "context", "choices", "dataset", "split", "tiers"})


def has_blank_gold(row: Mapping[str, Json]) -> bool:
    """Whether a row has a place for a gold answer with nothing in it."""
    if row.keys() <= _KEYS_BESIDE_GOLD:  # of most traces, and soon told
        return False
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
    if isinstance(value, str):
        return (value,)
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(v, str | int | float) and not isinstance(v, bool) for v in values):
        raise DataError(f"{key}: expected text or a list of texts, got {kind_of(value)}")
    return tuple(v if isinstance(v, str) else repr(v) for v in values)


def question_from_dict(row: Json, index: int = 0, *, textless: bool = False) -> Question:
    """Read a question row, labelled or not; `index` is its place in the input.

    `textless`: the text may be missing, as in traces recorded without it.

    Raises:
        DataError: when the row is not an object or a field has the wrong shape.

    Example:
        >>> question_from_dict({"prompt": "2 + 2?", "gold": "4"}, 3)
        Question(text='2 + 2?', id=3, index=3, context=None, choices=(), expected=('4',), history=(), metadata=None, dataset=None, split=None, columns={})
    """  # noqa: E501
    if not isinstance(row, dict):
        raise DataError(f"expected a JSON object, got {kind_of(row)}")
    layout = _layout_of(row)
    chat, reply = chat_of(row, replies=not layout.is_own) if layout.has_chat else NO_CHAT
    text = chat[-1].content if chat else _value_in(row, layout, "question")
    if not isinstance(text, str) and not textless:
        raise no_question(row, text)
    text = _question_text(text, textless)
    ident = _question_id(_value_in(row, layout, "id"), index)
    context, choices = _context_in(row, layout, text), _choices_in(row, layout)
    expected = _value_in(row, layout, "expected")
    expected = reply if expected is None else expected
    return Question(
        text=text,
        id=ident,
        index=index,
        context=None if context is None else "\n\n".join(_texts(row, context, "context")),
        choices=() if choices is None else _texts(row, choices, "choices"),
        expected=() if expected is None else tuple(map(final_answer, _texts(row, expected, "expected"))),
        history=chat[:-1],
        metadata=row.get("metadata"),
        dataset=row["dataset"] if isinstance(row.get("dataset"), str) else None,
        split=row["split"] if isinstance(row.get("split"), str) else None,
        columns={key: row[key] for key in layout.others},
    )


def no_question(row: Mapping[str, Json], value: Json) -> DataError:
    """The error of a row without a question; where no column is one, it names them and the option to map."""
    from automix_cli.data.suggested_columns import columns_option, names_in

    if is_batch_output(row):
        return DataError(
            "question: none: the output file of an OpenAI batch holds answers without their questions",
            hint="give the batch's input file, whose rows hold the requests (custom_id, body);\n"
            'a right answer stands in the row of its request, as "expected"',
        )
    problem = f"question: expected text, got {'nothing' if value is None else kind_of(value)}"
    if any(plain_name(key) in PLAIN_NAMES["question"] and not isinstance(row[key], dict) for key in row):
        return DataError(problem)
    names = ", ".join(names_in(row)) or "none"
    hint = columns_option(row, ("question", "expected"))
    return DataError(f"{problem}; the columns are {names}", hint=hint)


_FINAL_ANSWER = re.compile(r"(?:\A|\n)####[ \t]*(\S[^\n]*?)\s*\Z")


def final_answer(text: str) -> str:
    r"""What stands after `####` at the end of a worked solution, as in GSM8K; else the text itself.

    Example:
        >>> final_answer("17 * 20 = 340, and 51 more.\n#### 391"), final_answer("391")
        ('391', '391')
    """
    match = _FINAL_ANSWER.search(text) if "####" in text else None
    return text if match is None else match[1]


def _question_text(text: Json, textless: bool) -> str:
    """Check the text of a question; see `question_from_dict`."""
    if text is None and textless:
        return ""
    if not isinstance(text, str):
        raise DataError(f"question: expected text, got {kind_of(text)}")
    if not text.strip() and not textless:
        raise DataError("question: is empty")
    return text


def _question_id(ident: Json, index: int) -> str | int:
    """Check the id of a question; a row without one gets its `index`."""
    if ident is None:
        return index
    if isinstance(ident, bool) or not isinstance(ident, str | int):
        raise DataError(f"id: expected text or a whole number, got {kind_of(ident)}")
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
        raise DataError(f"tiers: expected an object of tiers by name, got {kind_of(tiers)}")
    for name in tiers:
        if not TIER_NAME.fullmatch(name):
            raise DataError(f"tiers: expected {TIER_NAME_RULE}, got {describe_value(name)}")
    steps = (_recorded_step(name, cell) for name, cell in tiers.items() if cell is not None)
    return Trace(question=question, steps=tuple(steps))


def _recorded_step(tier: str, cell: Json) -> Step:
    """A value of a trace row's `tiers`."""
    where = f"tiers.{tier}"
    if not isinstance(cell, dict):
        raise DataError(f"{where}: expected an object, got {kind_of(cell)}")
    answer, samples = cell.get("answer"), cell.get("samples")
    if isinstance(answer, list):
        raise DataError(f"{where}.answer: expected text, got a list")
    if samples is not None and not isinstance(samples, list):
        raise DataError(f"{where}.samples: expected a list of texts, got {kind_of(samples)}")
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
        problem = "empty text" if value == "" else kind_of(value)
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
        raise DataError(f"{where}.{key}: expected a number, got {kind_of(value)}")
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
        raise DataError(f"{key}: expected a list of 1, 0 and null, got {kind_of(votes)}")
    try:
        return tuple(Verdict(vote) for vote in votes)
    except ValueError:
        raise DataError(f"{key}: expected a list of 1, 0 and null, got {votes!r:.60}") from None
