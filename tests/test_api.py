"""The public names: they mirror the commands, load nothing early, and stay what they are."""

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import crosslinknet
from crosslinknet.cli import app

COMMANDS = {  # command -> public name that does the same in Python
    "doctor": "doctor",
    "demo": "demo",
    "init": "init",
    "run": "run",
    "train": "run_fold",
    "predict": "load",
    "evaluate": "evaluate_folders",
    "compare": "compare_methods",
    "report": "write_report",
    "models": "build_model",
}


def test_every_command_has_a_public_name():
    commands = {command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]
    assert commands == set(COMMANDS)
    assert set(COMMANDS.values()) <= set(crosslinknet.__all__)


@pytest.mark.parametrize("name", [n for n in crosslinknet.__all__ if n != "__version__"])
def test_a_public_name_is_documented_and_found_by_dir(name: str):
    thing = getattr(crosslinknet, name)
    assert inspect.getdoc(thing)
    assert name in dir(crosslinknet)


def test_importing_every_module_changes_no_public_name():
    """A submodule called like a function would take its place in the package."""
    before = {name: getattr(crosslinknet, name) for name in crosslinknet.__all__}
    for module in pkgutil.walk_packages(crosslinknet.__path__, "crosslinknet."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert {name: getattr(crosslinknet, name) for name in crosslinknet.__all__} == before


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'build_modle'"):
        _ = crosslinknet.build_modle


def test_importing_the_package_loads_nothing_heavy():
    code = "import crosslinknet, sys; print(*sorted(m.partition('.')[0] for m in sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "numpy", "lightning", "monai", "pydantic", "typer"} & set(loaded)


def test_a_model_is_built_by_name():
    model = crosslinknet.build_model("crosslink-net", in_channels=3, num_classes=2)
    assert sum(p.numel() for p in model.parameters()) > 31e6


def test_a_pair_of_masks_is_scored():
    pred, target = np.zeros((2, 8, 8), dtype=bool)
    pred[0, :4] = target[0, :2] = True
    scores = crosslinknet.metrics.evaluate(pred, target, spacing=(1.0, 2.0))
    assert scores["dice"] == pytest.approx(2 * 2 / (4 + 2))
    assert scores["hd"] == 4.0


def test_a_run_is_loaded_and_segments_an_array(finished_run: Path):
    segment = crosslinknet.load(finished_run / "runs" / "exp")
    path = next((finished_run / "data" / "images").iterdir())
    mask = segment.predict(np.asarray(Image.open(path)), spacing=(0.7, 0.7))
    assert mask.shape == (48, 40)


def test_init_load_config_evaluate_and_report_work_from_python(finished_run, tmp_path):
    crosslinknet.init(finished_run / "data", tmp_path / "exp.yaml")
    config = crosslinknet.load_config(tmp_path / "exp.yaml", ("evaluate.metrics=[dice]",))
    masks = finished_run / "data" / "masks"
    summary = crosslinknet.evaluate_folders(
        masks, masks, tmp_path / "scores", data=config.data, config=config.evaluate
    )
    assert summary["levels"]["image"]["class_1"]["metrics"]["dice"]["mean"] == 1
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text((tmp_path / "exp.yaml").read_text())
    assert crosslinknet.write_report(tmp_path / "run").name == "report.html"
