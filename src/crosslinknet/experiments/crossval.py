"""Cross-validation: every fold trained, every case predicted by the model that never saw it.

Predictions on disk are the only source of the scores, so they can be scored again at any time.
Order: run, train (one fold), then the steps they share.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from crosslinknet.config import Config
from crosslinknet.evaluate import Scores, evaluate_fold, summarise
from crosslinknet.files import atomic_path, write_json
from crosslinknet.predict import load, predict_to_folder
from crosslinknet.report import write_report
from crosslinknet.runs import Run, open_run
from crosslinknet.train import Console, train_fold

ATTENTION_CASES = 6  # cases per fold whose attention maps are kept for the report


def run(config: Config, resume: bool = False, console: Console | None = None) -> Path:
    """Train and score all folds, and write the report.

    Args:
        config: see ``load_config``.
        resume: continue a run; finished folds are not computed again.
        console: hears what happens.

    Returns:
        Path of report.html.
    """
    console = console or Console()
    job = open_run(config, resume)
    announce(job, console)
    for fold in range(len(job.splits.folds)):
        train_fold(job, fold, resume, console)
        predict_fold(job, fold, console)
    return summarise_run(job)


def train(config: Config, fold: int, resume: bool = False, console: Console | None = None) -> Path:
    """Train and score one fold; the report covers the folds that are there.

    Returns:
        Path of report.html.
    """
    console = console or Console()
    begun = (config.run / "manifest.json").exists()
    job = open_run(config, resume=resume or begun)
    announce(job, console)
    train_fold(job, fold, resume, console)
    predict_fold(job, fold, console)
    return summarise_run(job)


def announce(job: Run, console: Console) -> None:
    """Say what was found, so that a wrong subject rule is seen before hours are spent."""
    cases = job.found.cases
    subjects = len({case.subject for case in cases})
    console.say(
        f"{len(cases)} cases of {subjects} subjects ({job.found.subject_rule}); layout "
        f"{job.found.layout}; {len(job.splits.folds)} folds"
    )
    for note in job.found.notes:
        console.say(note)
    if subjects == len(cases) and subjects > len(job.splits.folds):
        console.say(
            "Every case counts as a subject of its own. If one person has several images, set "
            "data.subject, or folds will share persons."
        )


def predict_fold(job: Run, fold: int, console: Console) -> None:
    """Segment the test cases of a trained fold; nothing is done again that is there."""
    folder = job.fold_folder(fold)
    cases = job.cases(job.splits.folds[fold].test)
    out = folder / "predictions"
    there = {p.name.split(".")[0] for p in out.glob("*")} if out.exists() else set()
    todo = [case for case in cases if case.id.split(".")[0] not in there]
    if not todo:
        return
    console.say(f"fold {fold}: segmenting {len(todo)} test cases")
    predict_to_folder(load(folder, job.config.train.accelerator), todo, out)
    write_attention(
        job, fold, [case.id for case in cases][:: max(1, len(cases) // ATTENTION_CASES)]
    )


@torch.inference_mode()
def write_attention(job: Run, fold: int, ids: Sequence[str]) -> None:
    """Keep attention maps of both branches of a few test cases: attention/CASE.npz.

    Each file holds image (H, W), mask (H, W) and vertical, horizontal (h, w) in [0, 1], on the
    grid of the network's input. Models without two attention maps write nothing.
    """
    predictor = load(job.fold_folder(fold), job.config.train.accelerator)
    model = predictor.models[0]
    blocks = getattr(model, "attention_blocks", ())
    if not blocks or not hasattr(model, "stages"):
        return
    which = list(blocks).index(3) if 3 in blocks else 0
    device = next(model.parameters()).device
    for case in job.cached(tuple(ids[:ATTENTION_CASES])):
        codes = case.codes
        assert codes is not None
        d = int(np.argmax((codes > 0).sum(axis=(1, 2))))  # the slice with the largest target
        image = torch.from_numpy(np.array(case.image[d : d + 1])).to(device)
        _, maps = model.forward_with_maps(image)  # type: ignore[operator]
        if len(maps[which]) != 2:
            return
        vertical, horizontal = (torch.sigmoid(s)[0, 0].cpu().numpy() for s in maps[which])
        path = job.fold_folder(fold) / "attention" / f"{case.files.id}.npz"
        with atomic_path(path) as temporary:
            np.savez_compressed(
                temporary,
                image=case.image[d].mean(axis=0),
                mask=codes[d],
                vertical=vertical,
                horizontal=horizontal,
            )


def summarise_run(job: Run) -> Path:
    """Score the predictions of all finished folds; write metrics.csv, summary.json, report.html."""
    scores: list[Scores] = []
    for fold, split in enumerate(job.splits.folds):
        folder = job.fold_folder(fold)
        if (folder / "predictions").exists():
            cases = job.cases(split.test)
            out = folder / "metrics.csv"
            scores.append(evaluate_fold(cases, folder / "predictions", job.config, fold, out))
    summary = summarise(scores, job.table.classes, job.config.evaluate)
    write_json(job.folder / "summary.json", summary)
    return write_report(job.folder)
