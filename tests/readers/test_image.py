import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crosslinknet.case import CaseFiles
from crosslinknet.errors import CrosslinkError, DataError, LabelError, ShapeError, UsageError
from crosslinknet.labels import label_table, to_values
from crosslinknet.readers import count_values, read_image, read_mask, write_mask

LESION = label_table({"lesion": [1]})
COLOURS = label_table({"red": ["#ff0000"], "both": ["#ff0000", "#00ff00"]})


def save(path, pixels, **options):
    Image.fromarray(np.asarray(pixels)).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.TIFF"])
def test_grey_pixels_are_read_as_stored(tmp_path, name):
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image, grid = read_image(save(tmp_path / name, pixels), 0)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, pixels[None, None])
    assert grid.shape == (1, 3, 4)
    assert grid.spacing is None


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_stay_sixteen_bits(tmp_path, name):
    pixels = np.array([[0, 256], [1000, 65535]], dtype=np.uint16)
    image, _ = read_image(save(tmp_path / name, pixels), 0)
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image[0, 0], pixels)


def test_big_endian_tiff_gives_native_numbers(tmp_path):
    pixels = np.array([[1, 2], [256, 65535]], dtype=">u2")
    path = tmp_path / "a.tif"
    header = b"MM\0*\0\0\0\x08" + (8).to_bytes(2, "big")
    entries = [(256, 3, 2), (257, 3, 2), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 110)]
    entries += [(278, 3, 2), (279, 4, 8)]
    for tag, kind, value in entries:
        header += tag.to_bytes(2, "big") + kind.to_bytes(2, "big") + (1).to_bytes(4, "big")
        header += value.to_bytes(2, "big") + b"\0\0" if kind == 3 else value.to_bytes(4, "big")
    path.write_bytes(header + b"\0" * 4 + pixels.tobytes())
    image, _ = read_image(path, 0)
    assert image.dtype == np.dtype(np.uint16).newbyteorder("=")
    np.testing.assert_array_equal(image[0, 0], [[1, 2], [256, 65535]])


def test_colour_pictures_have_three_channels(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    image, grid = read_image(save(tmp_path / "a.png", pixels), 0)
    np.testing.assert_array_equal(image, pixels.transpose(2, 0, 1)[None])
    assert grid.shape == (1, 2, 4)


def test_a_jpg_is_read_as_an_image(tmp_path):
    image, _ = read_image(save(tmp_path / "a.jpg", np.full((8, 8), 77, np.uint8)), 0)
    np.testing.assert_allclose(image, 77, atol=2)


def test_pages_of_a_tiff_are_slices(tmp_path):
    volume = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    pages = [Image.fromarray(page) for page in volume]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    image, grid = read_image(tmp_path / "a.tif", "axial")
    np.testing.assert_array_equal(image[:, 0], volume)
    assert grid.shape == (4, 2, 3)


def test_pages_of_different_size_are_no_volume(tmp_path):
    first, second = Image.new("L", (4, 4)), Image.new("L", (2, 2))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    with pytest.raises(ShapeError, match=r"a\.tif: page 2 is 2x2, page 1 is 4x4"):
        read_image(tmp_path / "a.tif", 0)


def test_bilevel_pictures_hold_0_and_255_in_images_and_masks(tmp_path):
    path = save(tmp_path / "a.png", np.array([[True, False]]))
    assert read_image(path, 0)[0].tolist() == [[[[255, 0]]]]
    codes, _ = read_mask(path, 0, label_table({"lesion": [255]}), None)
    assert codes.tolist() == [[[1, 0]]]


def test_a_palette_image_shows_its_colours_and_a_palette_mask_its_indices(tmp_path):
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8))
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", 0)[0][0, 0].tolist() == [[0, 255], [0, 255]]
    indices, _ = read_mask(tmp_path / "a.png", 0, label_table({"a": [1], "b": [2]}), None)
    assert indices.tolist() == [[[0, 1], [2, 1]]]
    colours, _ = read_mask(tmp_path / "a.png", 0, COLOURS, None)  # green is code 1, red code 2
    assert colours.tolist() == [[[0, 2], [1, 2]]]


def test_colour_masks_are_read_and_written_by_their_colours(tmp_path):
    pixels = np.zeros((2, 3, 3), dtype=np.uint8)
    pixels[0, 0], pixels[1, 2] = (255, 0, 0), (0, 255, 0)
    codes, grid = read_mask(save(tmp_path / "a.png", pixels), 0, COLOURS, None)
    assert codes.tolist() == [[[2, 0, 0], [0, 0, 1]]]
    write_mask(tmp_path / "b.bmp", codes, COLOURS, grid, None)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.bmp")), pixels)


