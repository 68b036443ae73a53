"""What the tests share: the folder of real data, and small made-up pairs of image and mask."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

pytest.register_assert_rewrite("tests.train.tiny")  # before another folder imports it

# One thread for every test and every process it starts: two cores are shared by many, and threads
# that wait for each other in turns are slower by far than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("unhurried", deadline=None)  # a busy machine is no finding
settings.load_profile("unhurried")

Pairs = Callable[..., Path]


@pytest.fixture(autouse=True)
def usual_floats() -> None:
    """A training leaves torch flushing tiny numbers to 0, which hypothesis does not accept."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch has one thread, which equal bits need, and its own settings again afterwards."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.fixture
def real_data() -> Path:
    """The folder of real sets, or a skip that says why."""
    folder = os.environ.get("XLN_TEST_DATA")
    if not folder:
        pytest.skip("XLN_TEST_DATA is not set: no real data to test with")
    if not Path(folder).is_dir():
        pytest.skip(f"XLN_TEST_DATA is {folder}, which is no folder")
    return Path(folder)


@pytest.fixture
def make_pairs(tmp_path: Path) -> Pairs:
    """Write images and masks as PNG: a bright 8x8 square on noise, 40x48 pixels each."""

    def make(names: list[str], images: str = "images", masks: str = "masks") -> Path:
        rng = np.random.default_rng(0)
        for name in names:
            image = rng.integers(0, 100, (40, 48), dtype=np.uint8)
            mask = np.zeros((40, 48), dtype=np.uint8)
            row, column = rng.integers(0, 32, 2)
            image[row : row + 8, column : column + 8] = 200
            mask[row : row + 8, column : column + 8] = 1
            for folder, pixels in ((images, image), (masks, mask)):
                path = tmp_path / folder / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
        return tmp_path

    return make


@pytest.fixture(scope="session")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The twin of one of the paper's sets, made once for all tests. Never change it."""
    from crosslinknet.datasets.twins import make_twin

    folder = tmp_path_factory.mktemp("twins")

    def get(name: str) -> Path:
        if not (folder / name).exists():
            make_twin(name, folder / name)
        return folder / name

    return get


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as after ``xln run exp.yaml``: data/, exp.yaml and runs/exp. Never change it."""
    from crosslinknet.config import parse_config, to_yaml
    from crosslinknet.experiments.crossval import run
    from crosslinknet.phantoms import write_phantoms

    folder = tmp_path_factory.mktemp("finished")
    write_phantoms(folder / "data", "lung", subjects=4, slices=2, size=(48, 40))
    content = {
        "data": {
            "root": str(folder / "data"),
            "label_map": {"glass": [1], "solid": [2]},
            "subject": r"(subject_\d+)",
        },
        "image": {"size": [32, 32]},
        "split": {"folds": 2, "validation": 0},
        "model": {"options": {"widths": [2, 4, 8, 16, 32]}},
        "train": {"epochs": 1, "precision": "32", "threads": 1, "accelerator": "cpu"},
        "evaluate": {"bootstrap": 20},
        "output": {"dir": str(folder / "runs"), "name": "exp"},
    }
    config = parse_config(content)
    (folder / "exp.yaml").write_text(to_yaml(config), encoding="utf-8")
    run(config)
    return folder
