"""Every kind of finding has a set, made up here, that yields it; a kind without one fails.

``MADE`` names for each kind the function that spoils a clean set, and what it gives to check.
"""

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from crosslinknet.curation.check import KINDS, check_data
from tests.curation.conftest import clean_pairs, clean_volumes, scene, target, write

PUBLISHED = json.loads(
    (Path(__file__).resolve().parents[2] / "docs" / "check.schema.json").read_text("utf-8")
)
Given = tuple[Path, tuple[str, ...]]  # data and settings
Make = Callable[[Path], Given]


def image(name: str, pixels: np.ndarray) -> Make:
    """A clean set with one image more, or another one."""

    def make(root: Path) -> Given:
        write(clean_pairs(root) / "images" / name, pixels)
        write(root / "masks" / f"{Path(name).stem}.png", target(5, 5, at=(1, 60)))
        return root, ()

    return make


def mask(name: str, pixels: np.ndarray, *settings: str) -> Make:
    """A clean set with another mask."""

    def make(root: Path) -> Given:
        write(clean_pairs(root) / "masks" / name, pixels)
        return root, settings

    return make


def volume_mask(affine: np.ndarray) -> Make:
    """Clean volumes, of which one mask lies elsewhere."""

    def make(root: Path) -> Given:
        path = clean_volumes(root) / "masks" / "birch.nii.gz"
        write(path, np.asarray(nib.load(path).dataobj), affine)
        return root, ()

    return make


def settings(*given: str) -> Make:
    """A clean set, looked at with settings."""
    return lambda root: (clean_pairs(root), given)


def all_masks(change: Callable[[np.ndarray], np.ndarray]) -> Make:
    def make(root: Path) -> Given:
        for path in sorted((clean_pairs(root) / "masks").iterdir()):
            write(path, change(np.asarray(Image.open(path))))
        return root, ()

    return make


def within(make: Make) -> Make:
    """The same, all images of one subject."""
    return lambda root: (make(root)[0], ("data.subject=([.])[a-z]+$",))


def no_layout(root: Path) -> Given:
    write(root / "stuff" / "one.png", scene(0))
    return root, ()


def lonely_mask(root: Path) -> Given:
    write(clean_pairs(root) / "masks" / "extra.png", target())
    return root, ()


def lonely_image(root: Path) -> Given:
    write(clean_pairs(root) / "images" / "extra.png", scene(9))
    return root, ()


def broken(root: Path) -> Given:
    (clean_pairs(root) / "images" / "amber.png").write_bytes(b"broken")
    return root, ()


def picture_and_volume(root: Path) -> Given:
    (clean_volumes(root) / "masks" / "birch.nii.gz").unlink()
    pages = [Image.fromarray(np.eye(48, 40, dtype=np.uint8)) for _ in range(3)]
    pages[0].save(root / "masks" / "birch.tif", save_all=True, append_images=pages[1:])
    return root, ()


def two_forms(root: Path) -> Given:
    path = clean_volumes(root) / "images" / "birch.nii.gz"
    file = nib.load(path)
    file = nib.Nifti1Image(np.asarray(file.dataobj), file.affine)
    file.set_sform(file.affine, 1)
    file.set_qform(np.diag([-1, -1, 1, 1]) @ file.affine, 1)
    nib.save(file, path)
    return root, ()


def spacings(*mm: float) -> Make:
    def make(root: Path) -> Given:
        names = [path.stem for path in sorted((clean_pairs(root) / "images").iterdir())]
        rows = [f"images/{n}.png,masks/{n}.png,5 {x} {x}" for n, x in zip(names, mm, strict=False)]
        (root / "list.csv").write_text("image,mask,spacing\n" + "\n".join(rows))
        return root / "list.csv", ()

    return make


def persons(root: Path) -> Given:
    for number, name in enumerate(("anna_1", "anna_2", "ben_1", "ben_2")):
        write(root / "images" / f"{name}.png", scene(number))
        write(root / "masks" / f"{name}.png", target(at=(number, number)))
    return root, ()


def channels(root: Path) -> Given:
    stored = np.random.default_rng(0).integers(0, 99, (40, 48, 3, 2), dtype=np.int16)
    path = clean_volumes(root) / "images" / "cedar.nii.gz"
    write(path, stored, np.diag([0.5, 0.5, 4.0, 1.0]))
    return root, ()


def deep(root: Path) -> Given:
    for seed, path in enumerate(sorted((clean_pairs(root) / "images").iterdir())):
        write(path, scene(seed).astype(np.uint16) * 4)
    return root, ()


