"""Requests of chat clients: which become a question, and what is said of those that cannot."""

from typing import Any

import pytest
from msgspec.structs import replace

from automix_cli.profile.search import load_profile
from automix_cli.prompts import answer_messages
from automix_cli.records import Message
from automix_cli.serving.chat_request import ChatRequestError, read_chat_request

USER = {"role": "user", "content": "2 + 2?"}
PLAIN: dict[str, Any] = {"model": "demo", "messages": [USER]}
DEMO = load_profile("demo")


def test_a_chat_is_a_question_with_the_turns_before_it_and_one_system_message() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Capital"}, {"type": "text", "text": "of Italy?"}],
        },
        {"role": "assistant", "content": "Rome"},
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "And of Spain?"},
    ]
    question = read_chat_request({"model": "demo", "messages": messages}, DEMO, "r1").question
    assert (question.text, question.id) == ("And of Spain?", "r1")
    turns = (Message("user", "Capital\nof Italy?"), Message("assistant", "Rome"))
    assert question.history == (Message("system", "Be brief.\n\nBe kind."), *turns)
    sent = answer_messages(question, "Answer with a word.")
    system = Message("system", "Answer with a word.\n\nBe brief.\n\nBe kind.")
    assert sent == (system, *turns, Message("user", "And of Spain?"))


def test_fields_of_a_row_come_under_a_name_of_their_own() -> None:
    body = {**PLAIN, "automix": {"context": ["a", "b"], "choices": ["4", "5"], "subject": "sums"}}
    question = read_chat_request(body, DEMO).question
    assert (question.context, question.choices) == ("a\n\nb", ("4", "5"))
    assert question.columns["subject"] == "sums"


@pytest.mark.parametrize(
    ("fields", "stream", "usage", "ignored_fields"),
    [
        ({}, False, False, ()),
        ({"stream": True, "stream_options": {"include_usage": True}}, True, True, ()),
        ({"stream": False, "stream_options": {"include_usage": True}}, False, False, ()),
        (
            {"stream": None, "n": 1, "tools": [], "tool_choice": "none", "modalities": ["text"]},
            False,
            False,
            (),
        ),
        ({"logprobs": False, "response_format": {"type": "text"}, "seed": None}, False, False, ()),
        ({"temperature": 0, "seed": 7, "max_tokens": 9}, False, False, ("max_tokens", "seed", "temperature")),
        ({"x-y\r\nSet-Cookie: z": 1, "top_p": 1}, False, False, ("top_p",)),
    ],
)
def test_what_does_not_change_the_answer_is_taken(
    fields: dict[str, Any], stream: bool, usage: bool, ignored_fields: tuple[str, ...]
) -> None:
    request = read_chat_request({**PLAIN, **fields}, DEMO)
    assert (request.stream, request.include_usage) == (stream, usage)
    assert request.ignored_fields == ignored_fields


SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"tools": [{"type": "function"}]}, "tools", "tools cannot be called"),
        ({"tool_choice": "required"}, "tool_choice", "tools cannot be called"),
        ({"functions": [{}]}, "functions", "functions cannot be called"),
        ({"n": 2}, "n", "one answer is given"),
        ({"n": True}, "n", "one answer is given"),
        ({"logprobs": True}, "logprobs", "confidence"),
        ({"modalities": ["text", "audio"]}, "modalities", '["text"]'),
        ({"response_format": SCHEMA}, "response_format", 'are not asked for "json_schema"'),
        ({"response_format": "json"}, "response_format", 'are not asked for "json"'),
        ({"stream": "yes"}, "stream", "expected true or false"),
        ({"stream_options": []}, None, ""),
        ({"stream_options": [1]}, "stream_options", "expected an object"),
        ({"model": None}, "model", "is missing"),
        ({"model": 3}, "model", "expected text, got 3"),
        ({"messages": None}, "messages", "expected a list"),
        ({"messages": []}, "messages", "expected a list"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages", "is empty"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages", 'a part of type "image_url"'),
        ({"messages": [USER, {"role": "assistant", "content": "4"}]}, "messages", "must be the user's"),
        ({"messages": [{"role": "tool", "content": "4"}, USER]}, "messages", 'role "tool"'),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages", "must be the user's"),
        ({"automix": 1}, "automix", "expected an object"),
        ({"automix": {"question": "other"}}, "automix", "cannot be given here"),
        ({"automix": {"choices": 1.5, "context": {}}}, "automix", "context: expected text"),
    ],
)
def test_what_cannot_be_given_is_refused_by_the_field_that_asks_for_it(
    fields: dict[str, Any], param: str | None, words: str
) -> None:
    if param is None:
        read_chat_request({**PLAIN, **fields}, DEMO)
        return
    with pytest.raises(ChatRequestError) as problem:
        read_chat_request({**PLAIN, **fields}, DEMO)
    assert problem.value.param == param
    assert words in problem.value.message


@pytest.mark.parametrize("body", [None, [], "x", 3])
def test_a_body_that_is_no_object_is_refused(body: Any) -> None:
    with pytest.raises(ChatRequestError, match="expected a JSON object"):
        read_chat_request(body, DEMO)


def test_a_format_that_every_tier_is_asked_for_can_be_asked_for() -> None:
    params = (("response_format", {"type": "json_object"}),)
    tiers = tuple(replace(tier, params=params) for tier in DEMO.tiers)
    body = {**PLAIN, "response_format": {"type": "json_object"}}
    assert read_chat_request(body, replace(DEMO, tiers=tiers)).question.text == "2 + 2?"
    with pytest.raises(ChatRequestError, match="response_format"):
        read_chat_request(body, replace(DEMO, tiers=(tiers[0], *DEMO.tiers[1:])))
