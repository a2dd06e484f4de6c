"""The command line; `porter --help` lists the commands.

Each command is a file of `porter/cli/`. Exit codes: 0 ok, 1 parity failed, 2 usage or
output, 3 unreadable file, 4 unmapped or malformed modules.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from porter.cli.arguments import show_json
from porter.cli.examples import add_examples
from porter.cli.spelling import in_options
from porter.errors import ParityError, PorterError, ShapeNeeded, TooLarge, UsageError
from porter.version import ShowVersion

COMMANDS = (
    "inspect",
    "convert",
    "weights",
    "stylize",
    "transfer",
    "train",
    "synthesize",
    "diff",
    "check",
    "record",
    "layers",
    "scaffold",
    "help",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = parser(words[0] if words else "").parse_args(words)
    try:
        code: int = options.run(options)
    except ShapeNeeded as error:
        if error.shapes:
            error.hint = f"{error.hint}\nfor example: {with_shapes(words, error.shapes)}"
        return report_error(error, options)
    except PorterError as error:
        return report_error(error, options)
    except RecursionError:
        return report_error(UsageError("a file holds something that is nested too deep"), options)
    except MemoryError:
        return report_error(
            TooLarge("there is not enough memory", hint="give a smaller input with --input-shape"),
            options,
        )
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return code


def with_shapes(words: Sequence[str], shapes: Sequence[str]) -> str:
    """The command line as it was typed, with other input shapes."""
    option, kept, skip = "--input-shape", [], False
    for word in words:
        if not skip and word != option and not word.startswith(f"{option}="):
            kept.append(word)
        skip = not skip and word == option
    return shlex.join(["porter", *kept, *(part for each in shapes for part in (option, each))])


def report_error(error: PorterError, options: argparse.Namespace) -> int:
    """Show an error, as JSON where that was requested; returns its exit code."""
    from porter.report.as_json import report_json, worst_rows
    from porter.report.console import failing_table, out, parity_table, show_error, show_hints

    reports = error.reports if isinstance(error, ParityError) else ()
    if getattr(options, "json", False):
        body: dict[str, Any] = report_json(reports) if reports else {}
        body["error"] = {
            "type": type(error).__name__,
            "message": options.spell(error.message),
            "where": error.location,
            "received": error.received and options.spell(error.received),
            "hint": error.hint and options.spell(error.hint),
            "exit_code": error.exit_code,
        }
        show_json(body)
    elif reports and not getattr(options, "quiet", False):
        console, rows = out(), worst_rows(reports)
        table = parity_table if getattr(options, "verbose", False) else failing_table
        console.print(table(rows, console.width))
        show_hints(console, rows, options.spell)
    show_error(error, options.spell)
    return error.exit_code


def parser(requested: str = "") -> argparse.ArgumentParser:
    """The commands and their options: only the requested one if it exists, else all of them.

    Importing all of them takes a good part of the time that the shortest of them runs.
    """
    top = argparse.ArgumentParser(
        prog="porter",
        description="Trained Torch7 models (.t7) as TensorFlow models, proven layer by layer.",
        epilog="Exit codes: 0 ok, 1 parity failed, 2 usage or output, 3 unreadable file, "
        "4 unmapped or malformed modules. `porter help WORD` explains a word of the reports.",
    )
    top.add_argument("--version", action=ShowVersion)
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name in [requested] if requested in COMMANDS else COMMANDS:
        importlib.import_module(f"porter.cli.{name}").add_to(commands)
        command: argparse.ArgumentParser = commands.choices[name]
        add_examples(command, name)
        command.set_defaults(spell=speller(command))
    return top


def speller(command: argparse.ArgumentParser) -> Callable[[str], str]:
    """Keyword arguments in messages as options: the command's own, else any command's."""

    def parsers() -> Iterator[argparse.ArgumentParser]:
        yield command
        yield from subcommands(parser())

    return lambda text: in_options(text, parsers)


def subcommands(top: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of the commands."""
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


if __name__ == "__main__":
    sys.exit(main())
