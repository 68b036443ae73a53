"""The command line: exit codes, one paragraph per error, help at once, and the whole road."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from PIL import Image

import crosslinknet
from crosslinknet import cli
from crosslinknet.cli import app
from crosslinknet.errors import TrainingError
from crosslinknet.models import MODELS
from crosslinknet.phantoms import write_phantoms
from crosslinknet.readers.coco_writer import coco_document

Xln = Callable[..., tuple[int, str, str]]
COMMANDS = sorted(command.callback.__name__ for command in app.registered_commands)  # type: ignore[union-attr]
HEAVY = ("torch", "lightning", "monai", "matplotlib", "scipy", "rich", "nibabel", "PIL", "numpy")
MOST_MODULES = 400  # Python alone has 70, torch 1,500: a count is as quick on a busy machine


@pytest.fixture
def xln(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Xln:
    """Run a command in this process: exit code, stdout, stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["xln", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        code = caught.value.code
        return int(code or 0), *capsys.readouterr()

    return call


def paragraph(error: str) -> str:
    """The text of an error, which must be one line and no traceback."""
    assert error.startswith("xln: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error
    return error


# Help


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_comes_at_once_and_loads_nothing_heavy(command: str):
    code = (
        f"import sys; sys.argv = ['xln', *'{command}'.split(), '--help']\n"
        "from crosslinknet.cli import main\n"
        "try: main()\n"
        "finally: print('LOADED', *sys.modules, file=sys.stderr)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert f"Example: xln {command}".rstrip() in process.stdout
    loaded = process.stderr.split()
    modules = {name.partition(".")[0] for name in loaded}
    assert "crosslinknet" in modules
    assert modules.isdisjoint(HEAVY)
    assert len(loaded) < MOST_MODULES


def test_help_of_every_command_names_all_of_its_options(xln: Xln):
    for command in COMMANDS:
        code, text, _ = xln(command, "--help")
        assert code == 0
        for line in re.findall(r"^ {2}(-\S.*)$", text, re.MULTILINE):
            assert re.match(r"(-\w, )?--[\w-]+", line), line


def test_xln_alone_shows_help_and_is_a_wrong_call(xln: Xln):
    code, out, err = xln()
    assert code == 2
    assert "Usage: xln" in out + err


def test_the_version_is_printed(xln: Xln):
    assert xln("--version") == (0, f"crosslinknet {crosslinknet.__version__}\n", "")


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "crosslinknet", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"crosslinknet {crosslinknet.__version__}\n")


# Exit codes and errors


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("run",),
        ("run", "--bogus", "exp.yaml"),
        ("train", "exp.yaml", "--fold", "one"),
        ("train", "exp.yaml"),
        ("predict", "runs/exp"),
        ("models", "--size", "big"),
    ],
)
def test_a_wrong_call_is_code_2_and_shows_the_usage(xln: Xln, words: tuple[str, ...]):
    code, out, err = xln(*words)
    assert (code, out) == (2, "")
    assert "Usage: xln" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("train.epoch=3", "unknown key 'train.epoch'; did you mean 'train.epochs'?"),
        ("train.epochs=many", "train.epochs: Input should be a valid integer"),
        ("trainepochs", "is not of the form key=value"),
        ("evaluate.metrics=[dise]", "dise"),
        ("model.name=crosslink", "did you mean 'crosslink-net'?"),
    ],
)
def test_a_wrong_setting_is_code_2(xln: Xln, finished_run: Path, tmp_path, setting, said):
    code, _, err = xln(
        "run", finished_run / "exp.yaml", "-s", f"output.dir={tmp_path}", "-s", setting
    )
    assert code == 2
    assert said in paragraph(err)
    assert list(tmp_path.glob("*/manifest.json")) == []


