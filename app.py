"""Starts the workbench: settings -> service -> page. Port and host: GRADIO_SERVER_PORT, GRADIO_SERVER_NAME."""

from __future__ import annotations

import gc
import logging
import sys

gc.disable()  # half a second less of importing: what is made until the page is there lasts anyway

from mtl.errors import MtlError
from mtl.service.service import Service
from mtl.settings import from_environment
from mtl.ui.app import build_ui
from mtl.ui.theme import CSS, theme


def main() -> int:
    """Serves until it is interrupted; 2 where a setting or the checkpoint is wrong."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        service = Service(from_environment())
    except MtlError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    demo = build_ui(service)
    demo.launch(
        theme=theme(),
        css=CSS,
        footer_links=["api"],
        max_file_size="64mb",
        ssr_mode=False,
        run_history=False,
        show_error=False,
        prevent_thread_lock=True,
    )
    gc.freeze()
    gc.enable()
    service.warm_up()  # after the page is there, or it would wait for UMAP to be compiled
    demo.block_thread()
    return 0


if __name__ == "__main__":
    sys.exit(main())
