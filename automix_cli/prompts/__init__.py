"""Prompts for answers and verifications, and the rules for reading a verdict.

    messages   the prompts, and the texts in them read back
    examples   the built-in few-shot examples of verification
    replies    verdicts and confidence, read from completions
    window     prompts cut to a context window

An answer prompt is an instruction, the context if there is one, and the question. A
verification prompt shows the question, the context and the candidate answer to the same
model and asks for reasons and one closing line (AutoMix, arXiv 2310.12963, section 3.2):

    Verification Decision: The AI generated answer is Correct.

Two rules make it hard to manipulate. Untrusted text (context, question, answer) is put
between fences whose mark is a digest of *all* texts in the prompt's fences: no text can
contain its own digest, and a rerun builds the same prompt, so the cache still applies. The
context comes first, under a digest of its own, so that all verifications on one document share
a prefix that providers cache; where another text holds that digest, it is the digest of all. A
verdict is read only from the last line of a reply, where the prompt asks for it, and never
from a reply that was cut off.
"""

from automix_cli.prompts.examples import BUILT_IN_EXAMPLES, VerificationExample
from automix_cli.prompts.messages import (
    NO_ANSWER,
    JudgedAnswer,
    answer_messages,
    context_end,
    decision,
    digest,
    fence,
    is_verification,
    prompt_sha,
    read_candidate,
    read_fenced,
    read_question,
    variant,
    verification_messages,
)
from automix_cli.prompts.replies import (
    answer_confidence,
    last_line,
    read_verdict,
    read_vote,
    read_votes,
    verdict_confidence,
)
from automix_cli.prompts.token_count import expected_tokens
from automix_cli.prompts.window import FittedPrompt, estimate_tokens, fit_window, shorten

__all__ = [
    "BUILT_IN_EXAMPLES",
    "NO_ANSWER",
    "FittedPrompt",
    "JudgedAnswer",
    "VerificationExample",
    "answer_confidence",
    "answer_messages",
    "context_end",
    "decision",
    "digest",
    "estimate_tokens",
    "expected_tokens",
    "fence",
    "fit_window",
    "is_verification",
    "last_line",
    "prompt_sha",
    "read_candidate",
    "read_fenced",
    "read_question",
    "read_verdict",
    "read_vote",
    "read_votes",
    "shorten",
    "variant",
    "verdict_confidence",
    "verification_messages",
]
