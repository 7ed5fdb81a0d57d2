"""The profile file as a declaration: every key there is, and what it may hold."""

from __future__ import annotations

import re
from typing import Any, get_args

from automix_cli.backends.catalog import URL, model_problem
from automix_cli.backends.choice import BACKENDS
from automix_cli.backends.openai_providers import extra_body_problem
from automix_cli.errors import describe_value
from automix_cli.fitting.router_block import ROUTER_KINDS
from automix_cli.pomdp.signals import LOGPROB_OF, SIGNALS
from automix_cli.profile.model import (
    MAX_TIERS,
    MAX_VOTES,
    Limits,
    Task,
    Tier,
    VerificationSettings,
    embedding_tier,
)
from automix_cli.profile.schema import (
    BAD,
    AnyMapping,
    Checked,
    Custom,
    Flag,
    Kind,
    ListOf,
    Nullable,
    Number,
    OneOf,
    OneOrList,
    Only,
    Pattern,
    Record,
    Report,
    Subtree,
    Text,
    Whole,
    is_number,
)
from automix_cli.profile.yamltree import Node
from automix_cli.prompts.examples import VerificationExample
from automix_cli.records import ServiceTier
from automix_cli.scoring import SCORERS
from automix_cli.texts import TIER_NAME, TIER_NAME_RULE
from automix_cli.usage import Price

_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]{0,99}")
_KEY_LIKE = re.compile("(?=.*[a-z])(?=.*[0-9]).{20,}")


def variable_problem(name: Any) -> str | None:
    """What is wrong with a variable's name. The name is never repeated: it may be a misplaced key."""
    if isinstance(name, str) and _VARIABLE.fullmatch(name) and not _KEY_LIKE.fullmatch(name):
        return None
    return "expected the name of an environment variable, such as OPENAI_API_KEY"


def keep_alive_problem(value: Any) -> str | None:
    """What is wrong with how long Ollama keeps a model in memory."""
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,9}(ms|[smh])?", value):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9:
        return None
    return f"expected seconds, or a time such as 10m, got {describe_value(value)}"


def batch_problem(sizes: tuple[int, ...]) -> str | None:
    """What is wrong with the numbers of votes that one action may buy."""
    if sizes and list(sizes) == sorted(set(sizes)):
        return None
    return f"expected rising numbers of votes such as [1, 2, 4], got {list(sizes)}"


def _params(**values: Any) -> tuple[tuple[str, Any], ...]:
    return tuple(values.items())


def _input_price(**rates: Any) -> Price:
    """The price of a model that writes nothing."""
    return Price(output=0.0, **rates)


def read_router(node: Node, report: Report) -> Any:
    """The router block: a known kind, and no count below zero; `fitting` reads the rest."""
    if not isinstance(node.value, dict):
        return AnyMapping().read(node, report)
    before = len(report.lines)
    kind = node.value.get("kind", node._replace(value=None, path=f"{node.path}.kind"))
    OneOf(tuple(ROUTER_KINDS)).read(kind, report)
    if "cost_weight" in node.value:
        Number(0, 1e12).read(node.value["cost_weight"], report)
    if "give_up" in node.value:
        Number(0, 1, above=True).read(node.value["give_up"], report)
    for leaf in node.value["prior"].leaves() if "prior" in node.value else ():
        if is_number(leaf.value) and leaf.value < 0:
            report.add(leaf, f"expected a count, got {describe_value(leaf.value)}")
    query = node.value.get("query")
    if query is not None and not isinstance(query.value, dict):
        report.add(query, f"expected a query-side router, got {describe_value(query.value)}")
    return node.plain() if len(report.lines) == before else BAD


_KEY_ADVICE = {"api_key": "a key does not belong in a file: export it and name the variable in api_key_env"}
_HEADER_ADVICE = {"headers": "extra headers are not sent; name the key's variable in api_key_env"}
_ELSEWHERE = "cannot be set here: see verification, limits and api_base"

