"""From the row of an answer to what a chat client reads: a completion, its chunks, headers, or an error.

Answer ─▶ completion    the JSON of a plain reply
       ├▶ chunks        the events of a streamed one
       ├▶ headers       x-automix-…, for those who read no JSON
       └▶ error_reply   status and JSON of a row without an answer
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from automix_cli.errors import redact
from automix_cli.records import Answer, Json, RowError
from automix_cli.usage import Usage

DONE = b"data: [DONE]\n\n"


class ReplyIdentity(NamedTuple):
    """What all parts of a reply carry: its id, the model by the name that was asked for, Unix seconds."""

    ident: str
    model: str
    unix_time: int


# ---------------------------------------------------------------- an answer


def completion(answer: Answer, identity: ReplyIdentity) -> dict[str, Json]:
    """The `chat.completion` of a row with an answer, or of one that abstained."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", **_content(answer)},
        "logprobs": None,
        "finish_reason": finish_reason(answer),
    }
    return {
        "id": identity.ident,
        "object": "chat.completion",
        "created": identity.unix_time,
        "model": identity.model,
        "choices": [choice],
        "usage": usage_json(answer.usage),
        "automix": automix_json(answer),
    }


def chunks(answer: Answer, identity: ReplyIdentity, *, include_usage: bool) -> Iterator[bytes]:
    """The events of a streamed reply: the text as one, its end, and where that is asked for the usage."""
    head = {
        "id": identity.ident,
        "object": "chat.completion.chunk",
        "created": identity.unix_time,
        "model": identity.model,
    }
    usage: dict[str, Json] = {"usage": None} if include_usage else {}

    def choices(delta: Mapping[str, Json], reason: str | None) -> list[Json]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]

    yield event({**head, "choices": choices({"role": "assistant", **_content(answer)}, None), **usage})
    block = {"automix": automix_json(answer)}
    yield event({**head, "choices": choices({}, finish_reason(answer)), **usage, **block})
    if include_usage:
        yield event({**head, "choices": [], "usage": usage_json(answer.usage), **block})
    yield DONE


def event(value: Json) -> bytes:
    r"""One server-sent event.

    Example:
        >>> event({"a": "b"})
        b'data: {"a":"b"}\n\n'
    """
    return b"data: " + to_bytes(value) + b"\n\n"


def to_bytes(value: Json) -> bytes:
    """JSON in ASCII: a lone surrogate of a question comes through, and no line end stands in it."""
    return json.dumps(value, separators=(",", ":")).encode()


def _content(answer: Answer) -> dict[str, Json]:
    """The text of a message; a profile that abstains refuses to answer."""
    if answer.status == "abstained":
        return {"content": "", "refusal": "automix abstains: no tier's answer can be trusted"}
    return {"content": answer.answer or "", "refusal": None}


def finish_reason(answer: Answer) -> str:
    """Why the text ends where it does: `length` where its tier ran out of tokens."""
    steps = [step for step in answer.route if step.tier == answer.tier]
    return "length" if steps and "truncated" in steps[-1].flags else "stop"


def usage_json(usage: Usage) -> dict[str, Json]:
    """The tokens of all calls behind an answer, votes included, by OpenAI's names.

    Example:
        >>> usage_json(Usage(input_tokens=5, output_tokens=2))["total_tokens"]
        7
    """
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


_BLOCK_KEYS = (
    *("status", "tier", "model", "escalated", "confidence", "class", "reason", "route"),
    *("cost_usd", "spent_usd", "latency_s"),
)


def automix_json(answer: Answer) -> dict[str, Json]:
    """What a row says beyond its text: tier, route, confidence and money, as in the rows of `ask`."""
    row = answer.to_dict()
    return {**{key: row[key] for key in _BLOCK_KEYS}, "calls": row["usage"]["calls"]}


