"""Files that were damaged on purpose: each is read as its header says, or refused by name.

A format joins by one line of FORMATS: how good files of it are made, what its header says of the
size, where pixels begin if they are not packed, and where they do if checksums guard them.
"""

import gzip
import io
import re
import resource
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from crosslinknet.errors import DataError
from crosslinknet.labels import label_table
from crosslinknet.readers import read_image, read_mask

RNG = np.random.default_rng(7)
GREY = RNG.integers(0, 200, (20, 24), dtype=np.uint8)
COLOUR = RNG.integers(0, 200, (20, 24, 3), dtype=np.uint8)
VOLUME = RNG.integers(-500, 500, (5, 6, 7), dtype=np.int16)
TABLE = label_table({"any": list(range(1, 256))})
EXTREMES = [b"\x00" * 8, b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\x80" + b"\x00" * 7, b"\x01" * 8]
WORDS = [b"0", b"-1", b"nan", b"inf", b"1e308", b"-1e-308", b"65536", b"999999999999", b"../a", b""]


def picture(pixels, kind, **options):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, **options)
    return content.getvalue()


def pages(**options):
    content = io.BytesIO()
    first, *others = [Image.fromarray(GREY + i) for i in range(3)]
    first.save(content, "TIFF", save_all=True, append_images=others, **options)
    return content.getvalue()


def palette():
    content, image = io.BytesIO(), Image.fromarray(GREY % 4)
    image.putpalette(range(12))
    image.save(content, "PNG")
    return content.getvalue()


def nifti(voxels=VOLUME, kind=nib.Nifti1Image, slope=None):
    image = kind(voxels, np.diag([0.5, 0.75, 4, 1]))
    image.header.set_slope_inter(slope, 0 if slope else None)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"made for a test"))
    return image.to_bytes()


def itk(suffix, folder, compress, channels=False):
    voxels = np.stack([VOLUME, VOLUME + 1], axis=-1) if channels else VOLUME
    image = sitk.GetImageFromArray(voxels, isVector=channels)
    image.SetSpacing((0.5, 0.75, 4))
    sitk.WriteImage(image, folder / f"made{suffix}", useCompression=compress)
    return (folder / f"made{suffix}").read_bytes()


@dataclass(frozen=True)
class Format:
    """What the tests must know of a format.

    Attributes:
        suffix: of its files.
        make: gives good files, from a folder for scratch.
        size: how many numbers a header says there are, found without any library; None where
            only a decoder can tell.
        raw: bytes before the pixels of the first good file, whose pixels are not packed.
        packed: which of the good files has pixels that checksums guard.
        sealed: where those pixels begin and end.
        talks: its C library says on stderr why it refuses.
    """

    suffix: str
    make: Callable
    size: Callable = lambda content: None
    raw: Callable | None = None
    packed: int = 0
    sealed: Callable | None = None
    talks: bool = False


def first_strip(content):
    tags = Image.open(io.BytesIO(content)).tag_v2
    return tags[273][0], tags[273][0] + tags[279][0]


def size_of_png(content):
    width, height, _, colour = struct.unpack(">IIBB", content[16:26])
    return {width * height * channels for channels in ((3, 1) if colour in (2, 3, 6) else (1,))}


def size_of_bmp(content):
    if content[14] == 12:
        width, height = struct.unpack("<HH", content[18:22])
    else:
        width, height = struct.unpack("<ii", content[18:26])
    return {width * abs(height) * channels for channels in (1, 3)}


def size_of_nifti(content):
    form = "<" if content[0] else ">"
    if content[4:7] == b"n+2":
        count, *dim = struct.unpack(form + "8q", content[16:80])
    else:
        count, *dim = struct.unpack(form + "8h", content[40:56])
    return {prod(dim[:count])}


def size_of_mha(content):
    dim = re.search(rb"DimSize *= *([\d ]+)", content)[1].split()
    channels = re.search(rb"ElementNumberOfChannels *= *(\d+)", content)
    return {prod(map(int, dim)) * int(channels[1] if channels else 1)}


