"""What a mistyped name may have meant."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(words: Iterable[str], known: Iterable[str]) -> str:
    """A question with what is spelled nearly as a word; nothing where nothing is."""
    import difflib  # Only a mistake needs it.

    names = list(known)
    near = [each for word in words for each in difflib.get_close_matches(word, names, n=1)]
    return f": did you mean {' '.join(near)}?" if near else ""
