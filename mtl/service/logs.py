"""How the log is written: for people, or one JSON object a line for machines. Texts of users never come into it."""

from __future__ import annotations

import logging

TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def adopt(*names: str) -> None:
    """Has loggers that bring handlers of their own write as all others do."""
    for name in names:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def write_logs(form: str) -> None:
    """Sends everything from INFO on to standard error, as "text" or as "json"."""
    handler = logging.StreamHandler()
    if form == "json":
        from pythonjsonlogger.json import JsonFormatter

        renamed = {"levelname": "level", "name": "logger"}
        handler.setFormatter(JsonFormatter("%(levelname)s %(name)s %(message)s", rename_fields=renamed, timestamp=True))
    else:
        handler.setFormatter(logging.Formatter(TEXT))
    handler.addFilter(lambda record: record.name != "root")  # of others' packages, some of which tell what was sent
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for chatty in ("httpx", "mcp", "mcp.server.lowlevel.server", "mcp.server.streamable_http_manager"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
