"""Fixtures of the Python tests of the C API."""

import capi
import pytest


@pytest.fixture(scope="session")
def library():
    """The loaded library: fails, and does not skip, where it has not been built."""
    return capi.library()
