"""Starts the workbench: settings -> service -> page and API. Port and host: GRADIO_SERVER_PORT, GRADIO_SERVER_NAME."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import threading

gc.disable()  # half a second less of importing: what is made until the page is there lasts anyway

from mtl.settings import from_environment, on_zero_gpu

if on_zero_gpu():
    import spaces  # noqa: F401 - before torch, which it prepares for GPUs that come and go

from mtl.api.app import build_api
from mtl.errors import MtlError
from mtl.service.logs import write_logs
from mtl.service.service import Service
from mtl.ui.app import build_ui
from mtl.ui.theme import CSS, theme

DRAIN_S = 3.0
"""So long work that was begun may take after the process was asked to end; answers are written after it."""

logger = logging.getLogger("mtl")


def main() -> int:
    """Serves until it is interrupted or told to end; 2 where a setting or the checkpoint is wrong."""
    try:
        settings = from_environment()
        write_logs(settings.log_format)
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
        mcp_server=True,
        ssr_mode=False,
        run_history=False,
        show_error=False,
        prevent_thread_lock=True,
    )
    app.mount("/api", build_api(service))
    gc.freeze()
    gc.enable()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    service.warm_up()  # after the page is there, or it would wait for UMAP to be compiled
    service.watch()
    ended.wait()
    done = service.close(DRAIN_S)
    logger.info("ended; %s", "all that was begun is done" if done else "some of what was begun is lost")
    demo.server.config.timeout_graceful_shutdown = 1  # streams to open pages would hold it for ever
    demo.close(verbose=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
