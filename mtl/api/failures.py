"""Errors as one JSON shape with the right status. The one place where an `MtlError` gets an HTTP status."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import Scope

from mtl.errors import BusyError, MtlError, NotFoundError

logger = logging.getLogger(__name__)

CODES = {
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "content_too_large",
    422: "invalid_request",
    429: "too_many_requests",
    500: "internal_error",
    503: "service_unavailable",
}
"""By status; the names that Python has for them differ from version to version."""
TYPES = {401: "authentication_error", 429: "rate_limit_error"}
SAID = 300
"""Characters of a sentence about somebody's input; what is longer is cut."""


def failed(
    scope: Scope, status: int, message: str, *, param: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An error as a response."""
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    said = {
        "message": message,
        "type": kind,
        "param": param,
        "code": CODES.get(status, "error"),
        "request_id": scope.get("state", {}).get("request_id", ""),
    }
    return JSONResponse({"error": said}, status, headers=dict(headers or {}))


def busy(scope: Scope, status: int, message: str, retry_after_s: int) -> JSONResponse:
    """An error that passes: it says when to ask again."""
    return failed(scope, status, message, headers={"Retry-After": str(max(1, retry_after_s))})


def of_error(scope: Scope, error: MtlError) -> JSONResponse:
    """What a person or program caused."""
    if isinstance(error, BusyError):
        return busy(scope, 503, str(error), error.retry_after_s)
    return failed(scope, 404 if isinstance(error, NotFoundError) else 422, str(error))


def speak(api: FastAPI) -> None:
    """Has every error of an app answered in the one shape."""

    async def mistaken(request: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, MtlError):
            raise error
        return of_error(request.scope, error)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, RequestValidationError):
            raise error
        param, message = _first(error)
        return failed(request.scope, 422, message, param=param)

    async def refused(request: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, HTTPException):
            raise error
        status = 422 if error.status_code == 400 else error.status_code  # a body that is no JSON is like any wrong body
        return failed(request.scope, status, _sentence(error), headers=error.headers)

    api.add_exception_handler(MtlError, mistaken)
    api.add_exception_handler(RequestValidationError, invalid)
    api.add_exception_handler(HTTPException, refused)


def _first(error: RequestValidationError) -> tuple[str | None, str]:
    """Which field is wrong and why, of what comes first; the value itself is not repeated."""
    found = max(error.errors(), key=lambda one: (not _is_other_branch(one), len(one["loc"])))
    if found["type"] == "json_invalid":
        return None, f"The body is not JSON: {found.get('ctx', {}).get('error', 'it cannot be read')}."
    place = [str(part) for part in found["loc"][1:] if not _is_branch(part)]
    name = "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in place).lstrip(".")[:SAID]
    if not name and found["type"] == "value_error":
        return None, f"The body {str(found['msg']).removeprefix('Value error, ')[:SAID]}."
    if not name:
        return None, "The body is no JSON object; send one, with Content-Type: application/json."
    return name, f"{name}: {str(found['msg'])[:SAID]}."


def _is_other_branch(one: Mapping[str, Any]) -> bool:
    """Whether an error only says that a list is no string, of a field that takes both."""
    return one["type"] == "string_type" and isinstance(one["input"], list)


def _is_branch(part: object) -> bool:
    """Whether a part of a place is pydantic's name for one of several types."""
    return isinstance(part, str) and ("[" in part or part in ("str", "int", "constrained-str"))


def _sentence(error: HTTPException) -> str:
    known = {
        404: "There is nothing here; /api/docs lists what there is.",
        405: "This address does not take that method; /api/docs lists what there is.",
        400: "The body cannot be read as JSON.",
    }
    return known.get(error.status_code, str(error.detail)[:SAID])
