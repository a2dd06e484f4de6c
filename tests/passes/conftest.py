"""What is rewritten is tested on small pictures, which would take the layers as they are."""

from __future__ import annotations

import pytest

from porter.passes import small_inputs


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_inputs, "MIN_PIXELS", 0)
