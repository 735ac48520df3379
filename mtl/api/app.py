"""The REST API as one ASGI app, to be mounted at /api beside the page."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from fastapi import FastAPI, Request, Security
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import RedirectResponse, Response

from mtl.api import schemas
from mtl.api.contract import DESCRIPTION, ERRORS, completed
from mtl.api.failures import busy, speak
from mtl.api.figures import Figures
from mtl.api.guard import Account, Gate
from mtl.api.routes import build_routes
from mtl.service.readiness import Readiness
from mtl.service.service import Service

logger = logging.getLogger(__name__)

PROBE_S = 4.0
"""So long an idle model may take to answer."""


def build_api(service: Service) -> FastAPI:
    """Everything under /api. Its documentation asks no other host for anything."""
    figures = Figures(service)
    api: FastAPI = FastAPIOffline(
        title="mtl", version="1", description=DESCRIPTION, docs_url="/docs", redoc_url=None, openapi_url="/openapi.json"
    )
    speak(api)
    key = [Security(HTTPBearer(auto_error=False, description="The key of this service."))]  # `Gate` compares it
    responses = {status: {**said, "model": schemas.ErrorResponse} for status, said in ERRORS.items()}
    api.include_router(
        build_routes(service, responses=responses, dependencies=key if service.settings.api_keys else [])
    )
    _add_health(api, service, figures)
    api.add_middleware(Gate, settings=service.settings)
    api.add_middleware(Account, figures=figures)
    plain = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            api.openapi_schema = completed(plain(), service)
        return api.openapi_schema

    api.openapi = openapi  # type: ignore[method-assign]
    return api


def _add_health(api: FastAPI, service: Service, figures: Figures) -> None:
    passing: dict[int | str, dict[str, Any]] = {503: {"model": schemas.ErrorResponse, "description": "Not now."}}

    @api.get("/healthz", response_model=schemas.Health, tags=["Health"])
    async def healthz() -> dict[str, str]:
        """The process lives. Restart it where this fails."""
        return {"status": "ok"}

    @api.get("/readyz", response_model=schemas.Health, tags=["Health"], responses=passing)
    async def readyz(request: Request) -> Response | dict[str, str]:
        """The model answers, and the service is not about to stop. Send it nobody where this fails."""
        why = await _unready(service.readiness)
        return {"status": "ready"} if why is None else busy(request.scope, 503, why, 5)

    @api.get("/metrics", tags=["Health"], response_class=Response)
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(generate_latest(figures.registry), media_type=CONTENT_TYPE_LATEST)

    @api.get("/", include_in_schema=False)
    async def root(request: Request) -> RedirectResponse:
        return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")


async def _unready(readiness: Readiness) -> str | None:
    """Why nobody should be sent here, None where the model answers; an idle one is asked."""
    if readiness.closing:
        return "The service is about to stop."
    if readiness.fresh:
        return None
    try:
        await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(readiness.probe())), PROBE_S)
    except (asyncio.TimeoutError, TimeoutError):
        return f"The model has not answered for {PROBE_S:.0f} seconds."
    except Exception:
        logger.exception("the model does not answer")
        return "The model does not answer; the log says why."
    return None
