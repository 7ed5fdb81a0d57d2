"""How much of the prompts about one document is a prefix that they share.

    python tests/benchmarks/shared_prefix.py [--questions 40] [--characters 20000]

Prints one Markdown table of the share of prompt characters in the longest prefix that is common to
all prompts of a kind: for answers, for verifications, and for verifications under one mark, which
is the digest of context, question and answer and stands before the context. A provider that caches
prefixes charges for the shared part once, and about a tenth of it from then on.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import NamedTuple

from automix_cli.prompts.messages import answer_messages, digest, fence_marks, verification_messages
from automix_cli.records import Message, Question

WORDS = ("harbour", "ledger", "winter", "copper", "village", "engine", "garden", "letter", "river", "signal")


class Labelled(NamedTuple):
    """A question on the document, and an answer to it."""

    question: Question
    answer: str


def labelled_questions(questions: int, characters: int) -> list[Labelled]:
    """Questions on one document of about that many characters, each with its answer."""
    draw = random.Random(0)
    lines, facts = [], []
    while sum(map(len, lines)) < characters:
        place, thing, year = draw.choice(WORDS), draw.choice(WORDS), draw.randint(1800, 1999)
        lines.append(f"In {year} the {thing} of the {place} number {len(lines)} was counted anew.\n")
        facts.append((f"When was the {thing} of the {place} number {len(facts)} counted anew?", str(year)))
    document = "".join(lines)[:characters]
    chosen = draw.sample(facts[: len(facts) // 2], questions)
    return [Labelled(Question(text=text, context=document), answer) for text, answer in chosen]


def text_of(messages: Sequence[Message]) -> str:
    """All that is sent, as one text."""
    return "\n".join(f"{m.role}\n{m.content}" for m in messages)


def under_one_mark(row: Labelled) -> str:
    """A verification prompt in which the context has the same mark as all other texts."""
    fields = {"context": row.question.context or "", "question": row.question.text, "answer": row.answer}
    own = fence_marks(fields)["context"]
    return text_of(verification_messages(row.question, row.answer)).replace(own, digest(fields.values()))


KINDS: dict[str, Callable[[Labelled], str]] = {
    "answers": lambda row: text_of(answer_messages(row.question, "Answer as concisely as you can.")),
    "verifications": lambda row: text_of(verification_messages(row.question, row.answer)),
    "verifications, one mark for all texts": under_one_mark,
}


class Shared(NamedTuple):
    """Characters of the prefix common to some prompts, and of a prompt on average."""

    prefix: int
    characters: float

    @property
    def share(self) -> float:
        """The share of the prefix in a prompt."""
        return self.prefix / self.characters


def shared_prefix(prompts: Sequence[str]) -> Shared:
    """The longest prefix that all prompts have in common."""
    alike = takewhile(lambda characters: len(set(characters)) == 1, zip(*prompts, strict=False))
    return Shared(sum(1 for _ in alike), sum(map(len, prompts)) / len(prompts))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--characters", type=int, default=20_000)
    arguments = parser.parse_args()
    rows = labelled_questions(arguments.questions, arguments.characters)
    print("| prompts | characters of a prompt | shared prefix | share |\n|---|--:|--:|--:|")
    for kind, prompt_of in KINDS.items():
        shared = shared_prefix([prompt_of(row) for row in rows])
        print(f"| {kind} | {shared.characters:,.0f} | {shared.prefix:,} | {shared.share:.1%} |")


if __name__ == "__main__":
    main()
