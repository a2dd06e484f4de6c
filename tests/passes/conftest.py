"""What is rewritten is tested on small pictures, which would take the layers as they are."""

from __future__ import annotations

import pytest

from porter.optimize import sizes


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "FEW_PIXELS", 0)
