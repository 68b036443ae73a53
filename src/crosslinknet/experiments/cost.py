"""What networks cost: counted from their shapes, and measured on this machine, each by itself.

A network is measured in a process of its own with a time limit, so that one that is slow or does
not fit into memory leaves a note in its row and stops nothing.
Order: Cost, How, costs, the count, the measurement and its process, tables.
"""

import csv
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crosslinknet.config import ATTENTIVE, LossConfig
from crosslinknet.evaluate.documents import Table, latex_table
from crosslinknet.files import write_text
from crosslinknet.losses import SegmentationLoss
from crosslinknet.models import (
    MODELS,
    VARIANTS,
    Outputs,
    build_model,
    count_macs,
    count_parameters,
    takes,
)

ROUNDS = 3  # the first warms up, the best of the others counts
APART, SHARE = 1.5, 0.9  # times that differ by more, cores that are had for less, are pointed out
PAPER = {  # MiB of the file, Table III
    ("crosslink-net", "preset=released"): 121,
    ("ver-crosslink", "family=table3"): 60,
    ("hor-crosslink", "family=table3"): 60,
    ("unet5", "family=table3"): 135,
    ("double2single", "family=table3"): 178,
    ("square-crosslink", "family=table3"): 165,
}


@dataclass(frozen=True)
class Cost:
    """A row of the table.

    Attributes:
        name: of the network.
        options: that tell its variants apart, as key=value.
        parameters: trained values, auxiliary and attention heads included.
        file_mib: of the weights as float32, in MiB.
        paper_mib: what the paper prints for it.
        gmacs: multiply-accumulates of a prediction, 10^9.
        memory_mib: tensors that training keeps for the way back, per image; measured.
        predict_ms: of a slice; measured.
        train_ms: of a training step, per image; measured.
        note: why there is no measurement, or none to be trusted.
    """

    name: str
    options: str
    parameters: int
    file_mib: float
    paper_mib: int | None
    gmacs: float
    memory_mib: float | None = None
    predict_ms: float | None = None
    train_ms: float | None = None
    note: str = ""


@dataclass(frozen=True)
class How:
    """How networks are measured.

    Attributes:
        limit: seconds for a row, from when the network is built.
        threads: of the CPU.
    """

    limit: float
    threads: int


def costs(names: Sequence[str], size: int, how: How | None) -> Iterator[Cost]:
    """Rows of networks, all variants of each, one after the other.

    Args:
        names: keys of ``MODELS``, or networks of one's own.
        size: height and width of a slice.
        how: None measures nothing.
    """
    for name in names:
        for options in VARIANTS.get(name, [{}]):
            row = counted(name, options, size)
            yield row if how is None else replace(row, **measured(name, options, size, how))


def rows_of(names: Sequence[str]) -> int:
    """How many rows ``costs`` gives."""
    return sum(len(VARIANTS.get(name, [{}])) for name in names)


def counted(name: str, options: Mapping[str, Any], size: int) -> Cost:
    """What shapes alone tell; nothing is computed."""
    with torch.device("meta" if name in MODELS else "cpu"):  # one's own may read values
        model = build_model(name, 1, 1, **options)
    text = ", ".join(f"{key}={value}" for key, value in options.items())
    bytes_ = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    return Cost(
        name=name,
        options=text,
        parameters=count_parameters(model),
        file_mib=bytes_ / 2**20,
        paper_mib=PAPER.get((name, text)),
        gmacs=count_macs(model, (size, size)) / 1e9,
    )


def measured(name: str, options: Mapping[str, Any], size: int, how: How) -> dict[str, Any]:
    """Milliseconds and memory from a process of its own, and a note where something is amiss.

    What was measured before a network failed, or ran out of time, counts.
    """
    task = {"name": name, "options": dict(options), "size": size, "threads": how.threads}
    found: dict[str, Any] = {}
    late = threading.Event()

    words = [sys.executable, "-m", __name__, json.dumps(task)]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):

        def stop() -> None:
            late.set()
            process.kill()

        clock = threading.Timer(how.limit, stop)
        try:
            for number, line in enumerate(process.stdout or ()):
                found |= json.loads(line)
                if number == 0:  # the network is built
                    clock.start()
            code = process.wait()
        finally:  # Ctrl-C comes here too
            clock.cancel()
            process.kill()
        errors.seek(0)
        last = (errors.read().strip().splitlines() or ["no reason given"])[-1]
    if late.is_set():
        return found | {"note": f"not done within {how.limit:g} s"}
    if code:
        why = "killed, out of memory perhaps" if code < 0 else last
        return found | {"note": f"failed: {why}"}
    return found