def test_an_unknown_key_in_the_file_is_code_2_and_names_the_file(xln: Xln, tmp_path: Path):
    path = tmp_path / "exp.yaml"
    path.write_text("data: {root: x}\nimage: {sise: [64, 64]}\n")
    code, out, err = xln("run", path)
    assert (code, out) == (2, "")
    assert paragraph(err) == f"xln: {path}: unknown key 'image.sise'; did you mean 'image.size'?\n"


def test_a_missing_config_is_code_2(xln: Xln, tmp_path: Path):
    code, _, err = xln("run", tmp_path / "nowhere.yaml")
    assert code == 2
    assert "nowhere.yaml cannot be read" in paragraph(err)


def test_a_run_that_exists_is_code_2(xln: Xln, finished_run: Path):
    code, _, err = xln("run", finished_run / "exp.yaml")
    assert code == 2
    assert "--resume" in paragraph(err)


def test_missing_data_are_code_3(xln: Xln, tmp_path: Path):
    (tmp_path / "exp.yaml").write_text("data: {root: gone}\n")
    code, _, err = xln("run", tmp_path / "exp.yaml")
    assert code == 3
    assert f"{tmp_path / 'gone'} does not exist" in paragraph(err)
    assert xln("init", tmp_path / "gone", "-o", tmp_path / "new.yaml")[0] == 3
    assert xln("predict", tmp_path, "x.png", "-o", tmp_path / "out")[0] == 3
    assert xln("report", tmp_path)[0] == 3
    code, _, err = xln("evaluate", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "c")
    assert code == 3
    assert "is not a folder" in paragraph(err)


def test_a_device_that_is_not_there_is_code_4(xln: Xln, finished_run: Path, tmp_path: Path):
    image = next((finished_run / "data" / "images").iterdir())
    code, _, err = xln(
        "predict", finished_run / "runs" / "exp", image, "-o", tmp_path, "--device", "tpu"
    )
    assert code == 4
    assert "device 'tpu' does not answer here" in paragraph(err)


def test_a_full_disk_is_code_4(xln: Xln, finished_run: Path, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = xln("init", finished_run / "data", "-o", tmp_path / "exp.yaml")
    assert code == 4
    assert "No space left on device" in paragraph(err)
    assert list(tmp_path.iterdir()) == []


def with_commands(monkeypatch: pytest.MonkeyPatch, name: str, **functions: object) -> None:
    """Put a module with other functions where a command imports from."""
    module = ModuleType(name)
    vars(module).update(functions)
    monkeypatch.setitem(sys.modules, name, module)


def raises(error: BaseException) -> Callable[..., None]:
    def function(*_: object, **__: object) -> None:
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (TrainingError("the loss became nan at epoch 3"), 1, "the loss became nan at epoch 3"),
        (ImportError("No module named 'torch'", name="torch"), 4, "No module named 'torch'"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA is full."), 4, "train.batch_size"),
        (KeyboardInterrupt(), 130, "Stopped. What was done is kept; continue with --resume."),
    ],
)
def test_what_ends_a_training_becomes_a_code_and_a_sentence(
    xln: Xln, finished_run, monkeypatch, error, code, said
):
    with_commands(monkeypatch, "crosslinknet.experiments.crossval", run=raises(error))
    done, _, err = xln("run", finished_run / "exp.yaml")
    assert done == code
    assert said in paragraph(err)


def test_a_bug_of_ours_keeps_its_traceback(finished_run: Path, monkeypatch):
    for error in (ZeroDivisionError(), ImportError("x", name="crosslinknet.models.gone")):
        with_commands(monkeypatch, "crosslinknet.experiments.crossval", run=raises(error))
        monkeypatch.setattr(sys, "argv", ["xln", "run", str(finished_run / "exp.yaml")])
        with pytest.raises(type(error)):
            cli.main()


def test_the_doctor_ends_with_4_when_something_is_amiss(xln: Xln, monkeypatch):
    from crosslinknet.experiments.doctor import Finding

    for ok, code in ((True, 0), (False, 4)):
        finding = Finding("disk", "1 GiB free in [red]", ok)
        with_commands(monkeypatch, "crosslinknet.experiments.doctor", doctor=lambda f=finding: [f])
        done, out, _ = xln("doctor")
        assert done == code
        assert ("ok" if ok else "!!") in out
        assert "1 GiB free in [red]" in out


