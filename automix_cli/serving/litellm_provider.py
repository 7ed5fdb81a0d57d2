"""A profile as a provider of LiteLLM: `automix/PROFILE` is a model like any other, in its proxy too.

    litellm_settings:
      custom_provider_map:
        - {provider: automix, custom_handler: automix_cli.serving.litellm_provider.automix}

LiteLLM calls ─▶ chat request ─▶ Automix (on its own loop) ─▶ ModelResponse, chunks, or LiteLLM's exception

This module is for processes that have LiteLLM already, and leaves everything of theirs as it is: logs,
callbacks, environment. What a question cost is handed over, so that LiteLLM's spend is what was spent.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, NamedTuple

import litellm
from litellm import CustomLLM
from msgspec import Struct

from automix_cli.errors import AutomixError, DataError, MissingKey, ProfileError, redact
from automix_cli.library.automix import Automix
from automix_cli.profile.router import embedder_of
from automix_cli.records import Answer, Json, RowError
from automix_cli.serving import chat_reply
from automix_cli.serving.chat_reply import ReplyIdentity
from automix_cli.serving.chat_request import ChatRequest, ChatRequestError, read_chat_request

PROVIDER = "automix"
"""The part of a model's name before the slash, and what LiteLLM's exceptions name as their provider."""

_log = logging.getLogger(__name__)


# ---------------------------------------------------------------- what LiteLLM calls


class AutomixProvider(CustomLLM):  # type: ignore[misc]  # LiteLLM's types are not read
    """Answers LiteLLM's calls; the name of a model is that of a profile, or the path of its file.

    A profile is opened by its first call and shared by all others, from whichever thread or event loop they
    come. LiteLLM passes all arguments by name; those that it needs for providers with an address and a key
    have no effect here.

    Example:
        >>> litellm.custom_provider_map = [{"provider": "automix", "custom_handler": AutomixProvider()}]
        >>> messages = [{"role": "user", "content": "What is 17 * 23?"}]
        >>> litellm.completion(model="automix/demo", messages=messages).choices[0].message.content
        '391'
    """

    def __init__(self) -> None:
        super().__init__()
        self._profiles: dict[str, Automix] = {}
        self._lock = threading.Lock()

    def completion(self, **call: Any) -> Any:
        """Answer a question; returns a `ModelResponse` with cost and route.

        Raises:
            openai.OpenAIError: there is no answer; the class is LiteLLM's for the reason.
        """
        question = self._begin(call)
        return question.response(call["model_response"], question.ask())

    async def acompletion(self, **call: Any) -> Any:
        """Answer a question; see `completion`."""
        question = await self._begin_soon(call)
        return question.response(call["model_response"], await question.aask(_seconds(call)))

    def streaming(self, **call: Any) -> Iterator[dict[str, Any]]:
        """Answer a question in two chunks: its text, then its end with usage, cost and route."""
        question = self._begin(call)
        yield from question.chunks(question.ask())

    async def astreaming(self, **call: Any) -> AsyncIterator[dict[str, Any]]:
        """Answer a question in two chunks; see `streaming`."""
        question = await self._begin_soon(call)
        for chunk in question.chunks(await question.aask(_seconds(call))):
            yield chunk

    def close(self) -> None:
        """Close all profiles; the next call opens its own anew."""
        with self._lock:
            profiles, self._profiles = list(self._profiles.values()), {}
        for automix in profiles:
            automix.close()

    # ------------------------------------------------------------ profiles

    def _begin(self, call: Mapping[str, Any]) -> _ProviderCall:
        """The question of a call, and the profile that is to answer it."""
        model = call["model"]
        try:
            profile = self._open(model)
        except AutomixError as exc:
            raise _exception_of(exc, model) from exc
        return _ProviderCall(profile, model, _request(call, profile))

    async def _begin_soon(self, call: Mapping[str, Any]) -> _ProviderCall:
        """The same; a profile that is not open yet is read beside the event loop."""
        if call["model"] in self._profiles:
            return self._begin(call)
        return await asyncio.to_thread(self._begin, call)

    def _open(self, name: str) -> Automix:
        """The profile of a name, opened once.

        Raises:
            AutomixError: there is none, or it cannot be used.
        """
        with self._lock:
            if name not in self._profiles:
                profile = Automix.from_profile(name, note=_log.warning)
                _check_clients(profile)
                self._profiles[name] = profile
            return self._profiles[name]


def _check_clients(automix: Automix) -> None:
    """Refuse models that are called by means of LiteLLM itself.

    LiteLLM has all callbacks called on the event loop of the last call. That would be ours, to which the
    connections of its users' loggers do not belong, and they would count such a call beside the answer.

    Raises:
        ProfileError: there is such a model.
    """
    profile = automix.profile
    embedder = embedder_of(profile)
    for tier in profile.tiers if embedder is None else (*profile.tiers, embedder):
        if tier.client() == "litellm":
            raise ProfileError(
                f"profile {profile.name}: {tier.model} is called by means of LiteLLM, which cannot be while "
                "LiteLLM calls automix",
                hint="put that model into LiteLLM's proxy, and name it in the profile: "
                "model: litellm_proxy/NAME, api_base: the address of the proxy",
            )


automix = AutomixProvider()
"""What `custom_handler` names."""


# ---------------------------------------------------------------- a question and its replies


class _ProviderCall(Struct, frozen=True):
    """A question that LiteLLM brought, with the profile that answers it."""

    profile: Automix
    model: str
    request: ChatRequest

    def ask(self) -> Answer:
        """The row with its answer.

        Raises:
            openai.OpenAIError: there is none.
        """
        try:
            return self._with_text(self.profile.ask(self.request.question))
        except AutomixError as exc:
            raise _exception_of(exc, self.model) from exc

    async def aask(self, seconds: float | None) -> Answer:
        """The same, within some seconds, after which nothing more is bought."""
        try:
            async with asyncio.timeout(seconds):
                return self._with_text(await self.profile.aask(self.request.question))
        except TimeoutError as exc:
            raise _exception("timeout", f"no answer within {seconds:g} s", self.model) from exc
        except AutomixError as exc:
            raise _exception_of(exc, self.model) from exc

    def _with_text(self, answer: Answer) -> Answer:
        """A row that has an answer, or abstained.

        Raises:
            openai.OpenAIError: it has none.
        """
        if answer.status in ("ok", "abstained"):
            return answer
        raise _exception_of_row(answer.error, self.model)

    def response(self, empty: Any, answer: Answer) -> Any:
        """LiteLLM's record of a reply; `empty` is the one that it prepared."""
        identity = ReplyIdentity(empty.id, self.model, empty.created)
        response = litellm.ModelResponse(**chat_reply.completion(answer, identity))
        headers = chat_reply.headers(answer)
        if fields := self.request.ignored_fields:
            headers["x-automix-ignored"] = ",".join(fields)[:1000]
        response._hidden_params = {"additional_headers": headers, "response_cost": answer.spent_usd}
        return response

    def chunks(self, answer: Answer) -> Iterator[dict[str, Any]]:
        """The text, and the end. LiteLLM reads the cost of a stream from the usage of its last chunk."""
        reply = chat_reply.completion(answer, ReplyIdentity("", self.model, 0))
        head = {"index": 0, "tool_use": None}
        text = reply["choices"][0]["message"]["content"]
        yield {**head, "text": text, "is_finished": False, "finish_reason": "", "usage": None}
        yield {
            **head,
            "text": "",
            "is_finished": True,
            "finish_reason": chat_reply.finish_reason(answer),
            "usage": {**reply["usage"], "cost": answer.spent_usd},
            "provider_specific_fields": {"automix": reply["automix"]},
        }


