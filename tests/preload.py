"""What every forked child finds loaded: the first call through LiteLLM takes seconds, a fork no time.

Libraries are imported with the streams that a command gives them: their log handlers keep these.
"""

import asyncio
import contextlib
import os

import automix_cli.backends.cache
import automix_cli.cascade.batch
import automix_cli.cascade.cascade
import automix_cli.cli
import automix_cli.views.lines  # noqa: F401
from automix_cli.backends.base import Request
from automix_cli.backends.litellm import LiteLLMBackend
from automix_cli.backends.retry import Retrier
from automix_cli.errors import BackendError
from automix_cli.records import Message
from automix_cli.streams import own_streams


async def warm_up() -> None:
    """One call to a port where nobody listens."""
    backend = LiteLLMBackend(Retrier(attempts=1, patience=0))
    hello = (Message("user", "hello"),)
    with contextlib.suppress(BackendError):
        await backend.complete(Request(model="openai/none", messages=hello, api_base="http://127.0.0.1:9/v1"))
    await backend.aclose()


with own_streams(open(os.devnull, "w")):  # as long as the process
    asyncio.run(warm_up())