def test_ctrl_c_in_a_real_training_is_code_130_and_says_how_to_go_on(
    xln: Xln, finished_run: Path, tmp_path: Path
):
    words = ["run", str(finished_run / "exp.yaml"), "-s", f"output.dir={tmp_path}"]
    words += ["-s", "train.epochs=400", "-s", "train.early_stopping=null"]
    process = subprocess.Popen(
        [sys.executable, "-m", "crosslinknet", *words], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    last = tmp_path / "exp" / "fold_0" / "checkpoints" / "last.safetensors"
    began = time.monotonic()
    while not last.exists() and process.poll() is None and time.monotonic() - began < 120:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped. What was done is kept; continue with --resume." in paragraph(err)
    code, _, err = xln(*words)
    assert code == 2
    assert "--resume" in err


def test_warnings_are_told_as_lines_and_once(xln: Xln, finished_run: Path, tmp_path: Path):
    words = ("-s", f"output.dir={tmp_path}", "-s", "loss.dice=0.3", "-s", "evaluate.levels=[image]")
    code, out, err = xln("train", finished_run / "exp.yaml", "--fold", 0, *words)
    assert (code, err) == (0, "")
    assert out.count("WARNING: the loss weights bce, dice, attention = (0.4, 0.3, 0.5) sum to") == 1


# init


def test_init_tells_what_it_chose_and_writes_what_run_accepts(xln: Xln, finished_run, tmp_path):
    path = tmp_path / "exp.yaml"
    code, out, _ = xln("init", finished_run / "data", "-o", path, "-s", "split.folds=2")
    assert code == 0
    assert "image.size 64x64, image.fit pad" in out
    assert out.endswith(
        f"Wrote {path}. Read it, change what you know better, then: xln run {path}\n"
    )
    assert yaml.safe_load(path.read_text())["split"]["folds"] == 2
    code, _, err = xln("init", finished_run / "data", "-o", path)
    assert code == 2
    assert "--force" in paragraph(err)
    assert xln("init", finished_run / "data", "-o", path, "--force")[0] == 0


# predict


@pytest.fixture
def image(finished_run: Path, tmp_path: Path) -> Path:
    source = sorted((finished_run / "data" / "images").iterdir())[0]
    return Path(shutil.copy(source, tmp_path / "new.slice.png"))


def test_predict_writes_masks_and_probabilities(xln: Xln, finished_run, image, tmp_path):
    run = finished_run / "runs" / "exp"
    code, out, _ = xln("predict", run, image, "-o", tmp_path / "out", "--probabilities")
    assert code == 0
    assert out == f"1 mask in {tmp_path / 'out'} (mean of 2 models)\n"
    written = sorted(p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*.png"))
    assert [path.as_posix() for path in written] == [
        "new.slice.png",
        "probabilities/new.slice.glass.png",
        "probabilities/new.slice.solid.png",
    ]
    assert np.asarray(Image.open(tmp_path / "out" / "new.slice.png")).shape == (48, 40)


def test_predict_never_writes_over_inputs_or_masks(xln: Xln, finished_run, image):
    run, before = finished_run / "runs" / "exp", image.read_bytes()
    code, _, err = xln("predict", run, image, "-o", image.parent)
    assert code == 2
    assert "is an input and would be overwritten" in paragraph(err)
    assert image.read_bytes() == before
    out = image.parent / "out"
    assert xln("predict", run / "fold_0", image, "-o", out)[0] == 0
    code, _, err = xln("predict", run / "fold_0", image, "-o", out)
    assert code == 2
    assert "--force" in paragraph(err)
    code, text, _ = xln("predict", run / "fold_0", image, "-o", out, "--force")
    assert code == 0
    assert "one model" in text


def test_predict_takes_its_own_keys_only(xln: Xln, finished_run, image, tmp_path):
    run = finished_run / "runs" / "exp"

    def predict(number: int, setting: str) -> tuple[int, str, str]:
        return xln("predict", run, image, "-o", tmp_path / str(number), "-s", setting)

    assert predict(0, "predict.threshold=0.000001")[0] == 0
    assert np.asarray(Image.open(tmp_path / "0" / "new.slice.png")).all()
    code, _, err = predict(1, "image.size=[64, 64]")
    assert code == 2
    assert "takes keys of predict only" in paragraph(err)
    code, _, err = predict(2, "predict.flipp=true")
    assert code == 2
    assert "did you mean 'predict.flip'?" in paragraph(err)


# evaluate


def masks(folder: Path, scale: int = 1) -> Path:
    """Three masks, the second empty."""
    folder.mkdir()
    for index in range(3):
        mask = np.zeros((40, 50), np.uint8)
        mask[10 : 10 + 5 * index] = scale * (index != 1)
        Image.fromarray(mask).save(folder / f"{'ab'[index % 2]}_{index}.png")
    return folder


def test_evaluate_prints_unit_policy_norm_and_empty_masks(xln: Xln, tmp_path: Path):
    ref = masks(tmp_path / "ref")
    code, out, err = xln("evaluate", ref, ref, "-o", tmp_path / "out", "--subject", "(^.)")
    assert (code, err) == (0, "")
    for part in (
        "mean over images; policy worst; OR and UR over truth; 95% interval from 2000 resamples of "
        "2 subjects",
        "both empty",
        "false alarms",
        "misses",
        "OR/truth (%)",
        "HD (px)",
        f"Report: {tmp_path / 'out' / 'report.html'}",
    ):
        assert part in out
    (row,) = [line.split() for line in out.splitlines() if "DSC (%)" in line]
    assert row[:4] == ["foreground", "DSC", "(%)", "100.00"]
    assert row[-4:] == ["1", "2", "0", "0"]  # n, both empty, false alarms, misses
    assert "mean over cases" not in out
    names = [
        "figures",
        "per_case.csv",
        "per_image.csv",
        "report.html",
        "summary.json",
        "summary.md",
    ]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [*names, "summary.tex"]


def test_evaluate_says_how_to_name_unknown_values_on_the_command_line(xln: Xln, tmp_path: Path):
    for folder in ("pred", "ref"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.full((8, 8), 7, np.uint8)).save(tmp_path / folder / "a.png")
    code, _, err = xln("evaluate", tmp_path / "pred", tmp_path / "ref", "-o", tmp_path / "out")
    assert code == 3
    assert "--label CLASS=VALUES" in paragraph(err)
    assert not (tmp_path / "out").exists()


def test_evaluate_takes_labels_thresholds_spacing_and_settings(xln: Xln, tmp_path: Path):
    ref, pred = masks(tmp_path / "ref", 200), masks(tmp_path / "pred", 3)
    code, out, err = xln(
        "evaluate", pred, ref, "-o", tmp_path / "out", "--label", "lesion=1", "--threshold", 127,
        "--pred-threshold", 2, "--spacing", "0.5,0.5", "-s", "evaluate.or_ur_norm=union",
        "-s", "evaluate.bootstrap=0",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "OR/union (%)" in out
    assert "HD (mm)" in out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["classes"] == ["lesion"]
    assert summary["or_ur_norm"] == "union"


def test_evaluate_prints_cases_beside_slices_for_volumes(xln: Xln, tmp_path: Path):
    import nibabel as nib

    for name in ("ref", "pred"):
        (tmp_path / name).mkdir()
        voxels = np.zeros((12, 8, 10), np.uint8)
        voxels[2:5, 2:6, 3:7] = 1
        nib.save(nib.Nifti1Image(voxels, np.diag([1, 1, 5, 1])), tmp_path / name / "a.nii.gz")
    words = ("evaluate", tmp_path / "pred", tmp_path / "ref", "-o", tmp_path / "out")
    code, out, _ = xln(*words)
    assert code == 0
    assert "mean over images" in out
    assert "mean over cases" in out
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["levels"]["image"][
        "foreground"
    ]["counts"]["n"] == 10  # fmt: skip
    assert xln(*words, "--slice-axis", "0")[0] == 0
    text = (tmp_path / "out" / "summary.json").read_text()
    assert json.loads(text)["levels"]["image"]["foreground"]["counts"]["n"] == 12
    code, _, err = xln(*words, "--slice-axis", "axal")
    assert code == 2
    assert "image.slice_axis" in paragraph(err)


def test_evaluate_takes_what_a_config_says(xln: Xln, finished_run, tmp_path):
    ref = finished_run / "data" / "masks"
    code, out, _ = xln(
        "evaluate", ref, ref, "-o", tmp_path / "out", "--config", finished_run / "exp.yaml"
    )
    assert code == 0
    assert "20 resamples of 4 subjects" in out
    assert "glass" in out
    assert "solid" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--label", "tumour"), "--label 'tumour' is not of the form class=values"),
        (("--label", "tumour=0"), "0 of class 'tumour' is outside 1..65535"),
        (("--spacing", "1;2"), "--spacing '1;2' is not a list of mm"),
        (("--spacing", "-1,1"), "must be positive millimetres"),
        (("--subject", "x"), "needs exactly one (group)"),
        (("-s", "evaluate.metrics=[dise]"), "dise"),
    ],
)
def test_evaluate_refuses_what_makes_no_sense(xln: Xln, tmp_path, words, said):
    ref = masks(tmp_path / "ref")
    code, _, err = xln("evaluate", ref, ref, "-o", tmp_path / "out", *words)
    assert code == 2
    assert said in paragraph(err)
    assert not (tmp_path / "out").exists()


def test_evaluate_draws_its_bar_on_a_terminal(finished_run: Path, tmp_path: Path):
    pty = pytest.importorskip("pty", reason="this system has no terminals to pretend")
    ref = masks(tmp_path / "ref")
    words = ["evaluate", str(ref), str(ref), "-o", str(tmp_path / "out")]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "crosslinknet", *words], stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # the other side is closed
            break
        if not chunk:
            break
        text += chunk
    os.close(ours)
    assert process.wait() == 0, text.decode()
    assert b"scoring" in text
    assert b"Traceback" not in text


