"""The layer maps of Torch's classes, grouped as in Torch's own manual.

Each file holds one family: layer maps (`@register`) and structure rules (`@structure`). Importing
this package imports them all, which fills the default registry. A clone keeps the package beside
porter/, and its name is `porter.layer_maps` there too.
"""

from importlib import import_module
from pkgutil import iter_modules

from porter.maps import DEFAULT_REGISTRY, Registry

if __name__ != "porter.layer_maps":
    raise ImportError(f"{__name__} would be a second registry; import porter.layer_maps")

for _family in iter_modules(__path__):
    import_module(f"{__name__}.{_family.name}")


def default_registry() -> Registry:
    """Every map that porter ships."""
    return DEFAULT_REGISTRY
