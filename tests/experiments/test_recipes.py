"""The paper's sets from their files to a report: what init proposes, and that a run takes it."""

import json
from pathlib import Path

import nibabel as nib
import pytest

from crosslinknet.config import Config, load_config
from crosslinknet.datasets.twins import TWINS
from crosslinknet.experiments.crossval import announce, run
from crosslinknet.experiments.init import init
from crosslinknet.runs import plan_run
from crosslinknet.train import Console

INFECTION = {"infection": [1, 2, 3]}
CT_CLASSES = {"infection": [1, 2], "ground_glass": [1], "consolidation": [2]}
HEART = {"epicardium": [1, 2], "cavity": [2], "ring": [1]}
KIDNEY = {"kidney": [1, 2], "tumour": [2]}

PROPOSED = {  # twin: label_map, slice axis, window, fit, augmentation, share of foreground
    "covid19-i": (INFECTION, 2, "lung", "pad", "covid-paper", 0.33),
    "covid19-i-infnet": (
        {"infection": [1, 2]}, "axial", "dtype", "letterbox", "covid-paper", 0.33,
    ),
    "covid19-volumes": (CT_CLASSES, "axial", "lung", "pad", "covid-paper", 0.33),
    "kits19": (KIDNEY, 0, "kidney", "letterbox", "light", 0.5),
    "york-cardiac": (HEART, "axial", "percentile", "pad", "cardiac-paper", 0.33),
}  # fmt: skip

TINY = (
    "image.size=[32, 32]", "image.fit=letterbox", "split.folds=2", "split.validation=0",
    "model.options.widths=[2, 4, 8, 16, 32]", "train.epochs=1", "train.draws=0",
    "train.precision='32'", "train.threads=1", "train.accelerator=cpu", "evaluate.bootstrap=20",
    "evaluate.metrics=[dice, hd]",
)  # fmt: skip


class Heard(Console):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def proposed(twin, tmp_path):
    def propose(name: str, *settings: str) -> tuple[Config, str]:
        told = init(twin(name), tmp_path / "exp.yaml", settings, force=True)
        return load_config(tmp_path / "exp.yaml"), "\n".join(told)

    return propose


def test_every_twin_is_tested():
    assert set(PROPOSED) == set(TWINS)


@pytest.mark.parametrize("name", PROPOSED)
def test_init_proposes_what_the_protocol_chooses(proposed, name):
    labels, axis, window, fit, preset, foreground = PROPOSED[name]
    config, told = proposed(name)
    assert config.data.label_map == labels
    assert (config.image.slice_axis, config.image.window, config.image.fit) == (axis, window, fit)
    assert config.image.size == (64, 64)
    assert (config.augment.preset, config.train.foreground) == (preset, foreground)
    assert config.split.folds == 3
    assert "as the recipe" in told
    assert "If one person has several images" not in told


def test_what_the_user_states_wins(proposed):
    config, told = proposed(
        "kits19",
        "image.window=[-100, 300]", "image.slice_axis=axial", "image.fit=resize",
        "data.label_map={tumour: [2], kidney: [1]}", "train.foreground=0", "augment.preset=none",
    )  # fmt: skip
    assert config.image.window == (-100, 300)
    assert config.image.slice_axis == "axial"
    assert config.image.fit == "resize"
    assert config.data.label_map == {"tumour": [2], "kidney": [1]}
    assert (config.train.foreground, config.augment.preset) == (0, "none")
    assert "data.label_map as stated" in told


def test_a_copy_that_was_windowed_before_gets_the_range_it_has(twin, tmp_path):
    """Copies of the stack with 0 to 255 are about; a window in HU would make them white."""
    for part in ("im", "mask"):
        file = nib.load(twin("covid19-i") / f"tr_{part}.nii.gz")
        voxels = file.get_fdata(dtype="float32")
        if part == "im":
            voxels = ((voxels.clip(-1250, 250) + 1250) / 1500 * 255).round()
        (tmp_path / "copy").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(voxels, file.affine), tmp_path / "copy" / f"tr_{part}.nii.gz")
    told = init(tmp_path / "copy", tmp_path / "exp.yaml")
    assert load_config(tmp_path / "exp.yaml").image.window == (0, 255)
    assert "image.window [0, 255], as a window in HU was applied to them before" in "\n".join(told)


def test_volumes_on_another_scale_are_left_out_of_the_config(twin, tmp_path):
    root = tmp_path / "zenodo"
    for folder, part in (("COVID-19-CT-Seg_20cases", "ct"), ("Infection_Mask", "infection")):
        (root / folder).mkdir(parents=True)
        for n in range(1, 5):
            name = f"coronacases_00{n}" if n < 4 else "radiopaedia_7"
            file = nib.load(twin("covid19-volumes") / f"subject_00{n}" / f"{part}.nii.gz")
            nib.save(file, root / folder / f"{name}.nii.gz")
    told = init(root, tmp_path / "exp.yaml")
    assert load_config(tmp_path / "exp.yaml").data.exclude == ["radiopaedia_7"]
    assert told[0].startswith("3 cases")
    init(root, tmp_path / "exp.yaml", ("data.exclude=[]",), force=True)
    assert load_config(tmp_path / "exp.yaml").data.exclude == []


def test_a_config_that_departs_from_the_recipe_is_told(proposed):
    console = Heard()
    config, _ = proposed("kits19", "image.window=lung", "split.validation=0")
    announce(plan_run(config), console)
    assert "the recipe kits19 proposes image.window kidney; this config has lung" in console.lines
    assert not any("image.slice_axis" in line and "this config" in line for line in console.lines)
    assert not any("Every case counts as a subject" in line for line in console.lines)


@pytest.mark.parametrize(
    "name",
    [n if n == "york-cardiac" else pytest.param(n, marks=pytest.mark.slow) for n in PROPOSED],
)
def test_a_run_goes_from_the_files_to_the_report(proposed, tmp_path: Path, name: str):
    own = () if name.startswith("kits19") else ("image.size=[32, 32]",)
    config, _ = proposed(name, *TINY, *own, f"output.dir={tmp_path / 'runs'}")
    report = run(config)
    summary = json.loads((report.parent / "summary.json").read_text())
    assert summary["classes"] == list(PROPOSED[name][0])
    assert report.stat().st_size > 10_000
    assert summary["distance_unit"] == (
        "px" if name in ("york-cardiac", "covid19-i-infnet") else "mm"
    )
