"""A parser that says which command, option or choice a mistyped one may have meant."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from porter.system.suggestions import did_you_mean


class CommandParser(argparse.ArgumentParser):
    """argparse's, with suggestions. (argparse has them for choices from Python 3.14 on.)"""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        choices = [str(each) for each in action.choices or ()]
        if choices and value not in (action.choices or ()):
            listed = ", ".join(choices)
            raise argparse.ArgumentError(
                action,
                f"there is no '{value}'{did_you_mean([str(value)], choices)} (one of {listed})",
            )

    def refuse(self, extras: Sequence[str]) -> None:
        """End with the error of arguments that nobody takes."""
        known = [name for action in self._actions for name in action.option_strings]
        options = [word.partition("=")[0] for word in extras if word.startswith("-")]
        unknown = " ".join(extras)
        self.error(f"unrecognized arguments: {unknown}{did_you_mean(options, known)}")
