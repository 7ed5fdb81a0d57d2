"""Offline simulated tiers: they really compute arithmetic, units and dates, and err as models do.

    demo/small    cheap and quick; slips on harder questions; a fair judge of its own answers
    demo/medium   in between
    demo/large    reasons before it speaks (and charges for that); rarely wrong
    demo/embed    embeds: words and pieces of words, hashed

**Errors.** Every question has a difficulty d in [0, 1], computed from its form: digits, operations,
awkward factors, spans of time. For each pair of model and question a *grasp* is drawn once:

    grasp = skill - drop·d + spread·d·noise          (log-odds that one sampled answer is right)

A sample at temperature T is right with probability σ(grasp / T), so samples scatter most where the
tier is out of its depth; T = 0, the default here, is the limit: right if and only if grasp > 0. A
wrong answer is a plausible slip, and each model has its favourite slip on each question.

**Verification** reads the real verification prompt, computes the truth and says it with the
log-odds of a *judgement* drawn the same way: votes on one answer share it, so they agree more with
each other than independent votes would, as votes of real models do.

All randomness is SHA-256 of the request: the same request has the same completions, always.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from automix_cli import prompts
from automix_cli.backends.base import Request
from automix_cli.backends.demo.questions import Solution, agrees, generate_questions, solve_question
from automix_cli.backends.embedding import DEMO_MODEL, demo_vector, packed
from automix_cli.errors import BadRequest
from automix_cli.records import Completion, TokenLogprob, Usage


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
_FEELING = 0.8  # how badly a tier knows its own confidence
_UNPARSED_RATE = 0.01
_MUMBLES = ("I cannot tell whether that is right.", "It is not correct, or perhaps it is.", "Yes and no.")

Tokens = tuple[TokenLogprob, ...]


def _sigmoid(log_odds: float) -> float:
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, log_odds))))


def _uniform(*parts: object) -> float:
    """A number in (0, 1) that depends on all parts and on nothing else."""
    mark = prompts.digest(map(str, parts))
    return (int(mark[:12], 16) + 0.5) / 16**12


@dataclass(frozen=True, slots=True)
class _Dice:
    """All that is random about one request to one model."""

    model: str
    question: str
    prompt: str
    temperature: float

    def trait(self, what: str) -> float:
        """Uniform: how this model takes this question, whatever the prompt around it."""
        return _uniform(self.model, self.question, what)

    def log_odds(self, strength: float, difficulty: float, what: str) -> float:
        """A strength, shifted by this model's luck with this question: more so on harder ones."""
        luck = self.trait(what)
        return strength + _SPREAD[what] * difficulty * math.log(luck / (1 - luck))

    def roll(self, what: str, sample: int) -> float:
        """Uniform, anew for every sample; at temperature 0 all samples are one."""
        return _uniform(self.model, self.prompt, self.temperature, sample if self.temperature else 0, what)

    def comes_true(self, log_odds: float, what: str, sample: int) -> bool:
        """Whether a sample goes the way of its log-odds; at temperature 0 the likelier way."""
        if self.temperature == 0:
            return log_odds > 0
        return self.roll(what, sample) < _sigmoid(log_odds / self.temperature)


def _answerer(dice: _Dice, solution: Solution) -> Callable[[int], Tokens]:
    """Who answers a question: gives the tokens of each sample."""
    ability, slips = MODELS[dice.model], solution.slips
    grasp = dice.log_odds(ability.skill - ability.drop * solution.difficulty, solution.difficulty, "grasp")
    favourite = slips[int(dice.trait("favourite") * len(slips))]
    firmness = 0.35 + 0.5 * dice.trait("firmness")

    def speak(sample: int) -> Tokens:
        if dice.comes_true(grasp, "right", sample):
            return _felt(dice, solution.answer, _sigmoid(grasp))
        if dice.temperature == 0 or dice.roll("favourite", sample) < firmness:
            return _felt(dice, favourite, _sigmoid(-grasp) * firmness)
        slip = slips[int(dice.roll("slip", sample) * len(slips))]
        return _felt(dice, slip, _sigmoid(-grasp) * (1 - firmness) / len(slips))

    return speak


def _felt(dice: _Dice, text: str, probability: float) -> Tokens:
    """The tokens of an answer whose mean log-probability is what the tier feels about it."""
    mood = dice.trait(f"mood {text}")
    log_odds = math.log(probability / (1 - probability)) + _FEELING * math.log(mood / (1 - mood))
    tokens = _split(text)
    weights = [1 / (i + 1) for i in range(len(tokens))]
    scale = math.log(_sigmoid(log_odds)) * len(tokens) / sum(weights)
    return tuple(_token(t, scale * w) for t, w in zip(tokens, weights, strict=True))


_WORDS = re.compile(r"\s*(?:[^\W\d_]{1,12}|\d{1,3}|\S)|\s+")


def _split(text: str) -> list[str]:
    """A text in tokens: words, up to three digits, single signs."""
    return _WORDS.findall(text)


def _token(text: str, logprob: float) -> TokenLogprob:
    return TokenLogprob(text, logprob, ((text, logprob),))