def _request(call: Mapping[str, Any], profile: Automix) -> ChatRequest:
    """What is asked for.

    Raises:
        litellm.BadRequestError: it cannot be served.
    """
    fields = dict(call.get("optional_params") or {})
    fields |= fields.pop("extra_body", None) or {}
    fields.pop("max_retries", None)  # LiteLLM's own
    body: Json = {**fields, "model": call["model"], "messages": [_plain(m) for m in call["messages"]]}
    ident = (call.get("litellm_params") or {}).get("litellm_call_id") or ""
    try:
        return read_chat_request(body, profile.profile, ident)
    except ChatRequestError as exc:
        raise _exception("invalid_input", exc.message, call["model"]) from None


def _plain(message: Any) -> Any:
    """A message as a mapping, where it is a record of LiteLLM's."""
    return message.model_dump(exclude_none=True) if hasattr(message, "model_dump") else message


def _seconds(call: Mapping[str, Any]) -> float | None:
    """How long LiteLLM would wait; None for ever."""
    timeout = call.get("timeout")
    timeout = getattr(timeout, "read", timeout)  # httpx.Timeout
    return float(timeout) if isinstance(timeout, int | float) else None


# ---------------------------------------------------------------- errors


class _ExceptionKind(NamedTuple):
    """The name of LiteLLM's exception, and what is said."""

    exception: str
    sentence: str


