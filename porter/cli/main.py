"""The command line; `porter --help` lists the commands.

Each command is a file of `porter/cli/`. Exit codes: 0 ok, 1 parity failed, 2 usage, output or
memory, 3 unreadable file, 4 unmapped or malformed modules, 70 a bug of porter, 130 and 143 ended by
Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from porter.cli.examples import add_examples
from porter.cli.spelling import in_options
from porter.cli.suggestions import CommandParser
from porter.errors import (
    EmitError,
    OutOfMemory,
    ParityError,
    PorterError,
    SeveralModules,
    Unexpected,
    UsageError,
    printable,
)
from porter.version import VERSION

COMMANDS = (
    "inspect",
    "view",
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
    "zoo",
    "scaffold",
    "help",
    "completion",
)


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does: with everything cleaned up."""

    exit_code = 128 + signal.SIGTERM


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    escape_unprintable()
    if not words:
        parser().print_help()
        return 0
    if words[0] == "--version":
        print(f"porter {VERSION}")
        return 0
    top = parser(words[0])
    options, extras = top.parse_known_args(words)
    if extras:
        next(each for each in subcommands(top) if each.prog.endswith(f" {words[0]}")).refuse(extras)
    options.spell = with_file(options)
    try:
        with sigterm_as_interrupt(), interrupts_as_raised():
            code: int = options.run(options)
    except SeveralModules as error:
        if error.example and hasattr(options, "select"):
            command = shlex.join(["porter", *words, "--select", error.example])
            error.hint = f"{error.hint}\nfor example: {command}"
        return report_error(error, options)
    except PorterError as error:
        if error.shapes and hasattr(options, "input_shapes"):
            kind = "to fill in" if error.is_template else "for example"
            error.hint = f"{error.hint}\n{kind}: {with_shapes(words, error.shapes)}"
        return report_error(error, options)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Terminated:
        print("terminated", file=sys.stderr)
        return Terminated.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("PORTER_DEBUG"):
            import traceback

            traceback.print_exception(error)
        return report_error(as_porter_error(error), options)
    return code


def escape_unprintable() -> None:
    """Write characters that a terminal or pipe has no code for as escapes, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """While open, SIGTERM raises Terminated, unless somebody else handles it."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def terminate(*_: object) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def interrupts_as_raised() -> Iterator[None]:
    """Raise the interrupt that came while TensorFlow was raising an error of its own.

    pybind11 then has two exceptions at hand, and makes a RuntimeError of both.
    """
    try:
        yield
    except Exception as error:
        each: BaseException | None = error
        while each is not None:
            for interrupt in (Terminated, KeyboardInterrupt):
                if f"REPLACED BY {interrupt.__name__}" in str(each):
                    raise interrupt from error
            each = each.__cause__ or each.__context__
        raise


def as_porter_error(error: Exception) -> PorterError:
    """The error for what no part of porter foresaw."""
    import traceback

    from porter.system.atomic import FULL, advice, code_of

    code = code_of(error)
    if code in FULL:  # TensorFlow's words for it are those of exhausted memory
        return EmitError(f"a file cannot be written: {os.strerror(code)}", hint=advice(code))
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        hint = "give a smaller input with `input_shapes=`, or smaller images with `image_size=`"
        return OutOfMemory("there is not enough memory", hint=hint)
    if isinstance(error, RecursionError):
        return UsageError("a file holds something that is nested too deep")
    *_, last = traceback.extract_tb(error.__traceback__)
    text = printable(" ".join(str(error).split()), limit=300)
    return Unexpected(
        f"porter {VERSION} met what it did not foresee: {type(error).__name__}: {text} "
        f"({os.path.basename(last.filename)}, line {last.lineno})",
        hint="this is a bug: please report this line with the command and, if you can, the file; "
        "PORTER_DEBUG=1 shows the traceback",
    )


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
    from porter.cli.arguments import show_json
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


def parser(requested: str = "") -> CommandParser:
    """The commands and their options: only the requested one if it exists, else all of them.

    Importing all of them takes a good part of the time that the shortest of them runs.
    """
    top = CommandParser(
        prog="porter",
        description="Trained Torch7 models (.t7) as TensorFlow models, proven layer by layer.",
        epilog="Exit codes: 0 ok, 1 parity failed, 2 usage, output or memory, 3 unreadable file, "
        "4 unmapped or malformed modules, 70 a bug of porter, 130 Ctrl-C, 143 SIGTERM. "
        "`porter help WORD` explains a word of the reports.",
    )
    version = f"porter {VERSION}"
    help = "show porter's version and exit"
    top.add_argument("--version", action="version", version=version, help=help)
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    names = [requested] if requested in COMMANDS else COMMANDS
    for name in names:
        importlib.import_module(f"porter.cli.{name}").add_to(commands)
        command: CommandParser = commands.choices[name]
        add_examples(command, name)
        command.set_defaults(spell=speller(command))
    return top


def speller(command: argparse.ArgumentParser) -> Callable[[str], str]:
    """Keyword arguments in messages as options: the command's own, else any command's."""

    def parsers() -> Iterator[argparse.ArgumentParser]:
        yield command
        yield from subcommands(parser())

    return lambda text: in_options(text, parsers)


def with_file(options: argparse.Namespace) -> Callable[[str], str]:
    """The speller of a command, which also puts the model's file for MODEL in other commands."""
    spell: Callable[[str], str] = options.spell
    file = getattr(options, "file", None) or getattr(options, "model", None)
    if file is None:
        return spell
    return lambda text: spell(text).replace("--from MODEL", f"--from {shlex.quote(str(file))}")


def subcommands(top: CommandParser) -> Iterator[CommandParser]:
    """The parsers of the commands."""
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


if __name__ == "__main__":
    sys.exit(main())
