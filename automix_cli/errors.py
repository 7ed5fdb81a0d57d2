"""Every error automix raises on purpose.

    AutomixError                 exit 1   something failed
    ├── UsageError               exit 2   options that do not go together
    │   └── MissingKey                    the variable of a tier's key is not set
    ├── ProfileError             exit 2   a profile that cannot be used
    ├── DataError                exit 2   input rows that cannot be read
    ├── StorageError             exit 1   cache or output cannot be written
    ├── GateError                exit 5   a gate was not met
    └── BackendError             exit 1   a call gave no usable completion
        ├── RateLimited                   429, not a quota
        ├── Unauthorised                  401, 403, a key refused: the run cannot go on
        ├── QuotaExhausted                402, quota or budget used up: the run cannot go on
        ├── TimedOut                      no completion in time
        ├── ContextTooLong                413, the prompt does not fit the model
        ├── ContentFiltered               refused by the provider's filter
        ├── BadRequest                    400, 422: a retry cannot help
        │   └── UnknownModel              404: the endpoint has no such model
        ├── BadResponse                   5xx, broken connection, unusable body
        │   ├── NoText                    a well-formed reply without text
        │   └── Unreachable               refused, unknown host, TLS: nothing was sent
        ├── UnreadVotes                   no vote of a tier can be read: the run does not go on
        ├── CacheMiss                     --offline, and not in the cache
        └── BudgetError          exit 4   the call could exceed --max-cost: it was not made

`exit_code` is on the class; `kind` of a `BackendError` is the `error.type` of an
output row. A message says what happened and where; `hint` is the command or edit
that mends it, and is printed on a line of its own.

Messages quote servers and libraries, which may quote keys. `redact` is the one place where
keys are removed, and everything that leaves the process goes through it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection
from typing import Any
from urllib.parse import quote

_secrets: set[str] = set()
_KEY_SHAPES = re.compile(
    r"""\b(?:(?:sk|pk|gsk|xai|hf|r8|nvapi)[-_]|AIza)[A-Za-z0-9_\-]{16,}  # the usual prefixes
      | (?<=Bearer\ )[^\s"',]{6,}                                        # an Authorization header
      | (?<=[?&]key=)[^&\s"']+                                           # a key in an address
    """,
    re.VERBOSE,
)


def keep_secret(value: str) -> None:
    """Have `redact` mask this value from now on, also as base64 or percent-encoded."""
    if len(value) >= 6:  # a shorter one is a placeholder, and masking it would mask ordinary words
        _secrets.update((value, quote(value, safe=""), base64.b64encode(value.encode()).decode()))


def redact(text: str) -> str:
    """The text without keys: those given to `keep_secret`, and text that looks like one.

    Example:
        >>> redact("Incorrect API key provided: sk-abcdefghijklmnop1234")
        'Incorrect API key provided: [key]'
    """
    return _KEY_SHAPES.sub("[key]", without_secrets(text))


def without_secrets(text: str) -> str:
    """The text without the keys given to `keep_secret`; text that merely looks like a key stays."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, "[key]")
    return text


def reading_problem(error: Exception) -> str:
    """What is wrong with a mapping that could not be read, in words rather than Python's.

    Example:
        >>> reading_problem(KeyError("counts")), reading_problem(ValueError("prior sums to 2"))
        ('the key counts is missing', 'prior sums to 2')
    """
    if isinstance(error, KeyError):
        return f"the key {error.args[0]} is missing"
    if isinstance(error, AttributeError | TypeError):
        return "a value is of the wrong kind"
    return str(error)


def describe_value(value: Any) -> str:
    """Describe a value for an error message, on one short line."""
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    import json

    text = "nothing" if value is None else json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 60 else f"{text[:57]}…"


def did_you_mean(word: str, names: Collection[str]) -> str:
    """The end of a message that suggests the nearest name; empty without one.

    Example:
        >>> did_you_mean("teirs", ("tiers", "task"))
        '; did you mean tiers?'
    """
    import difflib

    near = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""


class AutomixError(Exception):
    """Base of all errors that are reported to the user without a traceback.

    Example:
        >>> str(AutomixError("no tiers", hint="add a tier"))
        'no tiers'
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(AutomixError):
    """Options that are unknown, missing or contradict each other."""

    exit_code = 2


class MissingKey(UsageError):
    """A key is in no variable of the environment: no run can begin.

    Attributes:
        variable: the one that it is looked for in.
    """

    def __init__(self, message: str, *, variable: str) -> None:
        hint = f'export {variable}=…, or without a key: automix ask --profile demo "What is 17 * 23?"'
        super().__init__(message, hint=hint)
        self.variable = variable


class ProfileError(AutomixError):
    """A profile that is missing, malformed or has values that are not allowed."""

    exit_code = 2


class DataError(AutomixError):
    """An input file or row that cannot be used."""

    exit_code = 2


class StorageError(AutomixError):
    """The cache or an output file cannot be read or written."""


class GateError(AutomixError):
    """A result did not reach the level that a gate requires.

    Attributes:
        report: what `--json` prints of the run, where it got that far and a Python program called it.
    """

    exit_code = 5
    report: Any = None


class BackendError(AutomixError):
    """A call gave no usable completion.

    Attributes:
        kind: the `error.type` of an output row.
        retryable: a retry may help.
        fatal: every further call to this endpoint would fail the same way.
        retries: the most retries for this kind of error; None leaves it to the settings.
        retry_after: seconds the provider asked to wait, if it did.
        maybe_billed: the provider may charge for the failed attempt.
        attempts: how many times the call was tried; 0 for one that was not sent at all.
        row_usd: list price of what its row had bought before, where every tier was asked; None for unknown.
        reply: a `records.Completion` without text that holds the usage of an unusable reply, which is
            charged; None where no reply came.
        lasts: whether the same request is likely to meet it again; it is then remembered.
    """

    kind = "bad_response"
    retryable = False
    fatal = False
    retries: int | None = None

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        retry_after: float | None = None,
        maybe_billed: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        self.maybe_billed = maybe_billed
        self.attempts = 1
        self.row_usd: float | None = 0.0
        self.reply: Any = None
        self.lasts = True


class RateLimited(BackendError):
    """The provider limits the rate of calls (429, not a quota).

    Attributes:
        lacks_room: the service that was asked for, such as flex, has no room at the moment.
    """

    kind = "rate_limit"
    retryable = True
    lacks_room = False


class Unauthorised(BackendError):
    """Key missing or refused: the run cannot go on."""

    kind = "auth"
    fatal = True


class QuotaExhausted(BackendError):
    """Payment due, or a quota or budget at the provider used up: the run cannot go on."""

    kind = "quota"
    fatal = True


class TimedOut(BackendError):
    """No completion within the deadline; the provider may still charge for it."""

    kind = "timeout"
    retryable = True


class ContextTooLong(BackendError):
    """The prompt does not fit the model's context window."""

    kind = "context_length"


class ContentFiltered(BackendError):
    """The provider's content filter refused the prompt or the completion."""

    kind = "content_filter"


class BadRequest(BackendError):
    """The endpoint refuses this request for good (400, 404, 422).

    Attributes:
        param: the parameter that it refuses, where a field of its answer names one.
        code: what its answer calls the problem.
    """

    param = ""
    code = ""


class UnknownModel(BadRequest):
    """The endpoint knows no such model, or there is no such endpoint (404)."""

    kind = "model"


class BadResponse(BackendError):
    """The endpoint failed, broke off or sent something unusable (5xx, cut body, no choices)."""

    retryable = True


class NoText(BadResponse):
    """A well-formed reply without text: no choices, null or blank content."""

    kind = "no_text"
    retries = 1


class Unreachable(BadResponse):
    """No connection (refused, unknown host, TLS): nothing was sent, nothing can be billed."""


class CacheMiss(BackendError):
    """`--offline` was given and the completion is not in the cache."""

    kind = "cache_miss"


class UnreadVotes(BackendError):
    """No vote of a tier can be read: every further one would be paid for and tell nothing."""

    kind = "unread_votes"
    fatal = True


class BudgetError(BackendError):
    """The call could exceed `--max-cost`, so it was not made."""

    exit_code = 4
    kind = "budget"


NO_ANSWER_ERRORS: tuple[type[BackendError], ...] = (ContextTooLong, ContentFiltered, NoText)
"""The errors that say "this tier has no answer to this question", however often it is asked.

They are an outcome, which scores 0. All others are troubles of transport, money or keys, and say
nothing of the tier.
"""
