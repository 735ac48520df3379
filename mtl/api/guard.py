"""Around every request: an id, a line in the log, a place in the figures, and the limits of what a stranger may send.

The log holds no text, no key and no address of a client, only what was asked, how it ended and how long it took.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
import uuid
from collections.abc import Sequence

from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mtl.api.failures import busy, failed
from mtl.api.figures import Figures
from mtl.settings import Settings

logger = logging.getLogger("mtl.api")

ASKED_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
BODY_S, SEND_S = 20.0, 60.0
"""So long the body of a request may take to arrive, and an answer to be taken."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Any other word may stand for a method; figures have one name for all of them."""
MOST_HELD = 20
"""Bodies of the largest size that may be on their way at once, in and out, all clients together."""
PART = 65_536
"""Bytes of an answer that are sent at a time: a client that does not read holds no more than the next one."""
QUIET = ("/healthz", "/readyz", "/metrics")
"""Asked every few seconds by machines; not worth a line in the log where all is well."""
FAULT = "A fault of the program; the log has more under this request id."


class Account:
    """ASGI, around all of `/api`: gives an id, writes the log, counts, and answers where the program is at fault."""

    def __init__(self, app: ASGIApp, figures: Figures) -> None:
        self.app, self.figures = app, figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        request_id = asked if ASKED_ID.fullmatch(asked) else uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status, begun = 0, time.perf_counter()

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                headers["Cache-Control"] = "no-store"
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            await self.app(scope, receive, told)
        except Exception:
            logger.exception("a fault of the program", extra={"request_id": request_id})
            if status:
                raise
            await failed(scope, 500, FAULT)(scope, receive, told)
        finally:
            self._note(scope, status, time.perf_counter() - begun, state)

    def _note(self, scope: Scope, status: int, seconds: float, state: dict[str, object]) -> None:
        found = scope.get("route")
        route = str(getattr(found, "path", "other"))
        method = scope["method"] if scope["method"] in METHODS else "other"
        read = state.get("read")
        read = read if isinstance(read, dict) else {}
        self.figures.add(method, route, status, seconds, read)
        told = {"request_id": state["request_id"], "ms": round(seconds * 1000, 1), "status": status, **read}
        level = logging.DEBUG if route in QUIET and status == 200 else logging.INFO
        extra = {**told, "method": method, "route": route}
        logger.log(level, "%s %s %d %.0f ms", method, route, status, seconds * 1000, extra=extra)


class Gate:
    """ASGI: refuses a body that is too large or too slow; under /v1 also who has no key, or asks too often.

    What lies outside /v1 takes no body: none is read there. An answer goes out in parts, within the time of a request.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings
        self.keys = [key.encode() for key in settings.api_keys]
        self.rate = parse(settings.rate_limit) if settings.rate_limit else None
        self.limiter = MovingWindowRateLimiter(MemoryStorage())
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        no = self._refusal(scope)
        if no is not None:
            await no(scope, receive, send)
            return
        if not _path(scope).startswith("/v1/"):
            await self.app(scope, receive, send)
            return
        body = await self._body(scope, receive)
        if isinstance(body, Response):
            await body(scope, receive, send)
            return
        given = False

        async def whole() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def in_parts(message: Message) -> None:
            content = message.get("body", b"")
            if message["type"] != "http.response.body" or len(content) <= PART:
                await send(message)
                return
            self.held += len(content)
            try:
                await asyncio.wait_for(_send(content, message.get("more_body", False), send), SEND_S)
            except (asyncio.TimeoutError, TimeoutError):
                logger.warning("an answer was not read within %.0f seconds", SEND_S)
            finally:
                self.held -= len(content)

        await self.app(scope, whole, in_parts)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        path = _path(scope)
        if path.startswith("/v1/") or path == "/metrics":
            scheme, _, key = headers.get("authorization", "").partition(" ")
            sent = (key.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")).encode("latin-1")
            if self.keys and not _is_one_of(sent, self.keys):
                said = "The key is missing or wrong; send it as Authorization: Bearer KEY."
                return failed(scope, 401, said, headers={"WWW-Authenticate": "Bearer"})
        if path.startswith("/v1/") and self.rate is not None:
            client = self._client(scope, headers)
            if not self.limiter.hit(self.rate, client):
                wait = self.limiter.get_window_stats(self.rate, client).reset_time - time.time()
                return busy(scope, 429, f"The limit is {self.settings.rate_limit}; ask again later.", int(wait) + 1)
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.settings.max_body_bytes:
            return self._too_large(scope)
        return None

    def _client(self, scope: Scope, headers: Headers) -> str:
        """Who asks: the peer, or where proxies are trusted who the last but so many of them says it is."""
        told = [part.strip() for part in ",".join(headers.getlist("x-forwarded-for")).split(",") if part.strip()]
        trusted = self.settings.trusted_proxies
        if trusted and len(told) >= trusted:
            return told[-trusted][:64]
        peer = scope.get("client")
        return str(peer[0]) if peer else "unknown"

    async def _body(self, scope: Scope, receive: Receive) -> bytes | Response:
        parts: list[bytes] = []
        end = time.monotonic() + BODY_S
        try:
            return await self._gathered(scope, receive, parts, end)
        finally:
            self.held -= sum(map(len, parts))

    async def _gathered(self, scope: Scope, receive: Receive, parts: list[bytes], end: float) -> bytes | Response:
        size = 0
        while True:
            try:
                message = await asyncio.wait_for(receive(), max(0.001, end - time.monotonic()))
            except (asyncio.TimeoutError, TimeoutError):
                said = f"The body did not arrive within {BODY_S:.0f} seconds; send it again."
                return failed(scope, 408, said, headers={"Connection": "close"})
            if message["type"] == "http.disconnect":
                return failed(scope, 400, "The client went away.")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            self.held += len(parts[-1])
            if self.held > MOST_HELD * self.settings.max_body_bytes:
                return busy(scope, 503, "Too many large requests arrive at once; ask again in a moment.", 2)
            if size > self.settings.max_body_bytes:
                return self._too_large(scope)
            if not message.get("more_body", False):
                return b"".join(parts)

    def _too_large(self, scope: Scope) -> Response:
        said = f"The body is larger than {self.settings.max_body_bytes:,} bytes, which is the limit; send it in parts."
        return failed(scope, 413, said, headers={"Connection": "close"})


def _path(scope: Scope) -> str:
    """What is asked for, without the place at which the API is mounted."""
    path: str = scope["path"][len(scope.get("root_path", "")) :]
    return path


async def _send(content: bytes, more: bool, send: Send) -> None:
    """A body in parts; each waits until the client took the one before."""
    for start in range(0, len(content), PART):
        last = start + PART >= len(content)
        part = content[start : start + PART]
        await send({"type": "http.response.body", "body": part, "more_body": more or not last})


def _is_one_of(sent: bytes, keys: Sequence[bytes]) -> bool:
    """Compares with every key, each in constant time."""
    return sum(hmac.compare_digest(sent, key) for key in keys) > 0
