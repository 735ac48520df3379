"""What all tabs share: the service, the session's key, the model that is chosen at the top, and errors as sentences."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from typing import ParamSpec, TypeVar

import gradio as gr
from gradio.events import Dependency

from mtl.errors import MtlError
from mtl.service.service import Service

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Context:
    """Handed to every tab. `ready.then(...)` runs when a page has loaded and its session has a key."""

    service: Service
    session: gr.BrowserState
    model: gr.Dropdown
    ready: Dependency


def spoken(handler: Callable[P, R]) -> Callable[P, R]:
    """Shows an `MtlError` of a handler, also of a generator, as its sentence; outputs stay as they were."""
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def stream(*args: P.args, **kwargs: P.kwargs) -> Iterator[object]:
            try:
                yield from handler(*args, **kwargs)
            except MtlError as error:
                raise _shown(error) from error

        return stream  # type: ignore[return-value]

    @functools.wraps(handler)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return handler(*args, **kwargs)
        except MtlError as error:
            raise _shown(error) from error

    return call


def _shown(error: MtlError) -> gr.Error:
    return gr.Error(escape(str(error)).replace("\n", "<br>"), title="Please check", duration=20, print_exception=False)
