"""Offline simulated tiers: they really compute arithmetic, units and dates, and err as models do.

    demo/small    cheap and quick; often wrong on hard questions; a fair verifier of its own answers
    demo/medium   in between
    demo/large    reasons before it answers, which is charged; rarely wrong
    demo/embed    an embedding model: hashed words and parts of words

**Errors.** Every question has a difficulty d in [0, 1], computed from its form: digits, operations,
awkward factors, spans of time. For each pair of model and question a *grasp* is drawn once:

    grasp = skill - drop·d + spread·d·noise          (log-odds that one sampled answer is right)

A sample at temperature T is right with probability σ(grasp / T), so samples scatter most where the
question is hard for the tier; T = 0, the default here, is the limit: right if and only if grasp > 0.
A wrong answer is a plausible slip, and each model has its favourite slip on each question.

**Verification** reads the real verification prompt, computes the right answer, and says whether the
two agree with the log-odds of a *judgement* drawn the same way. All votes on one answer share it, so
they agree more with each other than independent votes would, as votes of real models do.

All randomness is SHA-256 of the request: the same request has the same completions, always.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from automix_cli import prompts
from automix_cli.backends.base import Request
from automix_cli.backends.demo.arithmetic import Solution
from automix_cli.backends.demo.generate import generate_questions
from automix_cli.backends.demo.questions import agrees, solve_question
from automix_cli.backends.embedding import DEMO_MODEL, demo_vector, pack_vector
from automix_cli.errors import BadRequest
from automix_cli.records import Completion, TokenLogprob
from automix_cli.usage import Usage


class _Ability(NamedTuple):
    """How good a tier is, in log-odds, and what it spends on thinking."""

    skill: float
    drop: float
    judgement: float
    judgement_drop: float
    reasoning: int  # reasoning tokens at difficulty 1
    seconds_per_token: float


MODELS = {
    "demo/small": _Ability(4.2, 7.0, 2.1, 1.4, 0, 0.004),
    "demo/medium": _Ability(5.0, 6.0, 2.8, 1.6, 60, 0.008),
    "demo/large": _Ability(6.2, 5.0, 3.6, 1.6, 400, 0.012),
}
_SPREAD = {"grasp": 2.0, "judgement": 1.4}  # between questions of difficulty 1
_LENIENCE = 0.3  # a verifier would rather say Correct
_CONFIDENCE_NOISE = 0.8  # of a tier's confidence in its own answer, in log-odds
_UNPARSED_RATE = 0.01
_MUMBLES = ("I cannot tell whether that is right.", "It is not correct, or perhaps it is.", "Yes and no.")

Tokens = tuple[TokenLogprob, ...]


def _sigmoid(log_odds: float) -> float:
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, log_odds))))


def _uniform(*parts: object) -> float:
    """A number in (0, 1) that depends on all parts and on nothing else."""
    texts = [str(part).encode("utf-8", "surrogatepass") for part in parts]
    mark = hashlib.sha256(b"".join(len(text).to_bytes(8, "big") + text for text in texts)).hexdigest()
    return (int(mark[:12], 16) + 0.5) / 16**12


class _Dice(Struct, frozen=True):
    """The random draws of one request to one model."""

    model: str
    question: str
    prompt: str
    temperature: float

    def trait(self, what: str) -> float:
        """Uniform: a property of this model on this question, whatever the prompt around it."""
        return _uniform(self.model, self.question, what)

    def log_odds(self, strength: float, difficulty: float, what: str) -> float:
        """A strength plus noise of this model on this question, more noise on harder ones."""
        luck = self.trait(what)
        return strength + _SPREAD[what] * difficulty * math.log(luck / (1 - luck))

    def roll(self, what: str, sample: int) -> float:
        """Uniform, anew for every sample; at temperature 0 all samples are one."""
        return _uniform(self.model, self.prompt, self.temperature, sample if self.temperature else 0, what)

    def comes_true(self, log_odds: float, what: str, sample: int) -> bool:
        """Whether an event with these log-odds happens in a sample; at temperature 0 the likelier outcome."""
        if self.temperature == 0:
            return log_odds > 0
        return self.roll(what, sample) < _sigmoid(log_odds / self.temperature)


def _answerer(dice: _Dice, solution: Solution) -> Callable[[int], Tokens]:
    """The simulated answers to a question: a function from sample to tokens."""
    ability, slips = MODELS[dice.model], solution.slips
    grasp = dice.log_odds(ability.skill - ability.drop * solution.difficulty, solution.difficulty, "grasp")
    favourite = slips[int(dice.trait("favourite") * len(slips))]
    firmness = 0.35 + 0.5 * dice.trait("firmness")

    def speak(sample: int) -> Tokens:
        if dice.comes_true(grasp, "right", sample):
            return _answer_tokens(dice, solution.answer, _sigmoid(grasp))
        if dice.temperature == 0 or dice.roll("favourite", sample) < firmness:
            return _answer_tokens(dice, favourite, _sigmoid(-grasp) * firmness)
        slip = slips[int(dice.roll("slip", sample) * len(slips))]
        return _answer_tokens(dice, slip, _sigmoid(-grasp) * (1 - firmness) / len(slips))

    return speak


def _answer_tokens(dice: _Dice, text: str, probability: float) -> Tokens:
    """The tokens of an answer; their mean log-probability is the tier's noisy confidence in it."""
    mood = dice.trait(f"mood {text}")
    log_odds = math.log(probability / (1 - probability)) + _CONFIDENCE_NOISE * math.log(mood / (1 - mood))
    tokens = _split(text)
    weights = [1 / (i + 1) for i in range(len(tokens))]
    scale = math.log(_sigmoid(log_odds)) * len(tokens) / sum(weights)
    return tuple(_token(t, scale * w) for t, w in zip(tokens, weights, strict=True))


