"""Read a verifier's reply: its verdict, and the confidence in it from token log-probabilities."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from automix_cli.records import Completion, TokenLogprob, Verdict, Vote

_VERDICT_WORDS = {"correct": Verdict.CORRECT, "incorrect": Verdict.INCORRECT}
_CLOSING = re.compile(
    r"(?:(?:verification )?decision:\s*)?(?:the ai[ -]generated answer is\s+)?(correct|incorrect)[.!]?",
    re.IGNORECASE | re.ASCII,
)
_SENTENCE = re.compile(
    r"(?:^|[.!?]\s+)(?:(?:verification )?decision:\s*)?"
    r"the ai[ -]generated answer is\s+(correct|incorrect)(?=[.!]|$)",
    re.IGNORECASE | re.ASCII,
)
# ">" is not removed: a line that begins with it is a quotation, never the verifier's own verdict.
_MARKUP = re.compile(r"^[\s#*_`-]+|[\s*_`]+$|[*_`]+")
_CUT_OFF = ("length", "content_filter")

# A statement that the answer is wrong, in a sentence or alone on a line, whatever stands before and after it.
# Every repetition is bounded, so that a long reply takes no longer than its length.
_SHORT_WORD = r"[^\s:.!?;]{1,30}[\s:]{1,3}"
_WRONG = r"(?:incorrect|wrong|not (?!only\b|just\b|merely\b|simply\b)(?:[a-z]{1,20} ){0,2}correct)\b"
_SUBJECT = r"\b(?:answer|response|verdict|decision|conclusion|judge?ment|evaluation|assessment)\b[\s:,]{1,3}"
_COPULA = r"(?:is|was|seems|appears|looks|remains|must be)\b[\s:]{1,3}"
_SOFT = rf"(?:(?!(?:not|never|no|nothing|hardly|whether|if)\b){_SHORT_WORD}){{0,3}}?"
_DISSENT = re.compile(
    rf"{_SUBJECT}(?:(?:{_SHORT_WORD}){{0,3}}?{_COPULA}{_SOFT})?{_WRONG}"
    rf"|(?:^|[.!?;]) ?(?:it|this|that) {_COPULA}{_SOFT}{_WRONG}"
    r"|^[^\w\n]{0,9}(?:\d{1,3}\W{1,2})?(?:incorrect|not correct)\b ?(?:[^\w\s]|$|because\b|since\b|as\b)",
    re.IGNORECASE | re.MULTILINE,
)
_MARKS = str.maketrans({**dict.fromkeys('*_`"“”«»'), "’": "'", "|": "\n"})


def last_line(text: str) -> str:
    """The last line of a text that is not blank; lines end at a line feed only.

    Models write none of Unicode's other line ends, but a manipulated answer may.
    """
    return next((line.strip() for line in reversed(text.split("\n")) if line.strip()), "")


def read_verdict(text: str) -> Verdict:
    r"""Read a verifier's reply: CORRECT, INCORRECT or UNPARSED.

    The last non-blank line must be a verdict: the closing sentence, with or without its prefix,
    or the bare word, in any case and with Markdown emphasis around it. Everything else
    ("not correct", both words, JSON, a refusal) is UNPARSED: no evidence either way. So is a reply
    with a verdict on an earlier line that disagrees: the last one may be a quotation of the answer.
    To a final "Correct", any statement that the answer is incorrect disagrees, in whatever form.

    Example:
        >>> read_verdict("It is 4, not 5.\nVerification Decision: The AI generated answer is Incorrect.")
        <Verdict.INCORRECT: 0>
        >>> read_verdict("Correct, I think")
        <Verdict.UNPARSED: None>
        >>> read_verdict("The AI generated answer is Incorrect. It reads:\n4\nCorrect.")
        <Verdict.UNPARSED: None>
    """
    closing = _CLOSING.fullmatch(_MARKUP.sub("", last_line(text)))
    if closing is None:
        return Verdict.UNPARSED
    verdict = _VERDICT_WORDS[closing.group(1).lower()]
    words = {word.lower() for line in text.split("\n") for word in _verdicts_in(line)}
    if len(words) > 1 or (verdict is Verdict.CORRECT and says_incorrect(text)):
        return Verdict.UNPARSED
    return verdict


def says_incorrect(text: str) -> bool:
    """Whether a reply states anywhere that the answer is incorrect, also in a quotation or a table.

    Example:
        >>> says_incorrect("The AI generated answer is clearly **Incorrect**, since 7 is odd.")
        True
        >>> says_incorrect("At first 7 looks incorrect. The answer is not incorrect.")
        False
    """
    plain = re.sub(r"[^\S\n]+", " ", text.translate(_MARKS))
    plain = re.sub(r"\bis ?n't\b", "is not", plain, flags=re.IGNORECASE)
    return _DISSENT.search(plain) is not None


def _verdicts_in(line: str) -> list[str]:
    """The verdict words of a line: its own if it is a verdict, else those of closing sentences in it."""
    plain = _MARKUP.sub("", line.strip())
    closing = _CLOSING.fullmatch(plain)
    if closing:
        return [closing.group(1)]
    return [] if plain.startswith(">") else _SENTENCE.findall(plain)


def read_vote(completion: Completion) -> Vote:
    """The vote in a verifier's completion; a cut-off reply has no closing line, so it is UNPARSED."""
    cut_off = "truncated" in completion.flags or completion.finish_reason in _CUT_OFF
    verdict = Verdict.UNPARSED if cut_off else read_verdict(completion.text)
    return Vote(verdict=verdict, reasons=completion.text)


