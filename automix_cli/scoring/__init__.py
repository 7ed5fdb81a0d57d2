r"""Score an answer against the expected ones: from 0 (wrong) to 1 (right).

| scorer   | an answer is right when                                                             |
|----------|-------------------------------------------------------------------------------------|
| exact    | its words are the expected ones (below)                                             |
| numeric  | its number is the expected one                                                      |
| choice   | it names the expected option, by letter or by text                                  |
| contains | it contains the expected words, side by side                                        |
| f1       | graded: overlap of tokens with the expected ones, as SQuAD measures it              |
| json     | it holds the expected JSON value; the order of an object's keys does not matter     |

**Words** (exact, contains, and other scorers where an answer has no number, option or JSON):
Unicode NFKC, case folded, typographic quotes and dashes replaced by ASCII, sentence punctuation,
quotation marks and Markdown emphasis removed from the ends of words, articles removed where a word follows.
Signs, brackets and punctuation inside words stay: -3 is not 3, and 3.5 is not 35.

**Numbers**: the first one after the last "answer is", "Answer:", `####` or `\boxed{` (behind
the last "=" of that line), else the last one of the text. Read are 1,234.5, -3, .5, 1e3,
3 x 10^8, 3/4, 1 1/2, $5, 50%, 1.5 million, and LaTeX's spelling of them; ASCII digits only, so no NaN
and no infinity. Whole numbers must agree exactly. Others may differ by one part in 10⁹, or by
rounding: a number written with two or more decimals stands for all that round to it. When
only one of two numbers is a percentage, 50% is both 50 and 0.5.

With several expected answers the highest score counts.
"""

from __future__ import annotations

import contextlib
import json
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from automix_cli.errors import UsageError
from automix_cli.scoring.numbers import PLAIN_MARKS, after_marker, read_number, same_number
from automix_cli.texts import lazy_pattern

Choices = Sequence[str]
Judge = Callable[[str, str, Choices], float]


# ---------------------------------------------------------------- the three functions


def score(answer: str, expected: Sequence[str], scorer: str, choices: Choices = ()) -> float:
    """Score an answer against the best of one or more expected ones.

    Args:
        answer: a model's answer.
        expected: gold answers, any of which is right; at least one.
        scorer: a name of `SCORERS`.
        choices: the options of a multiple-choice question, in the order they were shown.

    Returns:
        From 0 to 1.

    Raises:
        UsageError: for an unknown scorer.

    Example:
        >>> score("The answer is 42.", ["42"], "numeric"), score("Paris", ["London", "paris"], "exact")
        (1.0, 1.0)
    """
    judge = _judge(scorer)
    golds = (expected,) if isinstance(expected, str) else expected
    return max(judge(answer, gold, choices) for gold in golds)


def equivalent(a: str, b: str, scorer: str, choices: Choices = ()) -> bool:
    """Whether a scorer gives full marks to one of two answers when the other is expected.

    Example:
        >>> equivalent("$1,000", "1000.00", "numeric")
        True
    """
    return _agree(_judge(scorer), a, b, choices)


def _agree(judge: Judge, a: str, b: str, choices: Choices) -> bool:
    return max(judge(a, b, choices), judge(b, a, choices)) > 1 - 1e-9


class Plurality(NamedTuple):
    """The commonest of several answers, in its first wording, and how many agree with it."""

    answer: str
    agreeing: int


def plurality(answers: Sequence[str], scorer: str, choices: Choices = ()) -> Plurality:
    """The commonest answer under a scorer's equivalence; ties go to the earliest.

    Each answer joins the first earlier one that it is equivalent to. Source: the majority
    vote of Self-Consistency (arXiv 2203.11171).

    Raises:
        UsageError: for an unknown scorer.
        ValueError: when there is no answer.

    Example:
        >>> plurality(["It is 7", "8", "7.0"], "numeric")
        Plurality(answer='It is 7', agreeing=2)
    """
    judge = _judge(scorer)
    if not answers:
        raise ValueError("no answers to choose from")
    counts: dict[str, int] = {}
    for answer in answers:
        same = next((earlier for earlier in counts if _agree(judge, answer, earlier, choices)), answer)
        counts[same] = counts.get(same, 0) + 1
    return max((Plurality(*item) for item in counts.items()), key=lambda group: group.agreeing)


