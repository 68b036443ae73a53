import hashlib

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from crosslinknet.errors import SystemProblem, UsageError
from crosslinknet.phantoms import PHANTOMS, Canvas, make_phantom, write_phantoms

KINDS = sorted(PHANTOMS)


def slice_of(kind, subject=0, slice_index=0, size=(96, 96), seed=0):
    """Image (H, W) and mask (H, W)."""
    case = make_phantom(kind, size, subject, slice_index, seed)
    return case.image[0, 0], case.mask[0]


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("kind", KINDS)
def test_a_case_has_the_promised_form(kind):
    case = make_phantom(kind, (64, 96), subject=3, slice_index=1)
    assert (case.id, case.subject) == ("subject_003_slice_01", "subject_003")
    assert (case.image.shape, case.image.dtype) == ((1, 1, 64, 96), np.float32)
    assert (case.mask.shape, case.mask.dtype) == ((1, 64, 96), np.uint8)
    assert np.isfinite(case.image).all()
    values = {v for group in PHANTOMS[kind].label_map.values() for v in group}
    assert set(np.unique(case.mask)) <= values | {0}
    assert case.grid.spacing[1:] == pytest.approx((PHANTOMS[kind].width / 64,) * 2)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_arguments_give_equal_bits(kind):
    first, second = (slice_of(kind, subject=5, slice_index=2, seed=9) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize("kind", KINDS)
def test_every_subject_slice_and_seed_differs(kind):
    cases = [(s, i, seed) for s in range(4) for i in range(2) for seed in range(2)]
    pictures = [slice_of(kind, s, i, seed=seed) for s, i, seed in cases]
    images, masks = zip(*pictures, strict=True)
    assert len({hashlib.sha256(image.tobytes()).digest() for image in images}) == len(cases)
    assert len({hashlib.sha256(mask.tobytes()).digest() for mask in masks}) == len(cases)


@pytest.mark.parametrize("kind", KINDS)
def test_slices_of_a_subject_look_alike_and_subjects_do_not(kind):
    targets = {(s, i): slice_of(kind, s, i)[1] > 0 for s in range(5) for i in (0, 1)}
    alike = [dice(targets[s, 0], targets[s, 1]) for s in range(5)]
    others = [dice(targets[s, 0], targets[t, 0]) for s in range(5) for t in range(s)]
    assert min(alike) > 0.75
    assert np.mean(others) < np.mean(alike) - 0.15


@pytest.mark.parametrize("kind", KINDS)
def test_no_mask_is_empty(kind):
    shares = [(slice_of(kind, s, 3 * (s % 4), (48, 48))[1] > 0).mean() for s in range(40)]
    assert min(shares) > 0
    assert max(shares) < 0.35


@pytest.mark.parametrize("kind", KINDS)
def test_the_mask_is_the_same_anatomy_at_every_size(kind):
    _, small = slice_of(kind, subject=1, size=(64, 64))
    _, large = slice_of(kind, subject=1, size=(192, 192))
    for value in (1, 2):
        fine = (large == value).reshape(64, 3, 64, 3)
        # the middle of three pixels has its centre where the coarse pixel has it
        np.testing.assert_array_equal(small == value, fine[:, 1, :, 1])
        assert (small == value).mean() == pytest.approx(fine.mean(), rel=0.1)


def test_a_blob_covers_the_area_of_its_ellipse():
    canvas = Canvas((200, 200), z=0.0, rng=np.random.default_rng(0), empty=0.0)
    canvas.y, canvas.x = canvas.rows[:, None], canvas.columns[None, :]  # straight
    depth = canvas.blob(0.1, -0.2, ry=0.5, rx=0.3, turn=0.7)
    area = np.pi * 50 * 30  # in pixels: a half-width has 100
    assert (depth > 0).sum() == pytest.approx(area, rel=0.005)
    canvas.paint(depth, 1.0)
    assert canvas.image.sum() == pytest.approx(area, rel=0.005)


def test_paint_is_half_done_on_the_edge_of_the_mask():
    canvas = Canvas((32, 32), z=0.0, rng=np.random.default_rng(0), empty=0.0)
    canvas.paint(np.zeros((32, 32), np.float32), 10.0)
    assert (canvas.image == 5.0).all()


@pytest.mark.parametrize("subject", range(6))
def test_the_ring_of_the_heart_surrounds_its_cavity(subject):
    image, mask = slice_of("heart", subject, subject)
    ring, cavity = mask == 1, mask == 2
    np.testing.assert_array_equal(ndimage.binary_fill_holes(ring) & ~ring, cavity)
    for part in (ring, cavity):
        assert ndimage.label(part)[1] == 1
    assert np.median(image[cavity]) > 1.8 * np.median(image[ring])


@pytest.mark.parametrize("subject", range(4))
def test_lung_values_are_those_of_tissue(subject):
    image, mask = slice_of("lung", subject, size=(160, 160))
    glass, dense = (ndimage.binary_erosion(mask == value) for value in (1, 2))
    air = np.concatenate([image[:8, :8], image[:8, -8:]])
    assert np.median(air) == pytest.approx(-1000, abs=15)
    assert -750 < np.median(image[mask == 1]) < -350
    if dense.sum() > 20:
        assert np.median(image[dense]) > np.median(image[glass | (mask == 1)]) + 250
    assert image.min() > -1250
    assert 300 < image.max() < 1200  # bone


@pytest.mark.parametrize("subject", range(4))
def test_there_are_two_kidneys_and_one_tumour_darker_than_they_are(subject):
    image, mask = slice_of("kidney", subject, size=(160, 160))
    left, right = (mask[:, :80] == 1).sum(), (mask[:, 80:] == 1).sum()
    assert min(left, right) > 50
    assert ndimage.label(mask == 2)[1] == 1
    assert ndimage.binary_dilation(mask == 2)[mask == 1].any()  # they touch
    assert 0 < np.median(image[mask == 2]) < np.median(image[mask == 1]) < 260


def test_ct_noise_is_correlated_between_neighbours():
    image, _ = slice_of("kidney", size=(128, 128))
    air = image[:12].astype(float) - image[:12].mean()
    assert np.corrcoef(air[:, :-1].ravel(), air[:, 1:].ravel())[0, 1] > 0.2


def test_mr_noise_is_rician_so_that_air_is_never_negative():
    image, _ = slice_of("heart", subject=1, size=(128, 128))
    air = image[:12]
    assert air.min() >= 0
    # magnitude of complex noise: mean / deviation = sqrt(pi / (4 - pi))
    assert air.mean() / air.std() == pytest.approx(1.913, rel=0.1)


def test_pictures_are_written_in_pairs_with_the_exact_mask(tmp_path):
    write_phantoms(tmp_path, "kidney", subjects=2, slices=2, size=(48, 64), seed=4)
    names = sorted(f"subject_00{s}_slice_0{i}.png" for s in range(2) for i in range(2))
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    assert written == [f"{part}/{name}" for part in ("images", "masks") for name in names]
    case = make_phantom("kidney", (48, 64), subject=1, slice_index=0, seed=4)
    with Image.open(tmp_path / "masks" / names[2]) as mask:
        assert mask.mode == "L"
        np.testing.assert_array_equal(np.asarray(mask), case.mask[0])
    with Image.open(tmp_path / "images" / names[2]) as image:
        assert (image.mode, image.size) == ("L", (64, 48))
        back = np.asarray(image) / 255 * 400 - 160  # kidney window, HU
    np.testing.assert_allclose(back, np.clip(case.image[0, 0], -160, 240), atol=0.8)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemProblem, match="file"):
        write_phantoms(tmp_path / "file", "lung", subjects=1, slices=1, size=(32, 32), seed=0)


def test_unknown_kinds_and_impossible_numbers_are_refused():
    with pytest.raises(UsageError, match="'kidney'"):
        make_phantom("kidneys", (64, 64), 0, 0)
    with pytest.raises(UsageError, match=r"\(8, 64\)"):
        make_phantom("lung", (8, 64), 0, 0)
    with pytest.raises(UsageError, match="subject -1"):
        make_phantom("lung", (64, 64), -1, 0)
