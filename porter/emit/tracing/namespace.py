"""The stand-in for `tf`: a namespace whose functions mean something else."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from porter.system.tensorflow import tf

AS_THEY_ARE = frozenset({"as_dtype"})
"""Functions that touch no tensor."""

Record = Callable[..., Any]
"""Called as `record(path, function, *args, **kwargs)` in the place of `tf.<path>`."""


class Namespace:
    """`tf`, or a module of it.

    `replaced` gives what some names, by dotted path, mean here. Every other function of TensorFlow
    is called through `record` where there is one; types, dtypes and constants are TensorFlow's.
    """

    def __init__(
        self,
        replaced: Mapping[str, Any],
        record: Record | None = None,
        real: Any = tf,
        prefix: str = "",
    ) -> None:
        self._replaced = replaced
        self._record = record
        self._real = real
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        path = self._prefix + name
        if path in self._replaced:
            return self._replaced[path]
        real = getattr(self._real, name)
        if inspect.ismodule(real):
            return Namespace(self._replaced, self._record, real, f"{path}.")
        is_function = callable(real) and not isinstance(real, type | tf.DType)
        if self._record is None or not is_function or path in AS_THEY_ARE:
            return real
        return partial(self._record, path, real)
