"""What an upload is answered when the disk is full: Gradio knows no sentence for it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse

from mtl.ui.context import FULL, logger, no_room


async def storage_failed(_: Request, error: Exception) -> JSONResponse:
    """507 where there is no room; any other fault of a file goes on as it came."""
    if not no_room(error):
        raise error
    logger.error("there is no room on the disk for an upload: %s", error)
    return JSONResponse({"detail": FULL}, 507)