def test_an_rgb_mask_without_colours_in_the_label_map_is_an_error(tmp_path):
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pixels[0, :3] = (255, 0, 0)
    with pytest.raises(DataError, match=r"a\.png is an RGB mask.*#ff0000 \(3 px\)"):
        read_mask(save(tmp_path / "a.png", pixels), 0, LESION, None)


def test_a_grey_mask_stored_as_rgb_counts_as_grey(tmp_path):
    pixels = np.zeros((2, 2, 3), dtype=np.uint8)
    pixels[1, 1] = 1
    codes, _ = read_mask(save(tmp_path / "a.png", pixels), 0, LESION, None)
    assert codes.tolist() == [[[0, 0], [0, 1]]]


def test_a_sixteen_bit_mask_needs_its_values_named(tmp_path):
    path = save(tmp_path / "a.png", np.array([[0, 1000], [1000, 1000]], dtype=np.uint16))
    with pytest.raises(LabelError, match=r"a\.png holds 1000 \(3 px\)"):
        read_mask(path, 0, LESION, None)
    table = label_table({"cell": [1000]})
    codes, grid = read_mask(path, 0, table, None)
    write_mask(tmp_path / "b.png", codes, table, grid, path)
    assert np.asarray(Image.open(tmp_path / "b.png")).tolist() == [[0, 1000], [1000, 1000]]


def test_a_sixteen_bit_mask_has_no_colours(tmp_path):
    path = save(tmp_path / "a.png", np.ones((2, 2), dtype=np.uint16))
    with pytest.raises(DataError, match="label_map names colours"):
        read_mask(path, 0, COLOURS, None)


@pytest.mark.parametrize("name", ["a.jpg", "hidden.png"])
def test_a_jpg_mask_is_refused_unless_a_threshold_is_stated(tmp_path, name):
    pixels = np.zeros((16, 16), dtype=np.uint8)
    pixels[4:12, 4:12] = 255
    path = save(tmp_path / name, pixels, format="JPEG")
    with pytest.raises(DataError, match=rf"{name} is a JPG.*data\.threshold"):
        read_mask(path, 0, LESION, None)
    codes, _ = read_mask(path, 0, LESION, 127)
    np.testing.assert_array_equal(codes[0], pixels // 255)


def test_the_threshold_itself_is_background(tmp_path):
    path = save(tmp_path / "a.png", np.array([[0, 127, 128, 255]], dtype=np.uint8))
    assert read_mask(path, 0, LESION, 127)[0].tolist() == [[[0, 0, 1, 1]]]


@pytest.mark.parametrize("label_map", [{"a": [255]}, {"a": [1], "b": [2]}, {"a": ["#ff0000"]}])
def test_a_threshold_and_other_values_than_one_contradict(tmp_path, label_map):
    path = save(tmp_path / "a.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(UsageError, match="threshold is 127"):
        read_mask(path, 0, label_table(label_map), 127)


def test_transparent_pixels_are_refused_and_opaque_ones_dropped(tmp_path):
    pixels = np.full((2, 2, 4), 255, dtype=np.uint8)
    assert read_image(save(tmp_path / "a.png", pixels), 0)[0].shape == (1, 3, 2, 2)
    pixels[0, 0, 3] = 0
    with pytest.raises(DataError, match=r"b\.png has transparent pixels"):
        read_image(save(tmp_path / "b.png", pixels), 0)


def test_colour_with_sixteen_bits_is_refused_not_cut_to_eight(tmp_path):
    def chunk(kind, body):
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + bytes(6)))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))
    with pytest.raises(DataError, match=r"a\.png has 16 bits per colour channel"):
        read_image(tmp_path / "a.png", 0)


def test_cmyk_is_refused(tmp_path):
    Image.new("CMYK", (4, 4)).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg is a picture of kind 'CMYK'"):
        read_image(tmp_path / "a.jpg", 0)


def test_a_photo_stored_turned_is_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4, 8)).save(tmp_path / "a.jpg", exif=exif)
    with pytest.raises(DataError, match="EXIF orientation 6"):
        read_image(tmp_path / "a.jpg", 0)


def test_an_animation_is_refused(tmp_path):
    pages = [Image.fromarray(np.full((4, 4), i, np.uint8)) for i in range(3)]
    pages[0].save(tmp_path / "a.png", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="animation of 3 pictures"):
        read_image(tmp_path / "a.png", 0)


def test_a_missing_and_an_empty_file_say_so(tmp_path):
    with pytest.raises(DataError, match=r"a\.png is no file"):
        read_image(tmp_path / "a.png", 0)
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match=r"a\.png is empty \(0 bytes\)"):
        read_image(tmp_path / "a.png", 0)


