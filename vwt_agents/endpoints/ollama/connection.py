"""The connection to one server: a pool that is built at first use, and requests the `ollama` package has no argument for.

Owns the package's client and what is cut short around it; knows no model and maps no error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vwt_agents.endpoints.address import server_url
from vwt_agents.hosts import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx
    import ollama

__all__ = ["Connection"]

_CONNECT_S: Final = 5.0


class Connection:
    """One pool to one server at `url`; `token` goes along as a bearer token. No time limit but that of connecting."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = server_url(url)
        self._token = token
        self._client: ollama.AsyncClient | None = None
        self._direct: httpx.AsyncHTTPTransport | None = None
        self._urls: dict[str, httpx.URL] = {}

    async def close(self) -> None:
        """Close the pool; the next use builds another."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()  # type: ignore[no-untyped-call]

    @property
    def client(self) -> ollama.AsyncClient:
        """The package's client for this server."""
        if self._client is None:
            import httpx
            import ollama

            tls = self.url.startswith("https:")  # or 20 ms go into certificates that nobody needs
            limits = httpx.Limits(
                max_connections=None, max_keepalive_connections=16
            )  # a probe never waits behind calls
            if is_loopback(self.url):  # a proxy for the outside world would swallow its calls
                self._direct = httpx.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits)
            self._client = ollama.AsyncClient(
                self.url,
                headers={"Authorization": f"Bearer {self._token}"} if self._token else None,
                # a client that gives up during a load makes the server abort it
                timeout=httpx.Timeout(None, connect=_CONNECT_S),
                limits=limits,
                verify=tls,
                trust_env=self._direct is None,
                transport=self._direct,
            )
        return self._client

    async def raw(self, *request: str, **body: Any) -> Any:
        """What the package has no verb or no argument for, through the same connection."""
        reply = await self.client._request_raw(*request, **body)  # type: ignore[no-untyped-call]  # noqa: SLF001
        return reply.json()

    async def ask(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        """The server's reply to a request for an answer, to be read and closed. ollama.ResponseError where it refuses."""
        import httpx
        import ollama

        # AsyncClient.chat() has no `truncate`, and makes a pydantic model of every message and every part
        pool: httpx.AsyncClient = self.client._client  # noqa: SLF001
        if path not in self._urls:  # kept: putting it together anew takes longer than all the rest of the request
            self._urls[path] = pool.build_request("POST", path).url
        asked = httpx.Request(
            "POST",
            self._urls[path],
            headers=pool.headers,
            cookies=pool.cookies,
            json=body,
            extensions={"timeout": pool.timeout.as_dict()},
        )
        reply = await self._sent(asked, pool)
        if reply.is_success:
            return reply
        try:
            await reply.aread()
            raise ollama.ResponseError(reply.text, reply.status_code)
        finally:
            await reply.aclose()

    async def _sent(self, asked: httpx.Request, pool: httpx.AsyncClient) -> httpx.Response:
        # What the client adds to its transport (redirects, cookies, logins) costs more than all we do for a call ourselves,
        # and a server on this machine has no use for it.
        if self._direct is not None:
            reply = await self._direct.handle_async_request(asked)
            if not reply.has_redirect_location:
                return reply
            await reply.aclose()
        return await pool.send(asked, stream=True)
