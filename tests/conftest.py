"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Small tensors on busy cores: more threads than one only slow each other down.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# The same examples on every machine and in every run; HYPOTHESIS_PROFILE=search draws new ones.
# No deadline: how long an example takes is the machine's, and no test is of time.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", derandomize=False, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real crystals for development; tests that need it skip without it."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CRYSTALCODEC_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set CRYSTALCODEC_SHARED_DATA)")
    return folder
