"""Logging: one event per line, JSON unless somebody looks at it in a terminal."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable
from typing import Any, Literal, TextIO, cast

import orjson
import structlog
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

from hark.daemon.streams import discard

Format = Literal["auto", "console", "json"]


class Unfailing(io.TextIOBase):
    """A stream for logs: when nobody reads it any more, a line is lost and nothing else.

    A closed pipe would otherwise raise wherever something is logged, in a signal handler or in the engine's loops.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, if it can be written."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush, if it can be flushed."""
        self._try(self._stream.flush)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except BrokenPipeError:
            discard(self._stream)
        except (OSError, ValueError):
            pass


def configure_logging(level: str = "info", form: Format = "auto", stream: TextIO | None = None) -> None:
    """Set up structlog, and send what libraries say through the standard module the same way.

    Ids that belong to a whole task are bound with `structlog.contextvars.bind_contextvars`.
    """
    given = stream or sys.stderr
    stream = cast("TextIO", Unfailing(given))
    console = form == "console" or (form == "auto" and given.isatty())
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f" if console else "iso", utc=not console),
    ]
    final = _console(colors=given.isatty()) if console else _json()
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    _route_standard_logging(threshold, stream, shared, final)


def _console(*, colors: bool) -> list[Processor]:
    return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)]


def _json() -> list[Processor]:
    # Without the frames' local variables: among them are rendered configs, secrets, and the database's URL.
    tracebacks = ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
    return [tracebacks, structlog.processors.JSONRenderer(serializer=_dump)]


def _dump(event: EventDict, **_options: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _route_standard_logging(threshold: int, stream: TextIO, shared: list[Processor], final: list[Processor]) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _add_logger],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        ),
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries report every request and every timer at INFO; what matters of it Hark says itself.
    root.setLevel(max(threshold, logging.WARNING) if threshold > logging.DEBUG else threshold)


def _add_logger(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    if record is not None:
        event["logger"] = record.name
    return event
