"""The command group, loaded piece by piece, and how errors end the process."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping
from typing import Any

import click

from minescale._version import __version__
from minescale.errors import MinescaleError

INTERRUPTED = 130

COMMANDS: Mapping[str, str] = {
    "plan": "minescale.cli.plan:plan",
    "scan": "minescale.cli.scan:scan",
    "status": "minescale.cli.status:status",
    "export": "minescale.cli.export:export",
    "demo": "minescale.cli.demo:demo",
    "calibrate": "minescale.cli.calibrate:calibrate",
    "doctor": "minescale.cli.doctor:doctor",
    "config": "minescale.cli.config:config",
    "dataset": "minescale.cli.dataset.group:dataset",
    "model": "minescale.cli.model.group:model",
    "train": "minescale.cli.train:train",
    "evaluate": "minescale.cli.evaluate:evaluate",
}

EXIT_CODES = """\b
Exit codes:
  0    done
  1    unexpected error
  2    wrong use: an option, a setting, a model that does not fit
  3    finished, but tiles failed, or a limit left tiles over
  4    the search was answered, and no scene matched
  5    a catalogue, object store or scheduler does not answer
  130  interrupted; what was finished is kept
After 3, 5 and 130 the same command continues where it stopped."""


class LazyGroup(click.Group):
    """A group whose commands are ``module:attribute`` names until somebody asks for them."""

    def __init__(self, *args: Any, lazy: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = dict(lazy or {})

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self.lazy:
            return None
        module, _, attribute = self.lazy[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


class Command(click.Command):
    """A command whose failures end as the exit codes say: a message on stderr, no traceback unless ``-v``."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MinescaleError as error:
            self._tell(ctx, error)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("interrupted: what was finished is kept, the same command continues", err=True)
            ctx.exit(INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001  (the last line of defence: a message and an exit code)
            self._tell(ctx, error, prefix=f"unexpected {type(error).__name__}: ")
            click.echo("this is a bug or a broken installation; repeat with -v for the traceback", err=True)
            ctx.exit(1)

    @staticmethod
    def _tell(ctx: click.Context, error: Exception, prefix: str = "") -> None:
        if ctx.params.get("verbose"):
            traceback.print_exception(error, file=sys.stderr)
        click.echo(f"error: {prefix}{error}", err=True)


@click.group(
    name="minescale",
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)
@click.version_option(__version__, "--version", prog_name="minescale")
def main() -> None:
    """Find where people mine in free satellite imagery: from a bounding box to a map of probability.

    Give an area and a period; get a mosaic that says where mining is likely, where nothing could be seen, and what
    that cost. Results go to stdout, progress and messages to stderr.

    \b
    minescale demo                                       a first scan, offline
    minescale scan --catalog planetary-computer --bbox W S E N --datetime 2024-01/2024-06 --out ghana
    """