def _verifier(dice: _Dice, candidate: prompts.JudgedAnswer, solution: Solution) -> Callable[[int], Tokens]:
    """Who verifies an answer: gives the tokens of each vote."""
    ability, right = MODELS[dice.model], _is_right(candidate, solution)
    strength = ability.judgement - ability.judgement_drop * solution.difficulty
    judgement = dice.log_odds(strength, solution.difficulty, "judgement")
    log_odds = (judgement if right else -judgement) + _LENIENCE
    shown = " ".join(candidate.answer.split())[:60]
    truth = solution.slips[0] if right else solution.answer

    def speak(sample: int) -> Tokens:
        mumble = dice.roll("mumble", sample) / _UNPARSED_RATE
        if mumble < 1:
            return tuple(_token(t, -0.5) for t in _split(_MUMBLES[int(mumble * len(_MUMBLES))]))
        says = dice.comes_true(log_odds, "verdict", sample)
        finding = f"{shown}, as the answer says" if says else f"{truth}, not {shown}"
        reasons = _split(f"Worked out again, it comes to {finding}.\n")
        return (*(_token(t, -0.05) for t in reasons), *_closing(says, _sigmoid(log_odds)))

    return speak


def _closing(says: bool, probability: float) -> Tokens:
    """The closing line; its verdict word carries the probability of the verdict."""
    pairs = zip(_split(prompts.decision(says)), _split(prompts.decision(not says)), strict=True)
    own, other = (math.log(max(p, 1e-12)) for p in _ordered(says, probability))
    return tuple(
        _token(a, -0.001)
        if a == b
        else TokenLogprob(a, own, tuple(sorted(((a, own), (b, other)), key=lambda x: -x[1])))
        for a, b in pairs
    )


def _ordered(says: bool, probability: float) -> tuple[float, float]:
    return (probability, 1 - probability) if says else (1 - probability, probability)


_LETTER = re.compile(r"\(?([A-Z])(?:[).:](?: .*)?)?", re.DOTALL)


def _is_right(candidate: prompts.JudgedAnswer, solution: Solution) -> bool:
    """Whether the candidate answer is right: by its letter or by its text where there are choices."""
    choices, answer = candidate.question.choices, candidate.answer.strip()
    if not choices:
        return agrees(answer, solution.answer)
    if letter := _LETTER.fullmatch(answer):
        return letter[1] == solution.answer
    return agrees(answer, choices[ord(solution.answer) - ord("A")])


@dataclass(frozen=True, slots=True)
class DemoBackend:
    """The simulated tiers behind the seam; nothing leaves the process.

    Example:
        >>> from automix_cli.records import Message
        >>> request = Request(model="demo/small", messages=(Message("user", "What is 17 * 23?"),))
        >>> asyncio.run(DemoBackend().complete(request))[0].text
        '391'
    """

    async def complete(self, request: Request) -> tuple[Completion, ...]:
        """Answer or verify: always `request.n` completions, the prompt charged to the first.

        Raises:
            BadRequest: an unknown model, or a question the tiers cannot work out.
        """
        await asyncio.sleep(0)  # a run of many questions stays responsive to signals and its progress bar
        if request.embeds and request.model == DEMO_MODEL:
            return (_embedding(request),)
        if request.embeds or request.model not in MODELS:
            raise BadRequest(f"no model {request.model!r}: the demo has {', '.join((*MODELS, DEMO_MODEL))}")
        speak, difficulty = _speaker(request)
        prompt = Usage(input_tokens=prompts.estimate_tokens(request.messages), calls=1)
        return tuple(
            _completion(request, speak(request.first + i), difficulty, Usage() if i else prompt)
            for i in range(request.n)
        )

    async def aclose(self) -> None:
        """Nothing to release."""


def _embedding(request: Request) -> Completion:
    """The embedding of a text, charged by its tokens."""
    tokens = prompts.estimate_tokens(request.messages)
    vector = packed(demo_vector(request.messages[0].content))
    return Completion(text=vector, usage=Usage(input_tokens=tokens, calls=1), latency_s=0.02)


def _speaker(request: Request) -> tuple[Callable[[int], Tokens], float]:
    """Whoever takes this request, and how hard it is."""
    checks = prompts.is_verification(request.messages)
    candidate = prompts.read_candidate(request.messages) if checks else None
    question = candidate.question if candidate else prompts.read_question(request.messages)
    solution = solve_question(question)
    dice = _Dice(
        model=request.model,
        question=prompts.digest([question.text, question.context or "", *question.choices]),
        prompt=prompts.digest(part for m in request.messages for part in m),
        temperature=max(0.0, float(request.param.get("temperature") or 0.0)),
    )
    speak = _verifier(dice, candidate, solution) if candidate else _answerer(dice, solution)
    return speak, solution.difficulty


def _completion(request: Request, tokens: Tokens, difficulty: float, prompt: Usage) -> Completion:
    """Tokens as a completion: cut at `max_tokens`, counted, with log-probabilities where wanted."""
    ability, params = MODELS[request.model], request.param
    limit = int(params.get("max_tokens") or params.get("max_completion_tokens") or sys.maxsize)
    kept = tokens[:limit]
    reasoning = min(round(ability.reasoning * (0.25 + 0.75 * difficulty)), limit - len(kept))
    top = int(params.get("top_logprobs") or 0)
    spent = Usage(output_tokens=len(kept) + reasoning, reasoning_tokens=reasoning)
    return Completion(
        text="".join(t.token for t in kept),
        usage=prompt + spent,
        finish_reason="stop" if kept == tokens else "length",
        latency_s=round(0.1 + ability.seconds_per_token * spent.output_tokens, 3),
        logprobs=tuple(t._replace(top=t.top[:top]) for t in kept) if params.get("logprobs") else (),
        flags=() if kept == tokens else ("truncated",),
    )


if __name__ == "__main__":
    for row in generate_questions():
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
