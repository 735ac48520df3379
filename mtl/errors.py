"""What a user can cause, as one small tree.

    MtlError
    |-- ConfigError       a recipe, an option or a setting is wrong
    |-- DataError         a file or a row is wrong
    |-- CheckpointError   a folder is no checkpoint, or a damaged one
    `-- SessionError      a request that the service cannot take (limits, nothing to do)
        |-- NotFoundError     of something that is not here, or not any more
        `-- BusyError         of something that can be done later; says when to try again

Each message is one sentence that says where the trouble is and how to mend it; a `DataError` about
several rows adds one line a row. Bugs are not here: they raise whatever Python raises.
"""

from __future__ import annotations


class MtlError(Exception):
    """Base of everything a user can cause and mend."""


class ConfigError(MtlError):
    """A recipe, an option or a setting is wrong."""


class DataError(MtlError):
    """A file or some of its rows cannot be used."""


class CheckpointError(MtlError):
    """A folder is no checkpoint, or a damaged one."""


class SessionError(MtlError):
    """A request that the service cannot take."""


class NotFoundError(SessionError):
    """A request for something that is not here, or not any more."""


class BusyError(SessionError):
    """A request that can be taken later, in about `retry_after_s` seconds."""

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