def read_votes(completions: Sequence[Completion], n_votes: int) -> list[Vote]:
    """The votes in a round of `n_votes`: those whose completion never came are UNPARSED.

    Example:
        >>> [vote.verdict.name for vote in read_votes([], 1)]
        ['UNPARSED']
    """
    votes = [read_vote(completion) for completion in completions]
    return votes + [Vote(verdict=Verdict.UNPARSED)] * (n_votes - len(votes))


def verdict_confidence(completion: Completion) -> float | None:
    """P(CORRECT) / (P(CORRECT) + P(INCORRECT)) at the first token of the verdict word.

    None when the reply holds no readable verdict or no log-probabilities, or when neither
    word is among the alternatives.

    Example:
        >>> log_likely, log_rare = math.log(0.6), math.log(0.2)
        >>> first = TokenLogprob("Correct", log_likely, (("Correct", log_likely), ("Inc", log_rare)))
        >>> round(verdict_confidence(Completion(text="Correct", logprobs=(first,))), 3)
        0.75
    """
    if read_vote(completion).verdict is Verdict.UNPARSED:
        return None
    token = _verdict_token(completion.logprobs)
    if token is None:
        return None
    mass = {Verdict.CORRECT: 0.0, Verdict.INCORRECT: 0.0}
    for text, logprob in {token.token: token.logprob, **dict(token.top)}.items():
        verdict = _verdict_word(text)
        if verdict is not None:
            mass[verdict] += math.exp(logprob)
    total = sum(mass.values())
    return mass[Verdict.CORRECT] / total if total > 0 else None


def _verdict_word(token: str) -> Verdict | None:
    """Which verdict word a token begins, if any."""
    text = _MARKUP.sub("", token).strip().rstrip(".!").lower()
    return next((v for word, v in _VERDICT_WORDS.items() if text and word.startswith(text)), None)


def _verdict_token(tokens: Sequence[TokenLogprob]) -> TokenLogprob | None:
    """The token in which the last verdict word of the reply begins."""
    text = "".join(t.token for t in tokens)
    starts = [m.start() for m in re.finditer(r"(?:in)?correct", text, re.IGNORECASE | re.ASCII)]
    if not starts:
        return None
    end = 0
    for t in tokens:
        end += len(t.token)
        if end > starts[-1]:
            return t
    return None


def answer_confidence(completion: Completion) -> float | None:
    """Return exp of the mean token log-probability of an answer; None where the provider gave none.

    Example:
        >>> tokens = (TokenLogprob("a", -0.5), TokenLogprob("b", -1.5))
        >>> answer_confidence(Completion(text="ab", logprobs=tokens)) == math.exp(-1)
        True
    """
    if not completion.logprobs:
        return None
    mean = math.fsum(t.logprob for t in completion.logprobs) / len(completion.logprobs)
    return math.exp(min(0.0, mean))  # some servers round a certain token to just above 0
