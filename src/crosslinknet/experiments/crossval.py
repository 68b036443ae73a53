"""Cross-validation: every fold trained, every case predicted by the model that never saw it.

Predictions on disk are the only source of the scores, so they can be scored again at any time.
Order: run, run_fold (one fold), then the steps they share.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from crosslinknet.config import Config, ModelConfig, TrainConfig, decided_keys, to_dict
from crosslinknet.errors import UsageError
from crosslinknet.evaluate import Scores, check_settings, evaluate_fold, summarise
from crosslinknet.experiments.semi import (
    apart_from_test,
    find_unlabelled,
    fix_unlabelled,
    train_semi,
)
from crosslinknet.files import atomic_path, sha256_of_file, sha256_of_json, write_json
from crosslinknet.labels import label_table
from crosslinknet.models import Staged
from crosslinknet.predict import load, mask_path, predict_to_folder
from crosslinknet.report import write_report
from crosslinknet.runs import Run, gather_folds, open_run, plan_run, read_folds, record_fold
from crosslinknet.train import Console, train_fold
from crosslinknet.train.setup import check_network, check_training

ATTENTION_CASES = 6  # cases per fold whose attention maps are kept for the report


def run(config: Config, resume: bool = False, console: Console | None = None) -> Path:
    """Train and score all folds, and write the report.

    Args:
        config: see ``load_config``.
        resume: continue a run; finished folds are not computed again.
        console: hears what happens.

    Returns:
        Path of report.html.

    Raises:
        CrosslinkError: the config or the data are not usable; found before anything is trained.
    """
    console = console or Console()
    job = begin(config, None, resume, console)
    for fold in range(len(job.splits.folds)):
        train(job, fold, resume, console)
        predict_fold(job, fold, console)
    return summarise_run(job)


def run_fold(
    config: Config, fold: int, resume: bool = False, console: Console | None = None
) -> Path:
    """Train and score one fold; the report covers the folds that are finished.

    Returns:
        Path of report.html.

    Raises:
        CrosslinkError: as ``run``; the fold was begun and ``resume`` is off.
    """
    console = console or Console()
    begun = (config.run / "manifest.json").exists()
    job = begin(config, fold, resume or begun, console)
    train(job, fold, resume, console)
    predict_fold(job, fold, console)
    return summarise_run(job)


def train(job: Run, fold: int, resume: bool, console: Console) -> Path:
    """Train a fold, with the images that have no masks where there are any; gives its weights."""
    if job.config.semi.unlabelled is None or str(fold) in job.finished_folds():
        return train_fold(job, fold, resume, console)
    return train_semi(job, fold, find_unlabelled(job), resume, console)


def begin(config: Config, fold: int | None, resume: bool, console: Console) -> Run:
    """Check config and data to the last pixel; only then write the run's folder."""
    check_settings(config.evaluate, config.classes)
    check_classes(config)
    job = plan_run(config, resume)
    if fold is not None and not 0 <= fold < len(job.splits.folds):
        raise UsageError(
            f"fold {fold} does not exist; this run has folds 0 to {len(job.splits.folds) - 1}."
        )
    announce(job, console)
    numbers = range(len(job.splits.folds)) if fold is None else (fold,)
    folds = [job.splits.folds[number] for number in numbers]
    ahead = [number for number in numbers if str(number) not in job.finished_folds()]
    if ahead:
        check_network(job, ahead)
    ids = {name for part in folds for name in (*part.train, *part.validation, *part.test)}
    console.say(f"reading {len(ids)} cases")
    job.cached(tuple(sorted(ids)))
    for split in folds:
        check_training(job, split)
    unlabelled = find_unlabelled(job) if ahead else []
    for number in ahead if unlabelled else ():
        apart_from_test(job, number, unlabelled)
    job = open_run(config, resume)
    if unlabelled:
        fix_unlabelled(job, unlabelled)
    return job


def check_classes(config: Config) -> None:
    """Refuse exclusive classes, of which a pixel has one, where they share mask values.

    Raises:
        UsageError: ``loss.classes`` is softmax or one-vs-rest and classes of ``data.label_map``
            overlap.
    """
    table = label_table(config.data.label_map)
    shared = np.flatnonzero(table.member.sum(axis=1) > 1)
    if config.loss.exclusive and shared.size:
        code = int(shared[0])
        names = [name for name, has in zip(table.classes, table.member[code], strict=True) if has]
        raise UsageError(
            f"loss.classes is {config.loss.classes}: a pixel has one class, but mask value "
            f"{table.values[code - 1]} belongs to {' and '.join(names)} in data.label_map. Set "
            "loss.classes: sigmoid, or give every mask value to one class."
        )


