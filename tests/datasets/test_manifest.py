import pytest

from crosslinknet.config import DataConfig
from crosslinknet.datasets import find_cases
from crosslinknet.errors import DataError


def make(root, text, files=("i/a.png", "i/b.png", "m/a.png", "m/b.png"), name="manifest.csv"):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"x")
    (root / name).write_text(text, encoding="utf-8")
    return root


def found(root, **settings):
    return find_cases(DataConfig(root=root, **settings))


def test_rows_are_cases(tmp_path):
    text = (
        "image,mask,subject,spacing,fold,remark\n"
        "i/b.png,m/b.png,bert,5 0.7 0.8,1,late\n\n"
        'i/a.png,m/a.png,anna,"5,0.7,0.8",0,"two\nlines"\n'
    )
    result = found(make(tmp_path, text))
    assert result.layout == "csv"
    assert result.subject_rule == "column 'subject' of manifest.csv"
    a, b = result.cases
    assert (a.id, a.subject, a.fold, a.spacing) == ("a", "anna", 0, (5.0, 0.7, 0.8))
    assert (b.images, b.mask) == ((tmp_path / "i/b.png",), tmp_path / "m/b.png")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_spreadsheets_write_tables_in_many_ways(tmp_path, separator, mark):
    text = f"{mark}Image, MASK \r\ni/a.png,m/a.png\r\n".replace(",", separator)
    assert [case.id for case in found(make(tmp_path, text)).cases] == ["a"]


def test_without_a_subject_column_the_pattern_or_the_name_decides(tmp_path):
    make(tmp_path, "image,mask\ni/a.png,m/a.png\ni/b.png,m/b.png\n")
    assert [case.subject for case in found(tmp_path).cases] == ["a", "b"]
    assert {case.subject for case in found(tmp_path, subject="^(.)/").cases} == {"i"}
    by_name = found(tmp_path, subject=r"^(.)\.png")  # no path begins so, but the names do
    assert [case.subject for case in by_name.cases] == ["a", "b"]


def test_a_stated_pattern_wins_over_the_column(tmp_path):
    make(tmp_path, "image,mask,subject\ni/a.png,m/a.png,x\ni/b.png,m/b.png,x\n")
    result = found(tmp_path, subject=r"([a-z])\.png$")
    assert [case.subject for case in result.cases] == ["a", "b"]
    assert result.subject_rule.startswith("regular expression")


def test_several_images_of_a_row_are_channels(tmp_path):
    make(tmp_path, "id,image,mask\nx,i/a.png|i/b.png,m/a.png\n")
    (case,) = found(tmp_path).cases
    assert case.id == "x"
    assert [path.name for path in case.images] == ["a.png", "b.png"]


def test_equal_names_in_different_folders_stay_apart(tmp_path):
    files = ["x/1.png", "y/1.png", "m/1.png"]
    make(tmp_path, "image,mask\nx/1.png,m/1.png\ny/1.png,m/1.png\n", files)
    assert [case.id for case in found(tmp_path).cases] == ["x__1", "y__1"]


def test_a_table_without_both_columns_is_no_manifest(tmp_path):
    make(tmp_path, "image,height\na,5\n", ["images/a.png", "masks/a.png"])
    assert found(tmp_path).layout == "folders"


def test_a_manifest_wins_over_folders_unless_a_mask_folder_is_stated(tmp_path):
    make(tmp_path, "image,mask\nimages/a.png,masks/a.png\n", ["images/a.png", "masks/a.png"])
    assert found(tmp_path).layout == "csv"
    assert found(tmp_path, masks="masks").layout == "folders"


def test_the_manifest_may_be_stated_or_be_the_root_or_have_another_name(tmp_path):
    make(tmp_path, "image,mask\ni/a.png,m/a.png\n", name="list.csv")
    for settings in ({}, {"images": "list.csv"}, {"layout": "csv"}):
        assert len(found(tmp_path, **settings).cases) == 1
    assert len(found(tmp_path / "list.csv").cases) == 1
    make(tmp_path, "image,mask\ni/b.png,m/b.png\n", name="other.csv")
    with pytest.raises(DataError, match=r"several manifests: list\.csv, other\.csv"):
        found(tmp_path)


def test_rows_without_mask_are_an_error_or_left_out(tmp_path):
    make(tmp_path, "image,mask\ni/a.png,\ni/b.png,m/b.png\n")
    with pytest.raises(DataError, match=r"1 of 2 images have no mask in column 'mask'.*i/a\.png"):
        found(tmp_path)
    assert [case.id for case in found(tmp_path, unlabelled="skip").cases] == ["b"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("image,mask\n", "header but no rows"),
        ("image,mask\ni/a.png\n", "line 2: 1 cells, the header has 2"),
        ("image,mask\ni/a.png,m/z.png\n", r"files that do not exist, 1 in all: .*z\.png"),
        ("image,mask\n,m/a.png\n", "column 'image' is empty in 1 of 1 rows"),
        (
            "image,mask\ni/a.png,m/a.png\ni/a.png,m/b.png\n",
            "lists cases more than once, 1 in all: i__a",
        ),
        (
            "id,image,mask\nx,i/a.png,m/a.png\ny,i/a.png,m/b.png\n",
            "images in several cases, 1 in all",
        ),
        ("id,image,mask\nx/y,i/a.png,m/a.png\n", "id 'x/y' is no file name"),
        ("image,mask,fold\ni/a.png,m/a.png,one\n", "line 2: fold 'one' is not understood"),
        ("image,mask,fold\ni/a.png,m/a.png,-1\n", "fold '-1' is not understood"),
        ("image,mask,fold\ni/a.png,m/a.png,1\ni/b.png,m/b.png,\n", r"'fold' is empty in 1 of 2.*3"),
        ("image,mask,spacing\ni/a.png,m/a.png,0.7\n", "spacing '0.7' is not understood"),
        ("image,mask,spacing\ni/a.png,m/a.png,5 0 nan\n", "spacing '5 0 nan' is not understood"),
        ("image,mask\ni/a.png,manifest.csv\n", "files of kinds that are not read, 1 in all"),
        ('image,mask\n"i/a.png,m/a.png\n', "line "),
    ],
)
def test_what_makes_no_sense_is_named_with_file_and_line(tmp_path, text, reason):
    with pytest.raises(DataError, match=rf"manifest\.csv.*{reason}"):
        found(make(tmp_path, text))


def test_a_manifest_in_another_encoding_is_an_error(tmp_path):
    make(tmp_path, "image,mask\n")
    (tmp_path / "manifest.csv").write_bytes("image,mask\nmüller.png,m/a.png\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"manifest\.csv cannot be read as a UTF-8 CSV"):
        found(tmp_path)


def test_a_stated_manifest_must_be_one(tmp_path):
    make(tmp_path, "file,mask\n")
    with pytest.raises(DataError, match=r"columns \['file', 'mask'\]; image and mask are needed"):
        found(tmp_path, images="manifest.csv", layout="csv")
    with pytest.raises(DataError, match=r"none\.csv: looked for"):
        found(tmp_path, images="none.csv", layout="csv")
