"""The messages of chat rows: our own, OpenAI's batch and fine-tuning files, and lists under `input`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from automix_cli.errors import DataError, describe_value
from automix_cli.records import Json, Message


class Chat(NamedTuple):
    """The messages of a row up to its question, and the reply that follows it, if one does."""

    messages: tuple[Message, ...]
    reply: str | None = None


NO_CHAT = Chat(())


def chat_of(row: Mapping[str, Json], *, replies: bool = True) -> Chat:
    """The messages of a chat row; none in a row whose question is a text.

    They stand under `messages`, under `body` as in OpenAI's batch files (`messages`, or `input` with
    `instructions`), or under `input` as a list. Where the assistant has the last word, as in files for
    fine-tuning, that is what the row expects, and no part of what is request.

    Raises:
        DataError: they are no messages, or the last one is not the user's.

    Example:
        >>> chat_of({"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]})
        Chat(messages=(Message(role='user', content='2 + 2?'),), reply='4')
    """  # noqa: E501
    raw = _raw_messages(row)
    if raw is None:
        return NO_CHAT
    if not isinstance(raw, list) or not raw:
        raise DataError("messages: expected a list of {role, content} objects")
    messages, reply = tuple(map(_message, raw)), None
    if replies and len(messages) > 1 and messages[-1].role == "assistant":
        messages, reply = messages[:-1], messages[-1].content
    if messages[-1].role != "user":
        raise DataError("messages: the last one must be the user's")
    return Chat(messages, reply)


def _raw_messages(row: Mapping[str, Json]) -> Json:
    """The messages as they stand in a row; None in a row whose question is a text."""
    if "messages" in row:
        return row["messages"]
    body = row.get("body")
    if isinstance(body, dict):
        return body["messages"] if "messages" in body else _request_input(body)
    value = row.get("input")
    return value if isinstance(value, list) and row.get("question") is None else None


def _request_input(body: Mapping[str, Json]) -> Json:
    """The messages of a request that has an `input` or a `prompt`; its instructions come first."""
    request = body.get("input", body.get("prompt"))
    request = [{"role": "user", "content": request}] if isinstance(request, str) else request
    instructions = body.get("instructions")
    if not isinstance(request, list) or not isinstance(instructions, str):
        return request
    return [{"role": "system", "content": instructions}, *request]


def is_batch_output(row: Mapping[str, Json]) -> bool:
    """Whether a row is one of the output or error file of an OpenAI batch, which repeats no request.

    Example:
        >>> is_batch_output({"custom_id": "q1", "response": {"status_code": 200, "body": {}}, "error": None})
        True
    """
    response = row.get("response")
    has_response = isinstance(response, dict) and {"status_code", "body"} <= response.keys()
    is_failed = response is None and isinstance(row.get("error"), dict)
    return "custom_id" in row and "body" not in row and (has_response or is_failed)


def _message(raw: Json) -> Message:
    """A message whose content is text, or a list of parts that are."""
    content = raw.get("content") if isinstance(raw, dict) else None
    if isinstance(content, list) and content:
        content = "\n".join(map(_text_of_part, content))
    if not (isinstance(raw, dict) and isinstance(raw.get("role"), str) and isinstance(content, str)):
        raise DataError("messages: each needs a text role and a text content")
    return Message(raw["role"], content)


def _text_of_part(part: Json) -> str:
    """The text of a part of a message.

    Raises:
        DataError: it is a part of another kind, such as an image.

    Example:
        >>> _text_of_part({"type": "text", "text": "2 + 2?"})
        '2 + 2?'
    """
    text = part.get("text") if isinstance(part, dict) else None
    if isinstance(text, str) and part.get("type") in ("text", "input_text"):
        return text
    kind = describe_value(part.get("type")) if isinstance(part, dict) else kind_of(part)
    raise DataError(f"messages: a part of type {kind} cannot be sent: only text parts can")


def kind_of(value: Json) -> str:
    """The JSON name of a value's type, for messages."""
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
