"""From the JSON of a chat completion request to a question.

    {"model": …, "messages": […]} ─▶ read_chat_request ─▶ ChatRequest(question=Question(…), …)

The earlier turns of a chat are kept and sent before the question, as those of a row with `messages` are.
System messages become one. What decides about the text of an answer is the profile: a temperature, a seed
or a limit of tokens in a request is ignored, and `ignored_fields` says so. What cannot be ignored without
giving another thing than was asked for (tools, several choices, images, a format) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from automix_cli.data.chat_rows import chat_of, kind_of
from automix_cli.data.rows import question_from_dict
from automix_cli.errors import DataError, describe_value
from automix_cli.profile.model import Profile
from automix_cli.records import Json, Message, Question

ROW_FIELD = "automix"
"""The field of a request that holds more keys of a row: `context`, `choices`, the column of classes."""

_SYSTEM_ROLES = ("system", "developer")
_ROLES = (*_SYSTEM_ROLES, "user", "assistant")
_ROW_KEYS_REFUSED = ("messages", "question", "id", "input", "body", "tiers", "expected")
_OWN_FIELDS = frozenset({"model", "messages", "stream", "stream_options", ROW_FIELD})
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")


class ChatRequestError(DataError):
    """A request that cannot be served as it is: a 400 in OpenAI's terms.

    Attributes:
        param: the field of the request that is wrong; None for the request itself.
        code: a short name of the problem.
    """

    def __init__(self, message: str, *, param: str | None = None, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.param, self.code = param, code


class ChatRequest(Struct, frozen=True, kw_only=True):
    """What a client asks for.

    `model` is the name that it sent. `include_usage` asks for a last chunk with the usage, in a stream.
    `ignored_fields` are the fields of the request that have no effect.
    """

    model: str
    question: Question
    stream: bool = False
    include_usage: bool = False
    ignored_fields: tuple[str, ...] = ()


def read_chat_request(body: Json, profile: Profile, ident: str = "") -> ChatRequest:
    """Read the body of a chat completion request; `ident` becomes the id of its question.

    Raises:
        ChatRequestError: it is no such request, or asks for what automix cannot give.

    Example:
        >>> from automix_cli.profile.search import load_profile
        >>> body = {"model": "demo", "messages": [{"role": "user", "content": "2 + 2?"}], "seed": 7}
        >>> request = read_chat_request(body, load_profile("demo"))
        >>> request.question.text, request.ignored_fields
        ('2 + 2?', ('seed',))
    """
    if not isinstance(body, dict):
        raise ChatRequestError(f"the body: expected a JSON object, got {kind_of(body)}", code="invalid_json")
    for field, check in _FIELD_CHECKS.items():
        if not check.allows(body.get(field)):
            raise ChatRequestError(f"{field}: {check.problem}", param=field, code="unsupported_value")
    _check_format(body.get("response_format"), profile)
    stream = _flag(body, "stream")
    options = body.get("stream_options") or {}
    if not isinstance(options, dict):
        raise ChatRequestError("stream_options: expected an object", param="stream_options")
    return ChatRequest(
        model=_model(body),
        question=_question(body, ident),
        stream=stream,
        include_usage=stream and _flag(options, "include_usage"),
        ignored_fields=_ignored_fields(body),
    )


# ---------------------------------------------------------------- fields


class _FieldCheck(NamedTuple):
    """Which values of a field ask for nothing that automix cannot give, and what is said of all others."""

    allows: Callable[[Json], bool]
    problem: str


def _calls_nothing(choice: Json) -> bool:
    """Whether a choice among tools leaves it to the model, which has none to choose from."""
    return choice in (None, "none", "auto")


_TEXT_ONLY = "automix answers with text; send the request to a model itself"
_FIELD_CHECKS: Mapping[str, _FieldCheck] = {
    "tools": _FieldCheck(lambda v: not v, f"tools cannot be called: {_TEXT_ONLY}"),
    "functions": _FieldCheck(lambda v: not v, f"functions cannot be called: {_TEXT_ONLY}"),
    "tool_choice": _FieldCheck(_calls_nothing, f"tools cannot be called: {_TEXT_ONLY}"),
    "function_call": _FieldCheck(_calls_nothing, f"functions cannot be called: {_TEXT_ONLY}"),
    "n": _FieldCheck(
        lambda v: v is None or (v == 1 and v is not True), "one answer is given: leave n out, or send 1"
    ),
    "modalities": _FieldCheck(lambda v: v in (None, [], ["text"]), f'expected ["text"]: {_TEXT_ONLY}'),
    "audio": _FieldCheck(lambda v: v is None, f"no audio can be made: {_TEXT_ONLY}"),
    "web_search_options": _FieldCheck(lambda v: v is None, f"nothing can be searched: {_TEXT_ONLY}"),
    "logprobs": _FieldCheck(
        lambda v: not v, "log-probabilities cannot be given: the field automix of the reply has a confidence"
    ),
    "top_logprobs": _FieldCheck(lambda v: not v, "log-probabilities cannot be given"),
}


def _check_format(form: Json, profile: Profile) -> None:
    """Refuse a format that not every tier of the profile is asked for anyway.

    Raises:
        ChatRequestError: the tiers answer in another one.
    """
    if form is None or form == {"type": "text"}:
        return
    if all(dict(tier.params).get("response_format") == form for tier in profile.tiers):
        return
    kind = describe_value(form.get("type") if isinstance(form, dict) else form)
    raise ChatRequestError(
        f"response_format: the tiers of profile {profile.name} are not asked for {kind}: leave it out and "
        "say in a message what the answer should look like, or put it into the params of each tier",
        param="response_format",
        code="unsupported_value",
    )


def _flag(fields: Mapping[str, Json], name: str) -> bool:
    """A field that is true or false; false where it is missing or null.

    Raises:
        ChatRequestError: it is something else.
    """
    value = fields.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise ChatRequestError(f"{name}: expected true or false, got {kind_of(value)}", param=name)


def _model(body: Mapping[str, Json]) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        problem = "is missing" if model is None else f"expected text, got {describe_value(model)}"
        raise ChatRequestError(f"model: {problem}", param="model")
    return model


def _ignored_fields(body: Mapping[str, Json]) -> tuple[str, ...]:
    """The fields with a value that has no effect, by name."""
    without = _OWN_FIELDS | _FIELD_CHECKS.keys() | {"response_format"}
    names = (name for name, value in body.items() if value is not None and name not in without)
    return tuple(sorted(filter(_PLAIN_NAME.fullmatch, names)))


# ---------------------------------------------------------------- messages


def _question(body: Mapping[str, Json], ident: str) -> Question:
    """The last message as a question, with the chat before it."""
    try:
        messages = chat_of({"messages": body.get("messages")}, replies=False).messages
    except DataError as exc:
        raise ChatRequestError(exc.message, param="messages") from None
    for message in messages:
        if message.role not in _ROLES:
            problem = f"messages: a message of role {describe_value(message.role)} cannot be sent"
            raise ChatRequestError(f"{problem}: {_TEXT_ONLY}", param="messages", code="unsupported_value")
    row = {**_row_fields(body), "messages": [m._asdict() for m in with_one_system_message(messages)]}
    try:
        return question_from_dict({**row, "id": ident})
    except DataError as exc:
        param = ROW_FIELD if exc.message.startswith(("context", "choices")) else "messages"
        raise ChatRequestError(exc.message, param=param) from None


def _row_fields(body: Mapping[str, Json]) -> Mapping[str, Json]:
    """The keys of a row that a request holds besides its messages.

    Raises:
        ChatRequestError: they are no object, or say again what the messages say.
    """
    fields = body.get(ROW_FIELD)
    if fields is None:
        return {}
    if not isinstance(fields, dict):
        raise ChatRequestError(f"{ROW_FIELD}: expected an object, got {kind_of(fields)}", param=ROW_FIELD)
    for name in _ROW_KEYS_REFUSED:
        if name in fields:
            raise ChatRequestError(f"{ROW_FIELD}.{name}: cannot be given here", param=ROW_FIELD)
    return fields


def with_one_system_message(messages: Sequence[Message]) -> tuple[Message, ...]:
    r"""The messages with all system messages as one at their beginning: many servers take no other.

    Example:
        >>> texts = [Message("system", "Be brief."), Message("developer", "Be kind."), Message("user", "Hi!")]
        >>> with_one_system_message(texts)
        (Message(role='system', content='Be brief.\n\nBe kind.'), Message(role='user', content='Hi!'))
    """
    rules = [m.content for m in messages if m.role in _SYSTEM_ROLES and m.content.strip()]
    system = (Message("system", "\n\n".join(rules)),) if rules else ()
    return (*system, *(m for m in messages if m.role not in _SYSTEM_ROLES))
