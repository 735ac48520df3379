"""What strangers may send to the page: bodies and uploads of a bounded size, files and no addresses, and a sentence
where the disk is full. Gradio by itself bounds single files only."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import gradio as gr
from annotated_types import MaxLen
from gradio import data_classes as bodies
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mtl.settings import page_files
from mtl.ui.context import FULL, logger, no_room

UPLOAD = "/gradio_api/upload"
FETCHED = ("/gradio_api/file=http:", "/gradio_api/file=https:", "/gradio_api/proxy=")
MOST_OF_AN_UPLOAD = 130_000_000
"""Bytes of all files of one upload."""
LEAST_FREE = 300_000_000
"""Bytes that uploads leave free on the disk, a tenth of a small one: what the app itself writes has room then."""
LOOK_BYTES = 1_000_000
"""Bytes of an upload between two looks at the disk."""
ABANDONED_S = 600
"""An upload that grew no more for so long will not be finished."""
MOST_OF_A_PAGE = 64
"""Characters of the number that a page gives itself: Gradio keeps it in several places."""


def narrow_gradio() -> None:
    """Has Gradio take less from strangers, in this process: no field fetches an address, and the number of a page is
    short. To be called before an app is launched.

    On Gradio's classes and not on some of ours: a field that changes is made again, by its class, in each session.
    """
    plain = gr.blocks.Block.async_move_resource_to_block_cache
    if getattr(plain, "files_only", False):
        return

    async def files_only(field: gr.blocks.Block, place: str | Path | None) -> str | None:
        if "://" in str(place):
            raise gr.Error("Upload the file itself; addresses are not fetched.", print_exception=False)
        moved: str | None = await plain(field, place)
        return moved

    files_only.files_only = True  # type: ignore[attr-defined]
    gr.blocks.Block.async_move_resource_to_block_cache = files_only
    for body in (bodies.PredictBody, bodies.SimplePredictBody, bodies.CancelBody, bodies.ComponentServerJSONBody):
        body.model_fields["session_hash"].metadata.append(MaxLen(MOST_OF_A_PAGE))
        body.model_rebuild(force=True)
    bodies.PredictBodyInternal.model_rebuild(force=True)


def sweep_uploads(older_than_s: float = ABANDONED_S) -> int:
    """Deletes what uploads left that were broken off, which Gradio does not; how many there were."""
    oldest, n = time.time() - older_than_s, 0
    for part in page_files().glob("tmp*"):
        try:
            if part.is_file() and part.stat().st_mtime < oldest:
                part.unlink()
                n += 1
        except OSError:  # it became a whole upload in between
            continue
    return n


class PageGate:
    """ASGI, before Gradio: 413 for a body that is too large, 507 for an upload that the disk has no room for, 404 for
    an address that Gradio would fetch for whoever asks.

    What goes to /api passes: it has limits and an account of its own.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")[len(scope.get("root_path", "")) :].rstrip("/")
        if scope["type"] != "http" or path.startswith("/api/"):
            await self.app(scope, receive, send)
            return
        if path.startswith(FETCHED):
            await JSONResponse({"detail": "Addresses are not fetched."}, 404)(scope, receive, send)
            return
        is_upload = path == UPLOAD
        most = MOST_OF_AN_UPLOAD if is_upload else self.most
        too_large = JSONResponse({"detail": f"More than {most:,} bytes, which is the limit."}, 413)
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdecimal() and int(length) > most:
            await too_large(scope, receive, send)
            return
        room = JSONResponse({"detail": FULL}, 507)
        size, looked, answered = 0, -LOOK_BYTES, False

        async def counted() -> Message:
            nonlocal size, looked
            message = await receive()
            size += len(message.get("body", b""))
            if size > most:
                raise _StopError(too_large)
            if is_upload and size - looked >= LOOK_BYTES:
                looked = size
                if not _has_room():
                    logger.error("there is no room on the disk for an upload")
                    raise _StopError(room)
            return message

        async def noted(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except _StopError as stop:
            if not answered:
                await stop.answer(scope, receive, send)


class _StopError(Exception):
    """Ends the reading of a body."""

    def __init__(self, answer: JSONResponse) -> None:
        super().__init__()
        self.answer = answer


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
