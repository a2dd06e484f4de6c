"""The layer maps of Torch's classes, grouped as in Torch's own manual.

Each file holds one family: layer maps (`@register`) and structure rules (`@structure`). Importing
this package reads in the files' text which classes each registers; a file is imported when one of
its classes is asked for. A clone keeps the package beside porter/, and its name is
`porter.layer_maps` there too.
"""

import re
from collections.abc import Iterator
from pkgutil import get_data, iter_modules

from porter.maps import DEFAULT_REGISTRY, Registry

if __name__ != "porter.layer_maps":
    raise ImportError(f"{__name__} would be a second registry; import porter.layer_maps")

REGISTERS = re.compile(r'^@(?:register|structure)\(\s*((?:"[^"\n]+"(?:,\s*)?)+)', re.MULTILINE)
"""A decorator at the start of a line, and the Torch classes that it names."""


def registered(text: str) -> Iterator[str]:
    """The Torch classes that a file registers, read from its text: a hundredth of its import."""
    for typenames in REGISTERS.findall(text):
        yield from typenames.split('"')[1::2]


def families() -> dict[str, str]:
    """The Python module that registers each Torch class."""
    return {
        typename: f"{__name__}.{family.name}"
        for family in iter_modules(__path__)
        for typename in registered(source(family.name))
    }


def source(family: str) -> str:
    """The text of a file of this package, which may lie in a zip."""
    return (get_data(__name__, f"{family}.py") or b"").decode()


DEFAULT_REGISTRY.families.update(families())


def default_registry() -> Registry:
    """Every map that porter ships."""
    return DEFAULT_REGISTRY