def size_of_nrrd(content):
    return {prod(map(int, re.search(rb"(?i)sizes: *([\d ]+)", content)[1].split()))}


FORMATS = {
    "PNG": Format(
        ".png",
        lambda folder: [picture(GREY, "PNG"), picture(COLOUR, "PNG"), palette(),
                        picture(GREY.astype(np.uint16) * 300, "PNG")],
        size_of_png, sealed=lambda content: (8, len(content)),
    ),
    "JPG": Format(
        ".jpg",
        lambda folder: [picture(GREY, "JPEG"), picture(COLOUR, "JPEG", progressive=True)],
    ),
    "BMP": Format(
        ".bmp", lambda folder: [picture(COLOUR, "BMP"), picture(GREY, "BMP")],
        size_of_bmp, raw=lambda content: 54,
    ),
    "TIFF": Format(
        ".tif",
        lambda folder: [pages(), pages(compression="tiff_deflate"), pages(compression="tiff_lzw"),
                        picture(COLOUR, "TIFF")],
        packed=1, sealed=first_strip, talks=True,
    ),
    "NIfTI": Format(
        ".nii",
        lambda folder: [nifti(), nifti(kind=nib.Nifti2Image), nifti(slope=0.5),
                        nifti(VOLUME.astype(np.float32)), nifti(VOLUME.astype(">i2"))],
        size_of_nifti, raw=lambda content: int(struct.unpack("<f", content[108:112])[0]),
    ),
    "NIfTI.gz": Format(
        ".nii.gz", lambda folder: [gzip.compress(nifti()), gzip.compress(nifti(slope=2.0))],
        lambda content: size_of_nifti(gzip.decompress(content)),
        sealed=lambda content: (10, len(content)),
    ),
    "MHA": Format(
        ".mha",
        lambda folder: [itk(".mha", folder, False), itk(".mha", folder, True),
                        itk(".mha", folder, False, channels=True)],
        size_of_mha, raw=lambda content: content.index(b"LOCAL\n") + 6,
        packed=1, sealed=lambda content: (content.index(b"LOCAL\n") + 6, len(content)),
    ),
    "NRRD": Format(
        ".nrrd",
        lambda folder: [itk(".nrrd", folder, False), itk(".nrrd", folder, True),
                        itk(".nrrd", folder, False, channels=True)],
        size_of_nrrd, raw=lambda content: content.index(b"\n\n") + 2,
        packed=1, sealed=lambda content: (content.index(b"\n\n") + 12, len(content)),
    ),
}  # fmt: skip


def flip(content, other, rng):
    for place in rng.integers(0, len(content), rng.integers(1, 5)):
        content[place] ^= 1 << rng.integers(8)


def flip_early(content, other, rng):
    for place in rng.integers(0, min(400, len(content)), rng.integers(1, 4)):
        content[place] ^= 1 << rng.integers(8)


def truncate(content, other, rng):
    del content[rng.integers(1, len(content)) :]


def insert(content, other, rng):
    place = rng.integers(0, len(content))
    content[place:place] = rng.bytes(rng.integers(1, 40))


def exaggerate(content, other, rng):
    """Put an extreme number of 1 to 8 bytes somewhere in the header."""
    width = int(rng.choice([1, 2, 4, 8]))
    place = int(rng.integers(0, max(1, min(360, len(content)) - width)))
    content[place : place + width] = EXTREMES[rng.integers(len(EXTREMES))][:width]


def reword(content, other, rng):
    """Replace a word or number of a text header, or a line by nothing."""
    words = list(re.finditer(rb"[^\s=:]+", content[:600]))
    word = words[rng.integers(len(words))]
    content[word.start() : word.end()] = WORDS[rng.integers(len(WORDS))]


def append(content, other, rng):
    content += rng.bytes(rng.integers(1, 40))


def splice(content, other, rng):
    """Begin as one file and go on as another."""
    content[rng.integers(1, len(content)) :] = other[rng.integers(0, len(other)) :]


