"""What the command line calls a parameter: the one place where the two languages meet.

The library names its keyword arguments, between backticks and with an equals sign: "choose one with
`select=PATH`". Whoever calls it from Python reads exactly that; the commands show "choose one with
--select PATH". The options are those that argparse knows, found by their `dest`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable

KEYWORD = re.compile(r"`([A-Za-z]\w*)=([^`\n]*)`")

Parsers = Callable[[], Iterable[argparse.ArgumentParser]]


def in_options(text: str, parsers: Parsers) -> str:
    """`text` with every keyword argument as the option of the first parser that has it.

    What no parser has stays as it is. `True` needs no value on a command line, and text no quotes.
    """

    def option(found: re.Match[str]) -> str:
        name, value = found[1], found[2].strip('"')
        for parser in parsers():
            for action in parser._actions:
                if action.dest == name and action.option_strings:
                    return action.option_strings[0] + (
                        f" {value}" if value not in ("", "True") else ""
                    )
        return found[0]

    return KEYWORD.sub(option, text)
