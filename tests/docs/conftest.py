from pathlib import Path

import pytest

from crosslinknet.config import parse_config


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs/exp in it, as after the README's `xln run exp.yaml`."""
    from crosslinknet.experiments.crossval import run
    from crosslinknet.phantoms import write_phantoms

    folder = tmp_path_factory.mktemp("docs")
    write_phantoms(folder / "data", "kidney", subjects=4, slices=1, size=(64, 64))
    content = {
        "data": {
            "root": str(folder / "data"),
            "label_map": {"kidney": [1, 2]},
            "subject": r"(subject_\d+)",
        },
        "image": {"size": [64, 64]},
        "split": {"folds": 2, "validation": 0},
        "model": {"options": {"widths": [2, 4, 8, 16, 32]}},
        "train": {"epochs": 1, "threads": 1},
        "output": {"dir": str(folder / "runs"), "name": "exp"},
    }
    run(parse_config(content))
    return folder