def test_a_picture_without_pixels_is_an_error(tmp_path):
    save(tmp_path / "a.bmp", np.zeros((2, 2), np.uint8))
    content = bytearray((tmp_path / "a.bmp").read_bytes())
    content[18:26] = bytes(8)  # width and height of the BMP header
    (tmp_path / "a.bmp").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.bmp"):
        read_image(tmp_path / "a.bmp", 0)


def test_a_text_file_named_png_is_an_error(tmp_path):
    (tmp_path / "a.png").write_text("not a picture")
    with pytest.raises(DataError, match=r"a\.png cannot be read as PNG, JPG, BMP or TIFF"):
        read_image(tmp_path / "a.png", 0)


def test_an_unknown_suffix_lists_the_known_ones(tmp_path):
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    with pytest.raises(DataError, match=r"suffix '\.gif'.*\.nii\.gz"):
        read_image(tmp_path / "a.gif", 0)


def test_a_picture_that_claims_too_many_pixels_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", np.zeros((20, 20), np.uint8))
    for limit in (300, 100):  # Pillow warns above the limit and refuses above twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match=r"a\.png claims more pixels"):
            read_image(path, 0)


def test_nan_pixels_are_counted(tmp_path):
    pixels = np.ones((4, 4), dtype=np.float32)
    pixels[0, :3] = np.nan, np.inf, -np.inf
    with pytest.raises(DataError, match=r"a\.tif: 3 of 16 pixels are NaN or infinite"):
        read_image(save(tmp_path / "a.tif", pixels), 0)


def test_a_float_mask_must_hold_whole_numbers(tmp_path):
    whole = save(tmp_path / "a.tif", np.array([[0.0, 1.0]], dtype=np.float32))
    assert read_mask(whole, 0, LESION, None)[0].tolist() == [[[0, 1]]]
    broken = save(tmp_path / "b.tif", np.array([[0.0, 0.5, np.nan]], dtype=np.float32))
    with pytest.raises(DataError, match=r"b\.tif is a mask with 2 pixels that are no whole"):
        read_mask(broken, 0, LESION, None)


def test_masks_are_never_written_with_loss_or_cut_short(tmp_path):
    codes = np.ones((2, 4, 4), dtype=np.uint8)
    for name, reason in (("a.jpg", "keep every value"), ("a.png", "one slice, not 2")):
        with pytest.raises(DataError, match=reason):
            write_mask(tmp_path / name, codes, LESION, None, None)
    with pytest.raises(DataError, match="BMP holds 8 bits"):
        write_mask(tmp_path / "a.bmp", codes[:1], label_table({"a": [1000]}), None, None)
    assert not list(tmp_path.iterdir())


def test_the_values_of_any_mask_can_be_counted(tmp_path):
    grey = save(tmp_path / "a.png", np.array([[0, 0, 255]], dtype=np.uint8))
    assert count_values(CaseFiles("a", "a", (grey,), grey)) == {0: 2, 255: 1}
    pixels = np.zeros((1, 3, 3), dtype=np.uint8)
    pixels[0, 0] = (255, 0, 16)
    colour = save(tmp_path / "b.png", pixels)
    assert count_values(CaseFiles("b", "b", (colour,), colour)) == {"#000000": 2, "#ff0010": 1}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_by_name_but_never_crashes(tmp_path_factory, kind, data):
    content = io.BytesIO()
    Image.fromarray(np.arange(1200, dtype=np.uint8).reshape(20, 20, 3)).save(content, kind)
    damaged = bytearray(content.getvalue()[: data.draw(st.integers(1, len(content.getvalue())))])
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=4)):
        damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "a.png"
    path.write_bytes(damaged)
    try:
        image, _ = read_image(path, 0)
    except CrosslinkError as error:
        message = str(error)
    else:
        message = f"{path} was read as {image.shape}"
    assert str(path) in message


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_a_truncated_file_is_an_error(tmp_path, kind):
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 9, (64, 64), np.uint8)).save(content, kind)
    (tmp_path / "a.png").write_bytes(content.getvalue()[: len(content.getvalue()) * 2 // 3])
    with pytest.raises(DataError, match=r"a\.png (cannot be read: it ends|claims .*it holds)"):
        read_image(tmp_path / "a.png", 0)


def test_real_masks_survive_reading_and_writing(real_data, tmp_path):
    table = label_table({"ggo": [1], "consolidation": [2]})
    for path in sorted((real_data / "covid19_i_ct" / "masks").iterdir())[:5]:
        codes, grid = read_mask(path, 0, table, None)
        np.testing.assert_array_equal(to_values(codes, table)[0], np.asarray(Image.open(path)))
        write_mask(tmp_path / path.name, codes, table, grid, path)
        np.testing.assert_array_equal(
            np.asarray(Image.open(tmp_path / path.name)), np.asarray(Image.open(path))
        )