_TOKENS = re.compile(r"\s*(?:[^\W\d_]{1,12}|\d{1,3}|\S)|\s+")


def _split(text: str) -> list[str]:
    """A text in tokens: words, up to three digits, single signs."""
    return _TOKENS.findall(text)


def _token(text: str, logprob: float) -> TokenLogprob:
    return TokenLogprob(text, logprob, ((text, logprob),))


def _verifier(dice: _Dice, candidate: prompts.JudgedAnswer, solution: Solution) -> Callable[[int], Tokens]:
    """The simulated votes on an answer: a function from sample to tokens."""
    ability, right = MODELS[dice.model], _is_right(candidate, solution)
    strength = ability.judgement - ability.judgement_drop * solution.difficulty
    judgement = dice.log_odds(strength, solution.difficulty, "judgement")
    log_odds = (judgement if right else -judgement) + _LENIENCE
    quote = " ".join(candidate.answer.split())[:60]
    truth = solution.slips[0] if right else solution.answer
    closings = _closings(_sigmoid(log_odds))

    def speak(sample: int) -> Tokens:
        mumble = dice.roll("mumble", sample) / _UNPARSED_RATE
        if mumble < 1:
            return tuple(_token(t, -0.5) for t in _split(_MUMBLES[int(mumble * len(_MUMBLES))]))
        says = dice.comes_true(log_odds, "verdict", sample)
        finding = f"{quote}, as the answer says" if says else f"{truth}, not {quote}"
        reasons = _split(f"Worked out again, it comes to {finding}.\n")
        return (*(_token(t, -0.05) for t in reasons), *closings[says])

    return speak


def _closings(probability: float) -> dict[bool, Tokens]:
    """The closing lines for both verdicts, of which "Correct" has this probability."""
    lines = {says: _split(prompts.decision(says)) for says in (True, False)}
    logprobs = {True: math.log(max(probability, 1e-12)), False: math.log(max(1 - probability, 1e-12))}
    return {
        says: _closing(lines[says], lines[not says], logprobs[says], logprobs[not says]) for says in lines
    }


def _closing(line: list[str], other_line: list[str], own: float, other: float) -> Tokens:
    """A closing line; its verdict word carries the log-probabilities of both verdicts."""
    pairs = zip(line, other_line, strict=True)
    return tuple(
        _token(a, -0.001)
        if a == b
        else TokenLogprob(a, own, tuple(sorted(((a, own), (b, other)), key=lambda x: -x[1])))
        for a, b in pairs
    )


