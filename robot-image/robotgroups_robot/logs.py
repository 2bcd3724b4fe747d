"""Logs: one JSON object a line (or console for people), with the group and robot, and never a secret.

Lines are written by a thread: a stdout that nobody reads (a full disk, a stuck collector) must not stop the heartbeats.
"""

import logging
import queue
import re
import sys
from collections.abc import Sequence
from logging.handlers import QueueHandler, QueueListener
from urllib.parse import unquote

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from robotgroups_robot.settings import LogFormat, LogLevel

REDACTED = "[redacted]"
WAITING_LINES = 10_000
# What a process that ends gives its last lines.
FLUSH_S = 1.0

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
        self._secrets: list[str] = []
        for secret in secrets:
            self.hide(secret)

    def hide(self, secret: str) -> None:
        """Take one more out from now on."""
        if secret and secret not in self._secrets:
            self._secrets = sorted([*self._secrets, secret], key=len, reverse=True)

    def hide_in(self, secret: str) -> None:
        """Take out the passwords of a connection string, or what is none, from now on."""
        for text in passwords(secret) or [secret]:
            self.hide(text)

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        """Render one event."""
        line = str(self._render(logger, name, event))
        for secret in self._secrets:
            line = line.replace(secret, REDACTED)
        return line


class Lines(QueueHandler):
    """Formats a line here and leaves the writing to a thread. While too many wait, new ones are lost, and counted."""

    queue: "queue.Queue[logging.LogRecord]"

    def __init__(self, target: logging.Handler, waiting: int = WAITING_LINES) -> None:
        super().__init__(queue.Queue(waiting))
        self._listener: QueueListener | None = QueueListener(self.queue, target)
        self._listener.start()
        self._lost = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        """Hand over a formatted line, after one that tells of lost ones."""
        try:
            if self._lost:
                self.queue.put_nowait(self.prepare(_lost(self._lost)))
                self._lost = 0
            self.queue.put_nowait(record)
        except queue.Full:
            self._lost += 1

    def flush(self) -> None:
        """Wait until the lines are written, FLUSH_S at most."""
        with self.queue.all_tasks_done:
            self.queue.all_tasks_done.wait_for(lambda: not self.queue.unfinished_tasks, FLUSH_S)

    def close(self) -> None:
        """Write the last lines and end the thread; one that cannot write ends with the process."""
        self.flush()
        if self._listener is not None and not self.queue.unfinished_tasks:
            self._listener.stop()
            self._listener = None
        super().close()


def _lost(count: int) -> logging.LogRecord:
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, "%d log lines were lost", (count,), None)


def configure(level: LogLevel, form: LogFormat, *, secrets: Sequence[str] = (), **bound: str) -> Redact:
    """Sends every log of the process, structlog's and the standard library's, to stdout in one form.

    `bound` goes on every line; `secrets` appear on none, nor what the returned one is told to hide.
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
    redact = Redact(render, secrets)
    handler = Lines(logging.StreamHandler(sys.stdout))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # httpx logs each forwarded request's URL, which holds recall's words; the access log has what is needed.
    for noisy in ("httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return redact