MUTATIONS = [flip, flip_early, truncate, insert, exaggerate, reword, append, splice]


def check_contract(path, content, kind, rng):
    """Read a file as image or mask; if it is not refused by name, it is what its header says."""
    axis = ["axial", 0, 1, 2][rng.integers(4)]
    try:
        if rng.integers(4):
            image, grid = read_image(path, axis)
        else:
            codes, grid = read_mask(path, axis, TABLE, None)
            image = codes[:, None]
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017 - most files may be read as well
        return False
    assert image.ndim == 4
    assert (image.shape[0], *image.shape[2:]) == grid.shape
    assert np.isfinite(image).all()
    claimed = kind.size(content)
    assert claimed is None or image.size in claimed
    if grid.affine is not None:
        assert np.isfinite(grid.affine).all()
        assert min(grid.spacing) > 0
    return True


def check_many(name, count, folder, seed, capfd):
    kind, rng = FORMATS[name], np.random.default_rng(seed)
    good = kind.make(folder)
    others = [b"".join(good), *[other.make(folder)[0] for other in FORMATS.values()]]
    path, was_read, slowest = folder / f"a{kind.suffix}", 0, 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for index in range(count):
        content = bytearray(good[index % len(good)])
        MUTATIONS[rng.integers(len(MUTATIONS))](content, others[rng.integers(len(others))], rng)
        path.write_bytes(content)
        start = time.process_time()
        read = check_contract(path, bytes(content), kind, rng)
        if read or not kind.talks:
            assert capfd.readouterr() == ("", "")
        capfd.readouterr()
        was_read += read
        slowest = max(slowest, time.process_time() - start)
    assert slowest < 2  # seconds
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes
    assert 0 < was_read < count  # some mutations harm nothing, most are found


@pytest.mark.parametrize("name", FORMATS)
def test_good_files_are_read(tmp_path, name):
    kind = FORMATS[name]
    for content in kind.make(tmp_path):
        path = tmp_path / f"a{kind.suffix}"
        path.write_bytes(content)
        image, _ = read_image(path, 0)
        assert kind.size(content) is None or image.size in kind.size(content)


@pytest.mark.parametrize("name", FORMATS)
def test_300_damaged_files_are_read_as_they_say_or_refused_by_name(tmp_path, capfd, name):
    check_many(name, 300, tmp_path, 1, capfd)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_5000_damaged_files_are_read_as_they_say_or_refused_by_name(tmp_path, capfd, name):
    check_many(name, 5000, tmp_path, 2, capfd)


@pytest.mark.parametrize("name", [name for name, kind in FORMATS.items() if kind.raw])
def test_pixels_that_changed_change_nothing_but_themselves(tmp_path, name):
    kind, rng = FORMATS[name], np.random.default_rng(3)
    good = kind.make(tmp_path)[0]
    path = tmp_path / f"a{kind.suffix}"
    path.write_bytes(good)
    image, grid = read_image(path, 0)
    for _ in range(40):
        content = bytearray(good)
        places = set(rng.integers(kind.raw(good), len(good), 3).tolist())
        for place in places:
            content[place] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        changed, same = read_image(path, 0)
        assert same.shape == grid.shape
        assert changed.dtype == image.dtype
        assert 1 <= np.count_nonzero(changed != image) <= len(places)


@pytest.mark.parametrize("name", [name for name, kind in FORMATS.items() if kind.sealed])
def test_packed_pixels_that_changed_are_found_by_their_checksum(tmp_path, name):
    kind, rng = FORMATS[name], np.random.default_rng(4)
    good = kind.make(tmp_path)[kind.packed]
    path = tmp_path / f"a{kind.suffix}"
    path.write_bytes(good)
    image, _ = read_image(path, 0)
    found = 0
    for _ in range(200):
        content = bytearray(good)
        content[rng.integers(*kind.sealed(good))] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        try:
            same, _ = read_image(path, 0)
        except DataError:
            found += 1
        else:
            np.testing.assert_array_equal(same, image)  # a bit of padding, which means nothing
    assert found >= 190