def canonical(answer: str, scorer: str, choices: Choices = ()) -> Hashable | None:
    """The form in which answers are equal or not: a transitive equality, unlike `equivalent`.

    Numbers are compared without tolerance; an answer without a number, option or JSON value by its
    words. `f1` and `contains` grade by overlap, which is not transitive: None. `FREE_TEXT` in place of a
    scorer compares all that these read in an answer.

    Raises:
        UsageError: for an unknown scorer.

    Example:
        >>> canonical("It is $1,000", "numeric") == canonical("1000.0", "numeric")
        True
        >>> canonical("Paris, France", "f1") is None
        True
    """
    if scorer == FREE_TEXT:
        return (scorer, *_words(answer), "", *_tokens(answer))
    _judge(scorer)
    read = _CANONICAL.get(scorer)
    if read is None:
        return None
    value = read(answer, choices)
    return ("words", *_words(answer)) if value is None else (scorer, value)


def classes_of(answers: Sequence[str | None], scorer: str, choices: Choices = ()) -> list[int]:
    """For each answer the place of the first equal one, its own where it is new; -1 without an answer.

    Where a scorer compares no answers, each is new.

    Example:
        >>> classes_of(["7", None, "It is 7.", "8"], "numeric")
        [0, -1, 0, 3]
    """
    first: dict[Hashable, int] = {}
    classes = []
    for place, answer in enumerate(answers):
        same = None if answer is None else canonical(answer, scorer, choices)
        classes.append(-1 if answer is None else place if same is None else first.setdefault(same, place))
    return classes


def comparison_of(scorer: str) -> str:
    """What `canonical` is to compare answers by: the scorer where it has forms, else `FREE_TEXT`."""
    return scorer if scorer in COMPARABLE_SCORERS else FREE_TEXT


def has_equal_form(a: str, b: str, scorer: str, choices: Choices = ()) -> bool:
    """Whether two answers have equal canonical forms; where a scorer has none, equal words.

    Answers of equal form score alike, whatever is expected.

    Example:
        >>> has_equal_form("It is $1,000", "1000.0", "numeric"), has_equal_form("in Rome", "Rome", "f1")
        (True, False)
    """
    name = comparison_of(scorer)
    return canonical(a, name, choices) == canonical(b, name, choices)


# ---------------------------------------------------------------- exact and contains

_EDGES = ".,;:!?'\"*_`"
_ARTICLES = {"a", "an", "the"}


def _words(text: str) -> list[str]:
    """The words of a text in the form in which they are compared.

    Example:
        >>> _words("**The** “Beatles”!"), _words("Vitamin A"), _words("-3.5")
        (['beatles'], ['vitamin', 'a'], ['-3.5'])
    """
    if text.isascii() and text.isalnum():  # one bare word, as most numbers and letters are
        return [text.lower()]
    raw_words = unicodedata.normalize("NFKC", text).casefold().translate(PLAIN_MARKS).split()
    bare = [_bare(word) for word in raw_words]
    words = [word for word in bare if word] or raw_words
    pairs = zip(words, [*words[1:], ""], strict=False)  # each with the one that follows it
    return [word for word, following in pairs if not following or word not in _ARTICLES]


def _bare(word: str) -> str:
    """A word without the punctuation around it; the point of `.5` belongs to the number."""
    bare = word.strip(_EDGES)
    return f".{bare}" if bare[:1].isdigit() and f".{bare}" in word else bare


