"""Logs: one JSON object a line (or console for people), with the group and robot, and never a secret."""

import logging
import re
import sys
from collections.abc import Sequence
from urllib.parse import unquote

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from robotgroups_robot.settings import LogFormat, LogLevel

REDACTED = "[redacted]"


# In an address it stands before the @, or as a parameter; in key=value pairs it may be quoted.
_PASSWORD = re.compile(
    r"://[^/@:]*:(?P<address>[^@]*)@|\bpassword\s*=\s*(?:'(?P<quoted>(?:[^'\\]|\\.)*)'|(?P<plain>[^\s&]+))"
)


def passwords(dsn: str) -> list[str]:
    """The passwords in a connection string, as written and decoded."""
    found = [value for match in _PASSWORD.finditer(dsn) for value in match.groups() if value]
    return sorted({text for value in found for text in (value, unquote(value))})


class Redact:
    """The last processor: takes secrets out of the finished line, wherever they came from."""

    def __init__(self, render: Processor, secrets: Sequence[str]) -> None:
        self._render = render
        self._secrets = sorted({s for s in secrets if s}, key=len, reverse=True)

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        """Render one event."""
        line = str(self._render(logger, name, event))
        for secret in self._secrets:
            line = line.replace(secret, REDACTED)
        return line


def configure(level: LogLevel, form: LogFormat, *, secrets: Sequence[str] = (), **bound: str) -> None:
    """Sends every log of the process, structlog's and the standard library's, to stdout in one form.

    `bound` goes on every line; `secrets` appear on none.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        lambda _logger, _name, event: {**bound, **event},
    ]
    render: Processor
    if form is LogFormat.JSON:
        shared += [structlog.stdlib.add_logger_name, structlog.processors.format_exc_info]
        render = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        render = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, Redact(render, secrets)],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # httpx logs each forwarded request's URL, which holds recall's words; the access log has what is needed.
    for noisy in ("httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
