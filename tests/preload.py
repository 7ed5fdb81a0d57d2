"""What every forked child finds loaded: the first call of a client takes a while, a fork no time.

Libraries are imported with the streams that a command gives them: their log handlers keep these.
"""

import asyncio
import contextlib
import os

from loopback import Loopback

import automix_cli.backends.cache
import automix_cli.cascade.batch
import automix_cli.cascade.cascade
import automix_cli.cli
import automix_cli.views.lines  # noqa: F401
from automix_cli.backends.base import Request
from automix_cli.backends.litellm import LiteLLMBackend
from automix_cli.backends.openai_http import DirectBackend
from automix_cli.backends.retry import Retrier
from automix_cli.errors import BackendError
from automix_cli.process import own_process
from automix_cli.records import Message
from automix_cli.streams import own_streams


async def warm_up(url: str) -> None:
    """One call of each client."""
    hello = Request(model="openai/none", messages=(Message("user", "hello"),), api_base=url)
    for client in (DirectBackend, LiteLLMBackend):
        backend = client(Retrier(attempts=1, patience=0))
        with contextlib.suppress(BackendError):
            await backend.complete(hello)
        await backend.aclose()


with own_process(), own_streams(open(os.devnull, "w")):  # as long as the process
    asyncio.run(warm_up("http://127.0.0.1:9/v1"))  # nobody listens: errors take modules of their own
    with Loopback() as server:
        asyncio.run(warm_up(server.url))