def announce(job: Run, console: Console) -> None:
    """Say what was found, so that a wrong subject rule is seen before hours are spent."""
    cases = job.found.cases
    subjects = len({case.subject for case in cases})
    groups = job.config.data.subject_is == "group"
    kind = "groups" if groups else "subjects"
    console.say(
        f"{len(cases)} cases of {subjects} {kind} ({job.found.subject_rule}); layout "
        f"{job.found.layout}; {len(job.splits.folds)} folds: {job.splits.rule}"
    )
    for note in job.found.notes:
        console.say(note)
    image = job.config.image.model_dump()
    for key, value in job.found.suggestions.get("image", {}).items():
        if image[key] != value:
            console.say(
                f"the recipe {job.found.layout} proposes image.{key} {value}; this config has "
                f"{image[key]}"
            )
    known = bool(job.found.suggestions)  # a known set knows its subjects
    if groups:
        console.say(
            "data.subject_is is group: folds are not by person, so one person may be trained on "
            "and tested, and the report says so."
        )
    elif subjects == len(cases) and subjects > len(job.splits.folds) and not known:
        console.say(
            "Every case counts as a subject of its own. If one person has several images, set "
            "data.subject, or folds will share persons."
        )
    config = job.config
    own = Config(
        data=config.data,
        split=config.split,
        model=ModelConfig(name=config.model.name, first=config.model.first),
        train=TrainConfig(recipe=config.train.recipe),
    )
    changed = [
        f"{'' if section == 'train' else section + '.'}{key} {ours} (the recipe: {theirs})"
        for section, keys in decided_keys().items()
        for key in keys
        if key != "options"
        and (ours := getattr(getattr(config, section), key))
        != (theirs := getattr(getattr(own, section), key))
    ]
    but = f", but {', '.join(changed)}" if changed else ""
    console.say(f"recipe {config.train.recipe}{but}")


def predict_fold(job: Run, fold: int, console: Console) -> None:
    """Segment the test cases of a trained fold; what these weights made before is kept.

    The manifest says which weights and settings the masks come from. Masks of others, of an
    earlier training of this fold say, are removed first.
    """
    folder = job.fold_folder(fold)
    out, attention = folder / "predictions", folder / "attention"
    cases = job.cases(job.splits.folds[fold].test)
    weights = sha256_of_file(folder / "checkpoints" / "model.safetensors")
    source = sha256_of_json([weights, to_dict(job.config)["predict"]])
    facts = read_folds(job.folder).get(str(fold), {})
    if facts.get("predictions_from") != source:
        for path in (*(mask_path(case, out) for case in cases), *attention.glob("*.npz")):
            path.unlink(missing_ok=True)
        record_fold(job, fold, facts | {"predictions_from": source})
    todo = [case for case in cases if not mask_path(case, out).exists()]
    if todo:
        console.say(f"fold {fold}: segmenting {len(todo)} test cases")
        predictor = load(folder, job.config.train.accelerator)
        predictor.config = predictor.config.model_copy(update={"predict": job.config.predict})
        predict_to_folder(predictor, todo, out)
    shown = [case.id for case in cases][:: max(1, len(cases) // ATTENTION_CASES)]
    write_attention(job, fold, shown[:ATTENTION_CASES])


@torch.inference_mode()
def write_attention(job: Run, fold: int, ids: Sequence[str]) -> None:
    """Keep attention maps of both branches of a few test cases: attention/CASE.npz.

    Each file holds image (H, W), mask (H, W) and vertical, horizontal (h, w) in [0, 1], on the
    grid of the network's input. Models without two attention maps write nothing.
    """
    folder = job.fold_folder(fold)
    paths = {name: folder / "attention" / f"{name}.npz" for name in ids}
    if all(path.exists() for path in paths.values()):
        return
    model = load(folder, job.config.train.accelerator).models[0]
    last = model.second if isinstance(model, Staged) else model
    blocks = getattr(last, "attention_blocks", ())
    if not blocks or not hasattr(last, "stages"):
        return
    which = list(blocks).index(3) if 3 in blocks else 0
    device = next(model.parameters()).device
    for case in job.cached(tuple(ids)):
        codes = case.codes
        assert codes is not None
        d = int(np.argmax((codes > 0).sum(axis=(1, 2))))  # the slice with the largest target
        image = torch.from_numpy(np.array(case.image[d : d + 1])).to(device)
        maps = model.forward_for_loss(image).maps  # type: ignore[operator]
        if len(maps[which]) != 2:
            return
        vertical, horizontal = (torch.sigmoid(s)[0, 0].cpu().numpy() for s in maps[which])
        with atomic_path(paths[case.files.id]) as temporary:
            np.savez_compressed(
                temporary,
                image=case.image[d].mean(axis=0),
                mask=codes[d],
                vertical=vertical,
                horizontal=horizontal,
            )


def summarise_run(job: Run) -> Path:
    """Score the folds whose test cases are all segmented: metrics.csv, summary.json, report.html.

    A fold that another process is still working on is left to that process.
    """
    scores: list[Scores] = []
    for fold, split in enumerate(job.splits.folds):
        folder, cases = job.fold_folder(fold), job.cases(split.test)
        if all(mask_path(case, folder / "predictions").exists() for case in cases):
            out = folder / "metrics.csv"
            scores.append(evaluate_fold(cases, folder / "predictions", job.config, fold, out))
    gather_folds(job.folder)
    summary = summarise(scores, job.table.classes, job.config.evaluate)
    write_json(job.folder / "summary.json", summary)
    return write_report(job.folder)
