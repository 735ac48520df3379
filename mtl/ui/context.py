"""What all tabs share: the service, the session's key, the model that is chosen at the top, and errors as sentences."""

from __future__ import annotations

import errno
import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import ParamSpec, TypeVar

import gradio as gr
from gradio.events import Dependency

from mtl.errors import MtlError
from mtl.service.service import Service

FULL = "The disk of the service is full. Nothing is lost; try again in a while."

logger = logging.getLogger(__name__)

SHARED = 16
"""So many calls at once of an event whose texts are read in a pass shared with others; four of any other."""

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Answer:
    """A handler with its inputs and outputs."""

    handler: Callable[..., object]
    inputs: list[gr.components.Component]
    outputs: object


@dataclass
class Links:
    """Fields whose values a link carries, and what is to be answered when it is opened."""

    fields: dict[str, gr.components.Component] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)


@dataclass(frozen=True)
class Context:
    """Handed to every tab. `ready.then(...)` runs when a page has loaded and its session has a key."""

    service: Service
    session: gr.BrowserState
    model: gr.Dropdown
    ready: Dependency
    links: Links

    @property
    def who(self) -> list[gr.components.Component]:
        """What every verb takes first: the session's key and the model's name."""
        return [self.session, self.model]

    def share(self, name: str, field: gr.components.Component) -> None:
        """Lets links carry the value of a field under that name."""
        self.links.fields[name] = field

    def restored(
        self, handler: Callable[..., object], inputs: Sequence[gr.components.Component], outputs: object
    ) -> None:
        """Answers again, by this handler, when a link has filled the fields."""
        self.links.answers.append(Answer(handler, list(inputs), outputs))


def no_room(error: BaseException | None) -> bool:
    """Whether an error is of a disk that is full, or that cannot be written."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def spoken(handler: Callable[P, R]) -> Callable[P, R]:
    """Shows an `MtlError` of a handler, also of a generator, as its sentence, and a full disk as one; outputs stay as
    they were."""
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def stream(*args: P.args, **kwargs: P.kwargs) -> Iterator[object]:
            try:
                yield from handler(*args, **kwargs)
            except (MtlError, OSError) as error:
                raise _shown(error) from error

        return stream  # type: ignore[return-value]

    @functools.wraps(handler)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return handler(*args, **kwargs)
        except (MtlError, OSError) as error:
            raise _shown(error) from error

    return call


def _shown(error: MtlError | OSError) -> Exception:
    shown: Exception = error
    if no_room(error) or no_room(error.__cause__):
        logger.error("there is no room on the disk: %s", error)
        shown = gr.Error(FULL, title="Please wait", duration=20, print_exception=False)
    elif isinstance(error, MtlError):
        said = escape(str(error)).replace("\n", "<br>")
        shown = gr.Error(said, title="Please check", duration=20, print_exception=False)
    return shown
