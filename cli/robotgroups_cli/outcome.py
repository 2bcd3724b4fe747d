"""How a command ends: its exit code, and what is said on the way out."""

from __future__ import annotations

import signal
from enum import IntEnum
from typing import Any

import click

from robotgroups import errors


class ExitCode(IntEnum):
    """What a command ends with; interrupted, it is 128 and the signal's number (Ctrl-C: 130)."""

    DONE = 0
    WRONG = 1  # what was looked at or brought along is not as it should be
    UNUSABLE = 2  # the command was given wrongly, or the database cannot be used


# What says that the command was not given what it needs.
_UNUSABLE = (
    errors.ArgumentError,
    errors.MemoryUnavailableError,
    errors.SetupError,
    errors.NotPermittedError,
    errors.MissingFeatureError,
    errors.NotFoundError,
)


class SignalledError(Exception):
    """A signal has ended the command; `advice` says how to go on."""

    def __init__(self, number: int, advice: str = "") -> None:
        super().__init__(advice)
        self.number = number
        self.advice = advice


def exit_code(error: errors.RobotGroupsError) -> ExitCode:
    """Decide what a command ends with."""
    if isinstance(error, errors.InvalidExportError):
        return ExitCode.WRONG
    return ExitCode.UNUSABLE if isinstance(error, _UNUSABLE) else ExitCode.WRONG


class Command(click.Command):
    """A command whose errors are ours: told without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        try:
            return super().invoke(ctx)
        except SignalledError as stopped:
            _tell(f"interrupted ({signal.Signals(stopped.number).name})", stopped.advice)
            ctx.exit(128 + stopped.number)
        except errors.RobotGroupsError as error:
            _tell(f"Error: {error}", *getattr(error, "__notes__", ()))
            ctx.exit(exit_code(error))
        except OSError as error:
            if error.filename is None:  # a pipe that nobody reads: click knows what to do
                raise
            _tell(f"Error: {error.filename}: {error.strerror}", *getattr(error, "__notes__", ()))
            ctx.exit(ExitCode.WRONG)


def _tell(*lines: str) -> None:
    for line in lines:
        if line:
            click.echo(line, err=True)
