"""How hard the laws are tried: `HYPOTHESIS_PROFILE=thorough` draws fifty times as much."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

COMMON = settings(
    deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow], print_blob=False
)
settings.register_profile("quick", COMMON, derandomize=True, max_examples=2)
settings.register_profile("thorough", COMMON, max_examples=100)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