def _exact(answer: str, gold: str, choices: Choices = ()) -> float:
    return float(_words(answer) == _words(gold))


def _contains(answer: str, gold: str, choices: Choices = ()) -> float:
    phrase, text = " ".join(_words(gold)), " ".join(_words(answer))
    if not phrase:
        return float(not text)
    pattern = _boundary("(?<!", phrase[0]) + re.escape(phrase) + _boundary("(?!", phrase[-1])
    return float(re.search(pattern, text) is not None)


def _boundary(look: str, edge: str) -> str:
    """A word boundary, except in scripts that are written without spaces."""
    return "" if unicodedata.east_asian_width(edge) in "WF" else rf"{look}\w)"


# ---------------------------------------------------------------- f1

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _tokens(text: str) -> list[str]:
    """SQuAD's tokens: lower case, no ASCII punctuation, no articles (after NFKC, which SQuAD lacks)."""
    bare = unicodedata.normalize("NFKC", text).lower().translate(_PUNCTUATION)
    return [token for token in bare.split() if token not in _ARTICLES]


def _f1(answer: str, gold: str, choices: Choices = ()) -> float:
    """Harmonic mean of precision and recall over bags of tokens; source: SQuAD (arXiv 1606.05250)."""
    answer_tokens, gold_tokens = _tokens(answer), _tokens(gold)
    if not answer_tokens or not gold_tokens:
        return float(answer_tokens == gold_tokens)
    common = (Counter(answer_tokens) & Counter(gold_tokens)).total()
    return 2 * common / (len(answer_tokens) + len(gold_tokens))


# ---------------------------------------------------------------- numeric


def _numeric(answer: str, gold: str, choices: Choices = ()) -> float:
    number, gold_number = read_number(answer), read_number(gold)
    if number is None or gold_number is None:
        return float(number is gold_number and _words(answer) == _words(gold))
    return float(same_number(number, gold_number))


# ---------------------------------------------------------------- choice

_NO_OTHER = r"(?!\W*(?:or|and|&|/)\W*[A-Za-z]\b)"  # (A) or (B) names neither
_LETTER_FIRST = lazy_pattern(
    r"\W*(?:(?:option|choice)\b\W*)?([a-z])(?:\W*$|[)\].:}*]|\s*-\s|\s*\n)" + _NO_OTHER, re.IGNORECASE
)
_LETTER_AFTER_MARKER = lazy_pattern(r"\W*(?:(?:[Oo]ption|[Cc]hoice)\b\W*)?([A-Z])\b" + _NO_OTHER)
_LETTER_ANYWHERE = lazy_pattern(
    r"\b(?:[Oo]ption|[Cc]hoice)\W{1,3}([A-Z])\b|\(([A-Z])\)|^\W*([A-Z])(?=\s+(?:is|because)\b)"
)


def _option(text: str, choices: Choices) -> int | None:
    """The position of the option that a text names, when it names just one.

    The text of an option takes precedence over letters, and an announced answer ("answer is B")
    over other mentions.

    Example:
        >>> [_option(text, ["Rome", "Paris"]) for text in ("(B)", "b. Paris", "It is Rome.", "Rome or Paris")]
        [1, 1, 0, None]
    """
    rest = after_marker(text)
    for part in (text, rest):
        for place, choice in enumerate(choices):
            if part and _words(part) == _words(choice):
                return place
    letter = _LETTER_AFTER_MARKER.match(rest) or _LETTER_FIRST.match(text.translate(PLAIN_MARKS))
    letters = {letter[1]} if letter else {a or b or c for a, b, c in _LETTER_ANYWHERE.findall(text)}
    if len(letters) == 1:
        place = ord(letters.pop().upper()) - ord("A")
        return place if not choices or place < len(choices) else None
    return _find_mention(text, choices)