# models, report


def test_models_lists_every_network_with_its_size(xln: Xln):
    code, out, _ = xln("models", "--size", 64)
    assert code == 0
    assert "GMACs at 64" in out
    assert "31,862,899" in out
    for name in MODELS:
        assert re.search(rf"^ {re.escape(name)} ", out, re.MULTILINE)
    row = next(line for line in out.splitlines() if "square-crosslink" in line)
    assert "165.3    165" in row  # our file in MiB, and the paper's


def test_the_cost_table_goes_on_where_a_network_is_too_slow(xln: Xln, tmp_path: Path):
    code, out, _ = xln("models", "crossover-net", "--cost", "--size", 32, "--limit", 0.01)
    assert code == 0
    assert out.count("not done within 0.01 s") == 3
    words = ("models", "gridnet", "--cost", "--size", 32, "-o", tmp_path)
    code, out, _ = xln(*words)
    assert code == 0
    line = (tmp_path / "cost.csv").read_text().splitlines()[1]
    name, options, parameters, *_, predict, train, note = line.split(",")
    assert (name, options, parameters) == ("gridnet", "", "10907105")
    assert note == "" or note.startswith("a busy machine?")
    assert 0 < float(predict) < 60_000
    assert float(train) > 0
    assert r"\toprule" in (tmp_path / "cost.tex").read_text()