def measure(
    name: str, options: Mapping[str, Any], size: int, threads: int
) -> Iterator[dict[str, Any]]:
    """Predict and train a slice of noise with a box, a few times; what ``Cost`` calls measured.

    Yields:
        Nothing when the network is built, then what is known when it is known.
    """
    torch.set_num_threads(threads)
    heads: dict[str, Any] = {"attention_blocks": (3,)} if takes(name, "attention_blocks") else {}
    model = build_model(name, 1, 1, **heads, **options)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    attention = 0.5 if name in ATTENTIVE else 0.0
    loss = SegmentationLoss(LossConfig(bce=0.4, dice=0.6 - attention, attention=attention))
    image, target = torch.rand(1, 1, size, size), torch.zeros(1, 1, size, size)
    target[..., size // 4 : size // 2, size // 4 : size // 2] = 1.0
    image, target = torch.cat([image, image]), torch.cat([target, target])  # batch norm needs two
    yield {}

    def predict() -> None:
        with torch.inference_mode():
            model.eval()(image[:1])

    predicts, had = _rounds(predict)
    yield {"predict_ms": 1000 * min(predicts)}
    kept = 0

    def train() -> None:
        nonlocal kept
        kept = _step(model.train(), loss, image, target)

    trains, had_too = _rounds(train)
    per_image = 1000 * min(trains) / len(image)
    yield {"train_ms": per_image, "memory_mib": kept / len(image) / 2**20}
    apart, share = max(max(ts) / min(ts) for ts in (predicts, trains)), min(had, had_too)
    if apart > APART or share < SHARE:
        yield {
            "note": f"a busy machine? equal steps differed by a factor of {apart:.1f} and got "
            f"{100 * share:.0f} % of a core"
        }


def _rounds(work: Callable[[], None]) -> tuple[list[float], float]:
    """Seconds of each round but the first, which warms up; the least share of a core they got."""
    times, shares = [], []
    for _ in range(ROUNDS):
        began, used = time.perf_counter(), time.process_time()
        work()
        times.append(time.perf_counter() - began)
        shares.append((time.process_time() - used) / times[-1])
    return times[1:], min(shares[1:])


def _step(model: nn.Module, loss: SegmentationLoss, image: Tensor, target: Tensor) -> int:
    """Forward and backward; bytes of what was kept between the two, parameters left out."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        see = getattr(model, "forward_for_loss", lambda x, _: Outputs(model(x)))
        total = loss(target, *see(image, target)).total
    total.backward()  # type: ignore[no-untyped-call]
    model.zero_grad()
    return sum(kept.values())


# Tables


def table_of(rows: Sequence[Cost], size: int, how: How | None) -> Table:
    """Rows as text; what was measured only where it was asked for."""
    header = ["network", "options", "parameters", "MiB", "paper", f"GMACs at {size}"]
    header += ["kept MiB", "predict ms", "train ms", "note"] * bool(how)
    lines = []
    for row in rows:
        cells = [row.name, row.options, f"{row.parameters:,}", f"{row.file_mib:.1f}"]
        cells += ["" if row.paper_mib is None else str(row.paper_mib), f"{row.gmacs:.2f}"]
        if how:
            numbers = (row.memory_mib, row.predict_ms, row.train_ms)
            cells += ["" if number is None else f"{number:,.0f}" for number in numbers]
            cells.append(row.note)
        lines.append(tuple(cells))
    about = f"; measured with {how.threads} thread{'s' * (how.threads > 1)}" if how else ""
    caption = f"Networks for 1 channel and 1 class, slices of {size}x{size}{about}"
    return Table(caption, tuple(header), tuple(lines))


def write_tables(rows: Sequence[Cost], size: int, how: How | None, folder: Path) -> list[Path]:
    """cost.csv with every number, and cost.tex for a paper.

    Raises:
        SystemProblem: the disk refuses.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(asdict(rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in asdict(row).items()} for row in rows)
    table = table_of(rows, size, how)
    note = f"{table.caption}. MiB: weights as float32; paper: the sizes that Table III prints"
    if how:
        note += "; kept: tensors kept for the way back, per image; ms: best of two after a first"
    files = [folder / "cost.csv", folder / "cost.tex"]
    texts = (buffer.getvalue(), latex_table(table, f"{note}.", texts=2))
    for path, text in zip(files, texts, strict=True):
        write_text(path, text)
    return files


if __name__ == "__main__":
    for known in measure(**json.loads(sys.argv[1])):
        print(json.dumps(known), flush=True)
