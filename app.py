"""Starts the workbench: settings -> service -> page and API. Port and host: GRADIO_SERVER_PORT, GRADIO_SERVER_NAME."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from functools import partial

gc.disable()  # half a second less of importing: what is made until the page is there lasts anyway

from mtl.settings import from_environment, on_zero_gpu

if on_zero_gpu():
    import spaces  # noqa: F401 - before torch, which it prepares for GPUs that come and go

from starlette.middleware import Middleware

from mtl.api.app import build_api
from mtl.errors import MtlError
from mtl.service.logs import adopt, write_logs
from mtl.service.service import Service
from mtl.training.memory import few_arenas
from mtl.ui.app import build_ui
from mtl.ui.states import MOST_SESSIONS, forget_idle
from mtl.ui.storage import PageGate, storage_failed, sweep_uploads
from mtl.ui.theme import CSS, theme

DRAIN_S, CLOSE_S = 3.0, 1.5
"""So long requests may take that were begun when the process was asked to end, and their connections after it."""

KEEP_ALIVE_S = 130
"""Longer than a load balancer in front waits (two minutes in assets/deploy/aws), which would meet closed ones."""

MOST_CONNECTIONS = 4000
"""Of all clients, quiet ones too; who comes beyond gets a 503."""

logger = logging.getLogger("mtl")


def main() -> int:
    """Serves until it is interrupted or told to end; 2 where a setting or the checkpoint is wrong."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        settings = from_environment()
        write_logs(settings.log_format)
        few_arenas()
        service = Service(settings)
    except MtlError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    demo = build_ui(service)
    app, _, _ = demo.launch(
        theme=theme(),
        css=CSS,
        footer_links=["api"],
        auth=("mtl", settings.page_password) if settings.page_password else None,
        max_file_size="64mb",
        mcp_server=not settings.page_password,  # its tools know no password
        state_session_capacity=MOST_SESSIONS,
        ssr_mode=False,
        run_history=False,
        show_error=False,
        app_kwargs={
            "exception_handlers": {OSError: storage_failed},
            "middleware": [Middleware(PageGate, most=settings.max_body_bytes)],
        },
        prevent_thread_lock=True,
    )
    app.mount("/api", build_api(service))
    adopt("uvicorn", "uvicorn.error")
    demo.server.config.timeout_keep_alive = KEEP_ALIVE_S
    demo.server.config.limit_concurrency = MOST_CONNECTIONS
    gc.freeze()
    gc.enable()
    service.warm_up()  # after the page is there, or it would wait for UMAP to be compiled
    service.watch(partial(forget_idle, demo, service.sessions.is_open, settings.grace_s), sweep_uploads)
    ended.wait()
    done = service.close(DRAIN_S)
    demo.server.config.timeout_graceful_shutdown = 1  # streams to open pages would hold it for ever
    closing = threading.Thread(target=demo.close, kwargs={"verbose": False}, daemon=True)
    closing.start()
    closing.join(CLOSE_S)
    logger.info("ended; %s", "every request was answered" if done else "some requests were not answered in time")
    logging.shutdown()
    os._exit(0)  # a thread that trains would abort the interpreter as it is taken down


if __name__ == "__main__":
    sys.exit(main())