_EXCEPTION_KINDS: Mapping[str, _ExceptionKind] = {
    "rate_limit": _ExceptionKind("RateLimitError", "the provider limits the rate of calls"),
    "quota": _ExceptionKind("RateLimitError", "the quota at the provider is used up"),
    "budget": _ExceptionKind("RateLimitError", "limits.max_cost of the profile is reached"),
    "auth": _ExceptionKind("AuthenticationError", "the provider refuses the key of the profile"),
    "model": _ExceptionKind("NotFoundError", "the provider has no such model"),
    "timeout": _ExceptionKind("Timeout", "the provider did not answer in time"),
    "context_length": _ExceptionKind("ContextWindowExceededError", "the prompt is too long"),
    "content_filter": _ExceptionKind(
        "ContentPolicyViolationError", "the provider's content filter refuses this"
    ),
    "invalid_input": _ExceptionKind("BadRequestError", "the provider refuses the request"),
    "no_text": _ExceptionKind("InternalServerError", "the provider sent no text"),
    "bad_response": _ExceptionKind("InternalServerError", "the provider failed"),
}
_ANY_OTHER_KIND = _ExceptionKind("InternalServerError", "automix failed")


def _exception(kind: str, message: str, model: str) -> Exception:
    """LiteLLM's exception for an error of some kind."""
    exception: type[Exception] = getattr(litellm, _EXCEPTION_KINDS.get(kind, _ANY_OTHER_KIND).exception)
    arguments: dict[str, Any] = {"message": redact(message), "model": model, "llm_provider": PROVIDER}
    return exception(**arguments)


def _exception_of_row(error: RowError | None, model: str) -> Exception:
    """LiteLLM's exception for a row without an answer.

    It says nothing in the provider's own words: they may quote the prompt, and exceptions are logged.
    """
    error = error or RowError(type="internal", message="")
    tier = f"{error.tier}: " if error.tier else ""
    sentence = _EXCEPTION_KINDS.get(error.type, _ANY_OTHER_KIND).sentence
    return _exception(error.type, f"{tier}{sentence} ({error.type}, {error.attempts} attempts)", model)


def _exception_of(error: AutomixError, model: str) -> Exception:
    """LiteLLM's exception for an error that no row has: of request, profile, key, or machine."""
    if isinstance(error, MissingKey):
        hint = f"export {error.variable}=… where LiteLLM is started, and start it anew"
        return _exception("auth", f"{error.message} ({hint})", model)
    kind = "invalid_input" if isinstance(error, DataError) else "internal"
    kind = "model" if isinstance(error, ProfileError) else kind
    hint = f" ({error.hint})" if error.hint else ""
    return _exception(kind, f"{error.message}{hint}", model)
