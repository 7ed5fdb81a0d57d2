"""The direct client: the OpenAI protocol over HTTP, with nothing between it and the server.

It follows no redirect, reads no body without a bound, sends a key to its own host only, and knows no
variable of the environment but the key's, and a proxy for hosts that are not this machine.
"""

from __future__ import annotations

import os
import ssl
import urllib.request
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from automix_cli.backends.answers import json_object, read_pieces
from automix_cli.backends.bare_contexts import bare_contexts
from automix_cli.backends.base import Request
from automix_cli.backends.catalog import is_loopback, provider_of
from automix_cli.backends.client import Client
from automix_cli.backends.connections import connection_error
from automix_cli.backends.endpoints import DUMMY_KEY, Endpoint, openai_endpoint
from automix_cli.backends.openai_providers import PROVIDERS, gives_logprobs, name_on_wire, own_params
from automix_cli.backends.openai_wire import chat_body, embedding_body, read_chat, read_embedding
from automix_cli.backends.places import leave_place
from automix_cli.backends.refusals import Refusal, status_error, with_hint
from automix_cli.backends.replies import Reply
from automix_cli.errors import BackendError, BadRequest

with bare_contexts():
    import aiohttp

CONNECT_SECONDS = 30.0
"""Within which a connection must be made; until then nothing was sent, and nothing is billed."""

_HEADERS = {
    "User-Agent": "automix",
    "Content-Type": "application/json",
    "Accept-Encoding": "identity",
}


class _Route(NamedTuple):
    """How requests to one address go out; `where` names it in messages."""

    where: str
    proxy: str | None
    speaks_tls: bool
    headers: dict[str, str] | None


@dataclass(slots=True)
class DirectBackend(Client):
    """Completions from every provider in `openai_providers.PROVIDERS`; see `Client`."""

    _session: aiohttp.ClientSession | None = None
    _endpoints: dict[tuple[str, str | None, str | None], Endpoint] = field(default_factory=dict, repr=False)
    _routes: dict[tuple[str, str | None], _Route] = field(default_factory=dict, repr=False)
    _proxies: dict[str, str | None] = field(default_factory=dict, repr=False)
    _certificates: ssl.SSLContext | None = field(default=None, repr=False)

    async def aclose(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def endpoint(self, request: Request) -> Endpoint:
        """Address and key of a request, looked up once for a model and address, and anew after an error."""
        key = (request.model, request.api_base, request.api_key_env)
        endpoint = self._endpoints.get(key)
        if endpoint is None:
            environ = os.environ if self.environ is None else self.environ
            endpoint = self._endpoints[key] = openai_endpoint(request, environ)
        return endpoint

    def provider_takes_n(self, model: str) -> bool:
        """Whether the list of providers has it so."""
        return PROVIDERS[self._provider(model)].takes_n

    def supports_logprobs(self, model: str) -> bool:
        """Whether a model returns the log-probabilities of its likeliest tokens."""
        provider = self._provider(model)
        return gives_logprobs(provider, name_on_wire(provider, model))

    async def exchange(self, request: Request) -> Reply:
        """Send one request and read the reply; once more when a refusal can be avoided."""
        endpoint = self.endpoint(request)
        name = name_on_wire(endpoint.provider, request.model, embeds=request.embeds)
        while True:
            params = own_params(
                endpoint.provider, self.params_for(request), own_address=request.api_base is None
            )
            try:
                if request.embeds:
                    body = embedding_body(request, name, params)
                    return read_embedding(await self._send("embeddings", body, endpoint))
                body = chat_body(request, name, params)
                return read_chat(await self._send("chat/completions", body, endpoint))
            except BackendError as error:
                if type(error) is BadRequest:
                    refusal = Refusal(error.param, error.code)
                    if self.learn(request, params, error.message, refusal):
                        continue
                self._endpoints.clear()
                self._routes.clear()  # whoever sets another key or address expects it to be taken
                raise with_hint(error, request.model, endpoint.key_env) from error.__cause__

    async def _send(self, path: str, body: bytes, endpoint: Endpoint) -> dict[str, Any]:
        """Post a body once and return the JSON object that comes back.

        Raises:
            BackendError: for anything but a 200 with a JSON object.
        """
        url = f"{endpoint.api_base}/{path}"
        route = self._routes.get((url, endpoint.api_key)) or self._route(url, endpoint.api_key)
        try:
            async with self._open_session().post(
                url,
                data=body,
                headers=route.headers,
                allow_redirects=False,
                proxy=route.proxy,
                ssl=self._trust_store() if route.speaks_tls else True,
            ) as response:
                packing = response.headers.get("Content-Encoding", "identity")
                answer = await read_pieces(response.content.iter_any(), packing)
                status, reply_headers = response.status, response.headers
                if status < 300:
                    leave_place()
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as exc:
            raise connection_error(exc, urlsplit(url).scheme, route.where) from exc
        if status >= 300:
            lower = {name.lower(): value for name, value in reply_headers.items()}
            raise status_error(status, lower, answer, route.where, body)
        return json_object(answer, route.where, body)

    def _route(self, url: str, key: str | None) -> _Route:
        """How requests to an address go out, worked out once for each key."""
        parts = urlsplit(url)
        proxy = self._proxy(parts.scheme, parts.hostname or "", url)
        speaks_tls = parts.scheme == "https" or (proxy or "").startswith("https:")
        headers = {"Authorization": f"Bearer {key}"} if key and key != DUMMY_KEY else None
        route = self._routes[url, key] = _Route(parts.netloc, proxy, speaks_tls, headers)
        return route

    def _open_session(self) -> aiohttp.ClientSession:
        """The connections of this run; how many at once is for `retrier` to say."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                auto_decompress=False,
                trust_env=False,  # a `.netrc` may hold a key for this host, which is not ours to send
                headers=_HEADERS,
            )
        return self._session

    def _proxy(self, scheme: str, host: str, url: str) -> str | None:
        """The environment's proxy for a host; this machine's own servers are beyond its reach."""
        if host not in self._proxies:
            proxies = urllib.request.getproxies()
            proxy = proxies.get(scheme) or proxies.get("all")
            if not proxy or is_loopback(url) or urllib.request.proxy_bypass(host):
                proxy = None
            self._proxies[host] = proxy if proxy is None or "://" in proxy else f"http://{proxy}"
        return self._proxies[host]

    def _trust_store(self) -> ssl.SSLContext:
        """The certificates that are trusted: the system's, or the file that SSL_CERT_FILE names."""
        if self._certificates is None:
            self._certificates = ssl.create_default_context()
            if not (os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")):
                import certifi  # some Pythons find no certificates of the system

                self._certificates.load_verify_locations(certifi.where())
        return self._certificates

    def _provider(self, model: str) -> str:
        return provider_of(model) or model.partition("/")[0]
