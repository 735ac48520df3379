"""What strangers may send to the page: bodies and uploads of a bounded size, files and no addresses, and a sentence
where the disk is full. Gradio bounds single files only."""

from __future__ import annotations

import shutil
from pathlib import Path

import gradio as gr
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mtl.settings import page_files
from mtl.ui.context import FULL, logger, no_room

UPLOAD = "/gradio_api/upload"
MOST_OF_AN_UPLOAD = 130_000_000
"""Bytes of all files of one upload."""
LEAST_FREE = 300_000_000
"""Bytes that uploads leave free on the disk, a tenth of a small one: what the app itself writes has room then."""


def refuse_addresses() -> None:
    """Has every file field of this process take files only: Gradio's own fetches whatever address a program sends it.

    On Gradio's class and not on one of ours: a field that changes is made again, by its class, in each session.
    """
    plain = gr.File.async_move_resource_to_block_cache
    if getattr(plain, "files_only", False):
        return

    async def files_only(field: gr.File, place: str | Path | None) -> str | None:
        if "://" in str(place):
            raise gr.Error("Upload the file itself; addresses are not fetched.", print_exception=False)
        moved: str | None = await plain(field, place)
        return moved

    files_only.files_only = True  # type: ignore[attr-defined]
    gr.File.async_move_resource_to_block_cache = files_only


class BodyLimit:
    """ASGI, outermost: 413 for a body that is too large, 507 for an upload that the disk has no room for."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_upload = scope["path"].rstrip("/").endswith(UPLOAD)
        most = MOST_OF_AN_UPLOAD if is_upload else self.most
        too_large = JSONResponse({"detail": f"More than {most:,} bytes, which is the limit."}, 413)
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdecimal() and int(length) > most:
            await too_large(scope, receive, send)
            return
        if is_upload and not _has_room():
            logger.error("there is no room on the disk for an upload")
            await JSONResponse({"detail": FULL}, 507)(scope, receive, send)
            return
        size, answered = 0, False

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > most:
                raise _TooLargeError
            return message

        async def noted(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except _TooLargeError:
            if not answered:
                await too_large(scope, receive, send)


class _TooLargeError(Exception):
    """Ends the reading of a body."""


def _has_room() -> bool:
    folder = page_files()
    disk = shutil.disk_usage(folder if folder.is_dir() else folder.parent)
    return disk.free > min(LEAST_FREE, disk.total // 10)


async def storage_failed(_: Request, error: Exception) -> JSONResponse:
    """507 where there is no room; any other fault of a file goes on as it came."""
    if not no_room(error):
        raise error
    logger.error("there is no room on the disk for an upload: %s", error)
    return JSONResponse({"detail": FULL}, 507)