_NAME = Pattern(TIER_NAME, TIER_NAME_RULE)
_RATE = Number(0, 1_000_000)
_ADDRESS = Pattern(URL, "an http:// or https:// address without user, query or fragment")
_MODEL = Checked(Text(200), model_problem)
_ENDPOINT: dict[str, Kind] = {
    "api_base": Nullable(Checked(_ADDRESS, convert=lambda address: address.rstrip("/"))),
    "api_key_env": Nullable(Custom(variable_problem)),
    "rpm": Nullable(Whole(1, 10_000_000)),
    "backend": OneOf(BACKENDS),
}
_EXTRA_BODY = Checked(AnyMapping(), extra_body_problem)
_PARAMS = Record(
    _params,
    {
        "temperature": Number(0, 2),
        "top_p": Number(0, 1, above=True),
        "top_k": Whole(1, 100_000),
        "min_p": Number(0, 1),
        "max_tokens": Whole(1, 1_000_000),
        "seed": Whole(-(2**63), 2**63 - 1),
        "stop": OneOrList(Pattern(re.compile("(?s).{1,200}")), 16),
        "presence_penalty": Number(-2, 2),
        "frequency_penalty": Number(-2, 2),
        "repetition_penalty": Number(0, 10),
        "reasoning_effort": Text(40),
        "thinking": AnyMapping(),
        "verbosity": Text(40),
        "response_format": AnyMapping(),
        "extra_body": _EXTRA_BODY,
        "num_ctx": Whole(1, 10_000_000),
        "keep_alive": Custom(keep_alive_problem),
    },
    advice={
        **_KEY_ADVICE,
        "max_completion_tokens": "write max_tokens, whatever the provider calls it",
        **dict.fromkeys(("n", "stream", "timeout", "api_base", "base_url", "logprobs", "model"), _ELSEWHERE),
    },
)
_PRICE = Record(
    Price,
    {"input": _RATE, "output": _RATE, "cached_input": Nullable(_RATE), "cache_write": Nullable(_RATE)},
    required=("input", "output"),
)
_TIER = Record(
    Tier,
    {
        "name": _NAME,
        "model": _MODEL,
        "price": Nullable(_PRICE),
        "params": _PARAMS,
        "service_tier": Nullable(OneOf(get_args(ServiceTier))),
        **_ENDPOINT,
    },
    required=("name", "model"),
    advice={**_KEY_ADVICE, **_HEADER_ADVICE},
)
_EMBEDDING = Record(
    embedding_tier,
    {
        "model": _MODEL,
        "price": Nullable(Record(_input_price, {"input": _RATE}, required=("input",))),
        "params": Record(_params, {"dimensions": Whole(1, 100_000), "extra_body": _EXTRA_BODY}),
        **_ENDPOINT,
    },
    required=("model",),
    advice=_KEY_ADVICE,
)
_EXAMPLE = Record(
    VerificationExample,
    {
        "question": Text(),
        "answer": Text(),
        "reasons": Text(),
        "correct": Flag(),
        "context": Nullable(Text()),
        "choices": ListOf(Text(), 26),
    },
    required=("question", "answer", "reasons", "correct"),
)
_TASK = Record(
    Task,
    {
        "instruction": Text(),
        "scorer": OneOf(tuple(SCORERS)),
        "abstain_value": Nullable(Number(0, 1)),
        "pass_score": Number(0, 1, above=True),
    },
)
_VERIFICATION = Record(
    VerificationSettings,
    {
        "signal": OneOf(SIGNALS),
        "logprob_of": OneOf(LOGPROB_OF),
        "max_votes": Whole(0, MAX_VOTES),
        "batch": Checked(ListOf(Whole(1, MAX_VOTES), MAX_VOTES), batch_problem),
        "temperature": Nullable(Number(0, 2)),
        "max_tokens": Whole(1, 100_000),
        "examples": ListOf(_EXAMPLE, 50),
        "last_tier": Flag(),
    },
)
_LIMITS = Record(
    Limits,
    {
        "concurrency": Whole(1, 1024),
        "timeout": Number(0, 3600, above=True),
        "attempts": Whole(1, 20),
        "max_cost": Nullable(Number(0, 1_000_000, above=True)),
    },
)
PROFILE = Record(
    dict,
    {
        "version": Only(1, "the only version there is"),
        "name": _NAME,
        "extends": Custom(lambda name: None),  # checked where it is followed
        "tiers": ListOf(_TIER, MAX_TIERS, partial=True),
        "task": _TASK,
        "verification": _VERIFICATION,
        "router": Nullable(Subtree(read_router)),
        "embedding": Nullable(_EMBEDDING),
        "limits": _LIMITS,
    },
    required=("tiers",),
)