def _find_mention(text: str, choices: Choices) -> int | None:
    """The only option whose words a text contains; York does not count within New York."""
    mentions = [i for i, choice in enumerate(choices) if _contains(text, choice)]
    whole = [i for i in mentions if not any(j != i and _contains(choices[j], choices[i]) for j in mentions)]
    return whole[0] if len(whole) == 1 else None


def _choice(answer: str, gold: str, choices: Choices = ()) -> float:
    option, gold_option = _option(answer, choices), _option(gold, choices)
    if option is None or gold_option is None:
        return _exact(answer, gold)
    return float(option == gold_option)


# ---------------------------------------------------------------- json

_FENCE = lazy_pattern(r"```(?:json)?\s*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_OPENING = lazy_pattern(r"[{\[]")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def _json_value(text: str) -> Any:
    """Read the JSON value that is the whole text, in a code fence, or anywhere; ValueError without one."""
    blocks = [match[1] for match in _FENCE.finditer(text)]
    for candidate in (text, *blocks):
        with contextlib.suppress(ValueError):
            return _DECODER.decode(candidate)
    for match in islice(_OPENING.finditer(text), 8):  # a bound on the work for text full of brackets
        with contextlib.suppress(ValueError):
            return _DECODER.raw_decode(text, match.start())[0]
    raise ValueError("no JSON")


def _same_json(a: Any, b: Any) -> bool:
    """Equality of JSON values: 1 equals 1.0, but true does not equal 1."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same_json(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same_json, a, b))
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _json_text(answer: str) -> str | None:
    """The JSON value of an answer in the one form of all that are equal to it; None without one."""
    try:
        return json.dumps(_whole_floats(_json_value(answer)), sort_keys=True, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None


def _whole_floats(value: Any) -> Any:
    """A JSON value whose whole numbers are integers, since 1 equals 1.0."""
    if isinstance(value, dict):
        return {key: _whole_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole_floats(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _json(answer: str, gold: str, choices: Choices = ()) -> float:
    """Of a gold answer without a JSON value, its words beside those of the answer's value, however written.

    So that answers whose values are equal score alike.
    """
    try:
        gold_value = _json_value(gold)
    except (ValueError, RecursionError):
        return _exact(_json_text(answer) or answer, gold)
    try:
        return float(_same_json(_json_value(answer), gold_value))
    except (ValueError, RecursionError):
        return 0.0


# ---------------------------------------------------------------- by name

_JUDGES: dict[str, Judge] = {
    "exact": _exact,
    "numeric": _numeric,
    "choice": _choice,
    "f1": _f1,
    "contains": _contains,
    "json": _json,
}


def _canonical_number(answer: str, choices: Choices) -> Hashable | None:
    number = read_number(answer)
    if number is None:
        return None
    # 8.2 million is 8199999.999999999 in binary: beyond fifteen digits a float says nothing.
    value = number.value if isinstance(number.value, int) else float(f"{number.value:.15g}")
    return value, number.percent


_CANONICAL: dict[str, Callable[[str, Choices], Hashable | None]] = {
    "exact": lambda answer, choices: None,
    "numeric": _canonical_number,
    "choice": _option,
    "json": lambda answer, choices: _json_text(answer),
}

SCORERS = tuple(_JUDGES)
"""The names that a profile's `task.scorer` may have."""

COMPARABLE_SCORERS = tuple(_CANONICAL)
"""Those under which answers fall into classes of equal ones, see `canonical`."""

FREE_TEXT = "free text"
"""In place of a scorer: answers are equal where every scorer that reads words finds them so."""
"""The names that a profile's `task.scorer` may have."""


def _judge(scorer: str) -> Judge:
    """The scoring function of a name."""
    if scorer in _JUDGES:
        return _JUDGES[scorer]
    from difflib import get_close_matches

    near = get_close_matches(scorer.lower(), SCORERS, n=1)
    raise UsageError(
        f"unknown scorer {scorer!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
        hint=f"scorers: {', '.join(SCORERS)}",
    )