_LETTER = re.compile(r"\(?([A-Z])(?:[).:](?: .*)?)?", re.DOTALL)


def _is_right(candidate: prompts.JudgedAnswer, solution: Solution) -> bool:
    """Whether the candidate answer is right: by its letter or by its text where there are choices."""
    choices, answer = candidate.question.choices, candidate.answer.strip()
    if not choices:
        return agrees(answer, solution.answer)
    if letter := _LETTER.fullmatch(answer):
        return letter[1] == solution.answer
    return agrees(answer, choices[ord(solution.answer) - ord("A")])


class DemoBackend(Struct, frozen=True):
    """The simulated tiers as a backend; nothing leaves the process.

    Example:
        >>> import asyncio
        >>> from automix_cli.records import Message
        >>> request = Request(model="demo/small", messages=(Message("user", "What is 17 * 23?"),))
        >>> asyncio.run(DemoBackend().complete(request))[0].text
        '391'
    """

    async def complete(self, request: Request) -> tuple[Completion, ...]:
        """Answer or verify: always `request.n` completions, with the prompt charged to the first.

        Raises:
            BadRequest: an unknown model, or a question the tiers cannot work out.
        """
        if request.embeds and request.model == DEMO_MODEL:
            return (_embedding(request),)
        if request.embeds or request.model not in MODELS:
            raise BadRequest(f"no model {request.model!r}: the demo has {', '.join((*MODELS, DEMO_MODEL))}")
        params = request.param
        speak, difficulty = _speaker(request, params)
        tokens = prompts.estimate_tokens(request.messages)
        ability = MODELS[request.model]
        return tuple(
            replace(
                _completion(ability, params, speak(request.first + i), difficulty, 0 if i else tokens),
                prompt=Usage(input_tokens=tokens, calls=1),
            )
            for i in range(request.n)
        )

    async def aclose(self) -> None:
        """Nothing to release."""


def _embedding(request: Request) -> Completion:
    """The embedding of a text, charged by its tokens."""
    tokens = prompts.estimate_tokens(request.messages)
    vector = pack_vector(demo_vector(request.messages[0].content))
    return Completion(text=vector, usage=Usage(input_tokens=tokens, calls=1), latency_s=0.02)


def _speaker(request: Request, params: Mapping[str, Any]) -> tuple[Callable[[int], Tokens], float]:
    """The tokens of each sample as a function, and how hard the question is."""
    is_verification = prompts.is_verification(request.messages)
    candidate = prompts.read_candidate(request.messages) if is_verification else None
    question = candidate.question if candidate else prompts.read_question(request.messages)
    solution = solve_question(question)
    dice = _Dice(
        model=request.model,
        question=prompts.digest([question.text, question.context or "", *question.choices]),
        prompt=prompts.digest([part for m in request.messages for part in m]),
        temperature=max(0.0, float(params.get("temperature") or 0.0)),
    )
    speak = _verifier(dice, candidate, solution) if candidate else _answerer(dice, solution)
    return speak, solution.difficulty


def _completion(
    ability: _Ability, params: Mapping[str, Any], tokens: Tokens, difficulty: float, prompt_tokens: int
) -> Completion:
    """Tokens as a completion: cut at `max_tokens`, with usage and, on request, log-probabilities."""
    limit = int(params.get("max_tokens") or params.get("max_completion_tokens") or sys.maxsize)
    text = tokens[:limit]
    reasoning = min(round(ability.reasoning * (0.25 + 0.75 * difficulty)), limit - len(text))
    top = int(params.get("top_logprobs") or 0)
    usage = Usage(
        input_tokens=prompt_tokens,
        output_tokens=len(text) + reasoning,
        reasoning_tokens=reasoning,
        calls=int(prompt_tokens > 0),
    )
    return Completion(
        text="".join(t.token for t in text),
        usage=usage,
        finish_reason="stop" if text == tokens else "length",
        latency_s=round(0.1 + ability.seconds_per_token * usage.output_tokens, 3),
        logprobs=tuple(t._replace(top=t.top[:top]) for t in text) if params.get("logprobs") else (),
        flags=() if text == tokens else ("truncated",),
    )


if __name__ == "__main__":
    for row in generate_questions():
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