def alike(root: Path) -> Given:
    clean_pairs(root)
    small = Image.fromarray(scene(0, 128, 160)).resize((80, 64), Image.Resampling.BOX)
    small.save(root / "images" / "amber.png")
    small.resize((100, 80), Image.Resampling.BICUBIC).save(root / "images" / "again.jpg")
    write(root / "masks" / "again.png", np.pad(target(5, 5), ((0, 16), (0, 20))))
    return root, ()


def unknown_in_split(root: Path) -> Given:
    folds = clean_pairs(root) / "folds.json"
    folds.write_text(json.dumps([{"train": ["amber"], "val": ["zebra"]}]))
    return root, (f"split.file={folds}",)


def leaking_split(root: Path) -> Given:
    COPY(root)
    names = [path.stem for path in sorted((root / "images").iterdir())]
    rows = [f"images/{n}.png,masks/{n}.png,{int(n == 'copy')}" for n in names]
    (root / "list.csv").write_text("image,mask,fold\n" + "\n".join(rows))
    return root / "list.csv", ()


def speckled() -> np.ndarray:
    """A 0/255 mask as JPG of the best quality leaves it: 1 and 254 in single pixels."""
    pixels = target(30, 30, 255)
    pixels[19, 30:60:3], pixels[20, 31:60:3] = 1, 254
    return pixels


def copied(pixels: np.ndarray) -> Make:
    """A clean set with amber's image once more, under another name, and this mask."""

    def make(root: Path) -> Given:
        write(clean_pairs(root) / "images" / "copy.png", scene(0))
        write(root / "masks" / "copy.png", pixels)
        return root, ()

    return make


COPY = copied(target(at=(0, 1)))
TURNED = image("turned.png", np.rot90(scene(1)).copy())
COPIED = mask("birch.png", target(at=(0, 1)))  # that of amber

MADE: dict[str, Make] = {
    "layout": no_layout,
    "no-mask": lonely_image,
    "no-image": lonely_mask,
    "unreadable": broken,
    "size": mask("cedar.png", target()[:60]),
    "place": volume_mask(np.diag([0.5, 0.5, 5.0, 1.0])),
    "format": picture_and_volume,
    "forms": two_forms,
    "voxels": spacings(500, 500),
    "subjects": persons,
    "noise": mask("amber.png", speckled()),
    "unnamed": mask("amber.png", target(value=7), "data.label_map={disc: [1]}"),
    "all-empty": all_masks(np.zeros_like),
    "full": mask("amber.png", np.ones((64, 80), np.uint8)),
    "two-codings": mask("amber.png", target(value=255)),
    "many-values": mask("amber.png", np.tile(np.arange(80, dtype=np.uint8) * 3, (64, 1))),
    "absent": settings("data.label_map={disc: [1], ghost: [3]}"),
    "copied-masks": COPIED,
    "inverted": mask("amber.png", 1 - target()),
    "empty": mask("amber.png", target(0)),
    "copied-masks-within": within(COPIED),
    "inverted-all": all_masks(lambda pixels: 1 - pixels),
    "coding": all_masks(lambda pixels: pixels * np.uint8(255)),
    "channels": channels,
    "constant": image("amber.png", np.full((64, 80), 9, np.uint8)),
    "kinds": image("amber.png", scene(2).astype(np.uint16) * 4),
    "dark": deep,
    "spacing": spacings(0.5, 0.8),
    "split": unknown_in_split,
    "split-leak": leaking_split,
    "copies-differ": copied(target(5, 5, at=(1, 60))),
    "copies": COPY,
    "alike": alike,
    "turned": TURNED,
    "augmented-names": image("amber_rot20.png", scene(7)),
    "copies-within": within(COPY),
    "alike-within": within(alike),
    "turned-within": within(TURNED),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_finding_comes_of_the_set_that_is_made_for_it(kind, tmp_path):
    assert kind in MADE, f"make a set up that yields {kind!r}, and name it in MADE"
    data, given = MADE[kind](tmp_path / "data")
    check = check_data(data, given)
    found = {finding.kind: finding for finding in check.findings}
    assert kind in found
    assert found[kind].severity == KINDS[kind].severity
    jsonschema.validate(check.to_dict(), PUBLISHED)


def test_no_set_is_made_for_a_kind_that_is_gone():
    assert sorted(MADE) == sorted(KINDS)


def test_sets_before_they_are_spoiled_have_no_finding(tmp_path):
    assert check_data(clean_pairs(tmp_path / "pairs")).findings == []
    assert check_data(clean_volumes(tmp_path / "volumes")).findings == []
