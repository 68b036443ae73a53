from pathlib import Path

import pytest

from crosslinknet.phantoms import write_phantoms

from .tiny import tiny_config


@pytest.fixture(autouse=True)
def alone(one_thread):
    """Every training of these tests has one thread."""


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> Path:
    """Eight made-up subjects with two slices each, 32x32."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, "lung", subjects=8, slices=2, size=(32, 32))
    return folder


@pytest.fixture
def config(phantoms, tmp_path):
    """Make the config of a tiny run in this test's folder; settings as after ``-s``."""

    def make(*settings: str, out: str = "runs"):
        return tiny_config(phantoms, tmp_path / out, *settings)

    return make