def test_a_network_of_ones_own_has_its_row(xln: Xln, tmp_path: Path, monkeypatch):
    code = "from torch import nn\ndef net(in_channels, num_classes):\n    "
    (tmp_path / "rows_7.py").write_text(
        code + "return nn.Conv2d(in_channels, num_classes, 3, 1, 1)"
    )
    monkeypatch.chdir(tmp_path)
    code, _, err = xln("models", "rows_7:net", "--size", 64)
    assert (code, "give --allow-code" in err) == (2, True)
    code, out, _ = xln("models", "rows_7:net", "--size", 64, "--allow-code")
    assert code == 0
    assert re.search(r"^ rows_7:net +10 ", out, re.MULTILINE)


def test_an_unknown_network_is_named_with_the_nearest(xln: Xln):
    code, _, err = xln("models", "unett")
    assert code == 2
    assert "model 'unett' is unknown; did you mean 'unet'" in err


def test_code_of_ones_own_trains_and_predicts_where_it_is_allowed(
    xln: Xln, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XLN_ALLOW_CODE", "0")
    monkeypatch.setattr(sys, "path", [*sys.path])
    write_phantoms(Path("made"), "lung", subjects=4, slices=1, size=(40, 40))
    Path("mine_9.py").write_text(
        "from torch import nn\n"
        "def net(in_channels, num_classes):\n"
        "    return nn.Conv2d(in_channels, num_classes, 3, padding=1)\n"
    )
    quick = ["split.folds=2", "train.epochs=1", "train.draws=2", "evaluate.bootstrap=5"]
    quick += ["model.name=mine_9:net", "train.accelerator=cpu", "train.threads=1"]
    quick += ["train.precision=32", "image.size=[32, 32]", "image.fit=letterbox"]
    settings = [word for setting in quick for word in ("-s", setting)]
    assert xln("init", "made", "-o", "exp.yaml")[0] == 0
    code, _, err = xln("run", "exp.yaml", *settings)
    assert code == 2
    assert "give --allow-code" in err
    code, _, err = xln("run", "exp.yaml", *settings, "--allow-code")
    assert (code, err) == (0, "")
    code, _, err = xln("predict", "runs/exp", "made/images", "-o", "masks", "--allow-code")
    assert (code, err) == (0, "")
    assert len(list(Path("masks").iterdir())) == 4


def test_a_report_is_written_anew(xln: Xln, finished_run: Path, tmp_path: Path):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(finished_run / "runs" / "exp" / "config.yaml", run)
    code, out, _ = xln("report", run)
    assert code == 0
    assert out == f"Report: {run / 'report.html'}\n"
    assert (run / "report.html").is_file()


# The whole road


def test_from_made_up_data_to_scores_of_new_images(xln: Xln, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_phantoms(Path("data"), "kidney", subjects=4, slices=2, size=(40, 40))
    assert xln("init", "data", "-o", "exp.yaml", "-s", "data.subject=^(.+)[_-]")[0] == 0
    quick = ["split.folds=2", "train.epochs=2", "model.options.widths=[2, 4, 8, 16, 32]"]
    quick += ["evaluate.bootstrap=20", "train.accelerator=cpu", "train.threads=1"]
    settings = [word for setting in quick for word in ("-s", setting)]
    code, out, err = xln("train", "exp.yaml", "--fold", "1", *settings)
    assert (code, err) == (0, "")
    assert "epoch 2/2: loss" in out
    code, out, err = xln("run", "exp.yaml", "--resume", *settings)
    assert (code, err) == (0, "")
    assert "8 cases of 4 subjects" in out
    assert "mean over images; policy worst" in out
    assert out.endswith(f"Report: {tmp_path / 'runs/exp/report.html'}\n")
    run = tmp_path / "runs" / "exp"
    top = ("config.yaml", "manifest.json", "splits.json", "summary.json", "report.html")
    each = ("checkpoints/last.safetensors", "checkpoints/model.safetensors", "log.csv")
    for name in (*top, *(f"fold_{k}/{n}" for k in (0, 1) for n in (*each, "metrics.csv"))):
        assert (run / name).is_file(), name
    assert len(list(run.glob("fold_*/predictions/*.png"))) == 8
    assert len((run / "fold_0" / "log.csv").read_text().splitlines()) == 3

    code, out, err = xln("predict", run, "data/images", "-o", "masks")
    assert (code, err) == (0, "")
    assert "8 masks in masks (mean of 2 models)" in out
    code, out, err = xln("evaluate", "masks", "data/masks", "-o", "scores", "--config", "exp.yaml")
    assert (code, err) == (0, "")
    summary = json.loads(Path("scores/summary.json").read_text())
    assert summary["levels"]["image"]["average"]["metrics"]["dice"]["mean"] >= 0
    assert summary["interval"]["subjects"] == 4


def test_from_outlines_of_coco_to_scores_and_a_report(xln: Xln, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_phantoms(Path("made"), "kidney", subjects=4, slices=1, size=(40, 40))
    names = [path.name for path in sorted(Path("made/images").iterdir())]
    masks = [np.asarray(Image.open(Path("made/masks") / name)) for name in names]
    document = coco_document(zip(names, masks, strict=True), {"kidney": 1, "tumour": 2})
    Path("data").mkdir()
    shutil.copytree("made/images", "data/images")
    Path("data/labels.json").write_text(json.dumps(document))

    code, out, _ = xln("init", "data", "-o", "exp.yaml")
    assert code == 0
    assert "4 cases, layout coco" in out
    assert "{'kidney': ['kidney'], 'tumour': ['tumour']}, as the data set states" in out
    quick = ["split.folds=2", "train.epochs=1", "train.draws=2", "evaluate.bootstrap=5"]
    quick += ["model.options.widths=[2, 2, 2, 2, 2]", "train.accelerator=cpu", "train.threads=1"]
    quick += ["train.precision=32", "image.size=[32, 32]", "image.fit=letterbox"]
    settings = [word for setting in quick for word in ("-s", setting)]
    code, out, err = xln("run", "exp.yaml", *settings)
    assert (code, err) == (0, "")
    assert "layout coco" in out
    assert "kidney" in Path("runs/exp/report.html").read_text(encoding="utf-8")
    summary = json.loads(Path("runs/exp/summary.json").read_text())
    assert summary["classes"] == ["kidney", "tumour"]

    # predictions are pictures with the numbers of the names: kidney 1, tumour 2
    shutil.copytree("made/masks", "perfect")
    code, _, err = xln("evaluate", "perfect", "made/masks", "-o", "scores", "--config", "exp.yaml")
    assert (code, err) == (0, "")
    scores = json.loads(Path("scores/summary.json").read_text())
    assert scores["levels"]["image"]["average"]["metrics"]["dice"]["mean"] == 1


@pytest.mark.parametrize(
    "bend",
    [
        ("--preset", "nnunet", "-s", "evaluate.policy=one"),
        ("--preset", "paper-guess", "-s", "evaluate.or_ur_norm=union"),
        ("--preset", "kits19", "--label", "one=1"),
    ],
)
def test_a_preset_cannot_be_bent_under_its_name(xln: Xln, tmp_path: Path, bend):
    ref = masks(tmp_path / "ref")
    code, _, err = xln("evaluate", ref, ref, "-o", tmp_path / "out", *bend)
    assert code == 2
    assert "which" in paragraph(err)
    assert "would change" in paragraph(err)
    assert not (tmp_path / "out").exists()


def test_compare_prints_differences_and_what_they_cannot_carry(xln: Xln, tmp_path: Path):
    ref = masks(tmp_path / "ref")
    for name in ("a", "b"):
        assert xln("evaluate", ref, ref, "-o", tmp_path / name)[0] == 0
    code, out, err = xln("compare", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "cmp")
    assert (code, err) == (0, "")
    for part in ("a - b", "95 % interval", "share the best mean", "note:", "comparison.html"):
        assert part in out