def headers(answer: Answer) -> dict[str, str]:
    """The same in short, as headers; what is unknown has none.

    Example:
        >>> from automix_cli.records import Question
        >>> answer = Answer(question=Question(text="2 + 2?"), answer="4", tier="small", confidence=0.9)
        >>> headers(answer)["x-automix-tier"], headers(answer)["x-automix-confidence"]
        ('small', '0.9')
    """
    values = {
        "status": answer.status,
        "tier": answer.tier,
        "route": ",".join(f"{step.tier}:{step.action}" for step in answer.route) or None,
        "escalated": "true" if answer.escalated else "false",
        "confidence": None if answer.confidence is None else f"{answer.confidence:.6g}",
        "cost-usd": _money(answer.cost_usd),
        "spent-usd": _money(answer.spent_usd),
    }
    return {f"x-automix-{name}": value for name, value in values.items() if value is not None}


def _money(dollars: float | None) -> str | None:
    return None if dollars is None else f"{dollars:.12f}".rstrip("0").rstrip(".")


# ---------------------------------------------------------------- errors


class ErrorReply(NamedTuple):
    """A status and the body that says why. `is_worth_retrying`: nothing was tried; later it may be."""

    status: int
    body: dict[str, Json]
    is_worth_retrying: bool = False


class _ErrorKind(NamedTuple):
    """How an error of a row is called in OpenAI's protocol."""

    status: int
    type: str
    code: str


_SERVER_ERROR = _ErrorKind(502, "upstream_error", "bad_response")
_ERROR_KINDS: Mapping[str, _ErrorKind] = {
    "rate_limit": _ErrorKind(429, "rate_limit_error", "rate_limit_exceeded"),
    "quota": _ErrorKind(429, "insufficient_quota", "insufficient_quota"),
    "budget": _ErrorKind(429, "insufficient_quota", "budget_reached"),
    "auth": _ErrorKind(502, "upstream_error", "upstream_key_refused"),
    "model": _ErrorKind(502, "upstream_error", "upstream_model_unknown"),
    "timeout": _ErrorKind(504, "upstream_error", "timeout"),
    "context_length": _ErrorKind(400, "invalid_request_error", "context_length_exceeded"),
    "content_filter": _ErrorKind(400, "invalid_request_error", "content_filter"),
    "invalid_input": _ErrorKind(400, "invalid_request_error", "invalid_value"),
    "no_text": _ErrorKind(502, "upstream_error", "no_text"),
    "bad_response": _SERVER_ERROR,
    "cache_miss": _ErrorKind(503, "upstream_error", "cache_miss"),
    "internal": _ErrorKind(500, "server_error", "internal_error"),
}
_OF_ENDPOINTS = ("auth", "quota", "model", "rate_limit", "timeout", "bad_response")
"""Errors that one question meets because of what another one met: its words may be of the other's prompt."""


def error_reply(answer: Answer) -> ErrorReply:
    """The reply to a question without an answer: all that could be tried again was tried."""
    error = answer.error or RowError(type="internal", message="no tier gave an answer")
    kind = _ERROR_KINDS.get(error.type, _SERVER_ERROR)
    reply = plain_error(kind.status, _message(error), type=kind.type, code=kind.code)
    return reply._replace(body={**reply.body, "automix": automix_json(answer)})


def _message(error: RowError) -> str:
    """What is said of an error, without what another question's error may quote of its prompt."""
    text = error.message
    if error.attempts == 0 and error.type in _OF_ENDPOINTS:
        text = (
            f"no call was made: one before it failed ({error.type}); it is tried again within half a minute"
        )
    return f"{error.tier}: {text}" if error.tier else text


def plain_error(
    status: int,
    message: str,
    *,
    type: str = "invalid_request_error",
    code: str | None = None,
    param: str | None = None,
    is_worth_retrying: bool = False,
) -> ErrorReply:
    """An error in OpenAI's shape, without keys.

    Example:
        >>> plain_error(404, "no model x", code="model_not_found").body["error"]["code"]
        'model_not_found'
    """
    error = {"message": redact(message), "type": type, "param": param, "code": code}
    return ErrorReply(status, {"error": error}, is_worth_retrying)
