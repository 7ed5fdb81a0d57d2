"""Connections over real sockets: used again or not, to an address that answers, over TLS, through a proxy."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from automix_cli.backends import http_connections
from automix_cli.backends.http_connections import Connections, NotConnected, ProxyRefused
from automix_cli.backends.http_target import Target

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n391"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A server on 127.0.0.1: answers each request by `reply`, and keeps what it read."""

    def __init__(self, reply: bytes = REPLY, after: Serve | None = None) -> None:
        self.reply, self.after = reply, after
        self.connections = 0
        self.requests: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0] or 0)
                self.requests.append(head + await reader.readexactly(length))
                writer.write(self.reply)
                await writer.drain()
                if self.after is not None:
                    await self.after(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def no_certificates() -> ssl.SSLContext:
    raise AssertionError("no TLS is spoken here")


def talk(
    server: Server,
    job: Callable[[Connections, int], Awaitable[Any]],
    trust: Callable[[], ssl.SSLContext] = no_certificates,
    context: ssl.SSLContext | None = None,
) -> Any:
    """What a job with a pool of connections, and the port of a server, comes to."""

    async def main() -> Any:
        listener = await asyncio.start_server(server, "127.0.0.1", 0, ssl=context)
        pool = Connections(trust)
        try:
            return await job(pool, listener.sockets[0].getsockname()[1])
        finally:
            await pool.aclose()
            listener.close()

    return asyncio.run(asyncio.wait_for(main(), 20))


def target(port: int, host: str = "127.0.0.1", key: str | None = None, proxy: str | None = None) -> Target:
    return Target.of(f"http://{host}:{port}/v1/chat/completions", key, proxy)


async def two_posts(pool: Connections, port: int) -> list[bytes]:
    """The bodies that two requests get, with time between them for what the server does after a reply."""
    bodies = []
    for _ in range(2):
        bodies.append((await pool.post(target(port), b"{}")).body)
        await asyncio.sleep(0.02)
    return bodies


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def talk_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 408 Request Timeout\r\n\r\n")


@pytest.mark.parametrize(
    ("server", "connections"),
    [
        (Server(), 1),
        (Server(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\n391"), 2),
        (Server(b"HTTP/1.0 200 OK\r\n\r\n391", hang_up), 2),
        (Server(after=hang_up), 2),
        (Server(after=talk_on), 2),
        (Server(REPLY + b"x"), 2),
    ],
)
def test_a_connection_is_used_again_where_the_server_lets_it(server: Server, connections: int) -> None:
    assert talk(server, two_posts) == [b"391", b"391"]
    assert server.connections == connections


def test_a_connection_that_waited_for_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connections, "_IDLE_SECONDS", 0.01)
    server = Server()
    talk(server, two_posts)
    assert server.connections == 2


def test_a_request_is_sent_once_though_the_connection_breaks() -> None:
    server = Server(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n391", hang_up)
    with pytest.raises(ConnectionError):
        talk(server, two_posts)
    assert len(server.requests) == 1


def test_a_request_is_what_is_said_of_it() -> None:
    server = Server()
    ports: list[int] = []

    async def job(pool: Connections, port: int) -> None:
        ports.append(port)
        await pool.post(target(port, key="sk-1"), b'{"n":1}')

    talk(server, job)
    assert server.requests == [
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: automix\r\n"
        b"Content-Type: application/json\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
        b'Authorization: Bearer sk-1\r\nContent-Length: 7\r\n\r\n{"n":1}' % ports[0]
    ]


@pytest.mark.parametrize("key", ["sk-1\r\nX-Planted: 1", "sk\n1", "sk\0"])
def test_a_key_cannot_write_a_header_of_its_own(key: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        target(80, key=key)


def test_the_next_address_of_a_host_is_tried_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    connect_to = Connections._connect_to

    async def noting(self: Connections, address: str, *rest: Any) -> Any:
        tried.append(address)
        return await connect_to(self, address, *rest)

    async def job(pool: Connections, port: int) -> None:
        found = [(0, 0, 0, "", (address, port)) for address in ("127.0.0.9", "127.0.0.1")]

        async def addresses(*_: Any, **__: Any) -> Any:
            return found

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses)
        await asyncio.gather(*(pool.post(target(port, "localhost"), b"{}") for _ in range(2)))
        tried.append("again")
        await asyncio.gather(*(pool.post(target(port, "localhost"), b"{}") for _ in range(3)))

    monkeypatch.setattr(Connections, "_connect_to", noting)
    talk(Server(), job)
    assert set(tried[: tried.index("again")]) == {"127.0.0.9", "127.0.0.1"}
    assert tried[tried.index("again") + 1 :] == ["127.0.0.1"]


# ---------------------------------------------------------------- TLS and proxies


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost, with its key, that nobody has signed."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ("-addext", "subjectAltName=DNS:localhost", "-keyout", str(path), "-out", str(path))
    subprocess.run(["openssl", *words.split(), *names], check=True, capture_output=True)
    return path


def speaks_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


def trusting(certificate: Path) -> Callable[[], ssl.SSLContext]:
    return lambda: ssl.create_default_context(cafile=str(certificate))


def secure(port: int, proxy: str | None = None) -> Target:
    return Target.of(f"https://localhost:{port}/v1/chat/completions", None, proxy)


def test_tls_is_spoken_with_a_server_whose_certificate_is_trusted(certificate: Path) -> None:
    async def job(pool: Connections, port: int) -> list[bytes]:
        return [(await pool.post(secure(port), b"x" * 1_000_000)).body for _ in range(2)]

    server = Server()
    assert talk(server, job, trusting(certificate), speaks_tls(certificate)) == [b"391", b"391"]
    assert server.connections == 1
    assert len(server.requests[0]) > 1_000_000


def test_a_server_that_is_not_trusted_gets_nothing(certificate: Path) -> None:
    server = Server()
    with pytest.raises(NotConnected) as caught:
        talk(
            server,
            lambda pool, port: pool.post(secure(port), b"{}"),
            ssl.create_default_context,
            speaks_tls(certificate),
        )
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    assert not server.requests


class Tunnel:
    """A proxy that connects to where it is told to, and passes on what comes from either side."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        _, port = self.heads[0].split(b" ")[1].split(b":")
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_pass_on(reader, far_writer), _pass_on(far_reader, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
    except ConnectionError:
        pass
    finally:
        writer.close()


def test_tls_goes_through_the_tunnel_of_a_proxy(certificate: Path) -> None:
    tunnel = Tunnel()

    async def job(pool: Connections, port: int) -> list[bytes]:
        proxy = await asyncio.start_server(tunnel, "127.0.0.1", 0)
        address = f"http://me:s%20cret@127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        bodies = [(await pool.post(secure(port, address), b"{}")).body for _ in range(2)]
        proxy.close()
        return bodies

    server = Server()
    assert talk(server, job, trusting(certificate), speaks_tls(certificate)) == [b"391", b"391"]
    (head,) = tunnel.heads
    assert head.startswith(b"CONNECT localhost:")
    assert b"\r\nProxy-Authorization: Basic bWU6cyBjcmV0\r\n" in head
    assert not any(b"Proxy-" in request for request in server.requests)


def test_a_proxy_passes_on_what_is_not_secret() -> None:
    server = Server()  # in the place of the proxy
    talk(
        server,
        lambda pool, port: pool.post(target(9, "example.com", None, f"http://127.0.0.1:{port}"), b"{}"),
    )
    assert server.requests[0].startswith(
        b"POST http://example.com:9/v1/chat/completions HTTP/1.1\r\nHost: example.com:9\r\n"
    )


@pytest.mark.parametrize(
    "reply", [b"HTTP/1.1 403 Forbidden\r\n\r\n", b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"]
)
def test_a_proxy_that_refuses_gets_no_request(reply: bytes) -> None:
    server = Server(reply, hang_up)
    with pytest.raises(ProxyRefused):
        talk(server, lambda pool, port: pool.post(secure(443, f"http://127.0.0.1:{port}"), b"the prompt"))
    assert not any(b"the prompt" in request for request in server.requests)
