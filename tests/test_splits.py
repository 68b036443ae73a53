import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig, SplitConfig
from crosslinknet.datasets import Found, find_cases
from crosslinknet.errors import DataError
from crosslinknet.splits import Fold, Splits, make_splits, read_splits, write_splits


def found(sizes, **more):
    """Subjects s0, s1, ... with so many cases each."""
    cases = [
        CaseFiles(f"s{subject}_{i}", f"s{subject}", ())
        for subject, size in enumerate(sizes)
        for i in range(size)
    ]
    return Found("folders", tuple(cases), "file name", **more)


def subjects(ids):
    return {name.split("_")[0] for name in ids}


subject_sizes = st.lists(st.integers(1, 12), min_size=3, max_size=20)


@given(subject_sizes, st.integers(0, 50), st.sampled_from([0.0, 0.1, 0.4]), st.integers(2, 3))
def test_folds_never_share_a_subject_and_test_every_case_once(sizes, seed, validation, folds):
    config = SplitConfig(folds=folds, seed=seed, validation=validation)
    splits = make_splits(found(sizes), config)
    everything = sorted(case.id for case in found(sizes).cases)
    assert len(splits.folds) == folds
    assert sorted(name for fold in splits.folds for name in fold.test) == everything
    for fold in splits.folds:
        parts = [subjects(part) for part in (fold.train, fold.validation, fold.test)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == len(sizes)
        assert sorted((*fold.train, *fold.validation, *fold.test)) == everything
        assert fold.train
        assert fold.test


@given(subject_sizes, st.integers(0, 50))
def test_folds_are_balanced_to_within_the_largest_subject(sizes, seed):
    counts = [len(f.test) for f in make_splits(found(sizes), SplitConfig(seed=seed)).folds]
    assert max(counts) - min(counts) <= max(sizes)


def test_subjects_of_equal_size_are_divided_evenly():
    splits = make_splits(found([4] * 33), SplitConfig())
    assert [len(subjects(fold.test)) for fold in splits.folds] == [11, 11, 11]


def test_the_seed_decides_and_the_order_of_the_cases_does_not():
    first = make_splits(found([1] * 12), SplitConfig(seed=1))
    assert make_splits(found([1] * 12), SplitConfig(seed=1)) == first
    assert make_splits(found([1] * 12), SplitConfig(seed=2)).hash != first.hash
    turned = Found("folders", found([1] * 12).cases[::-1], "file name")
    assert [set(f.test) for f in make_splits(turned, SplitConfig(seed=1)).folds] == [
        set(f.test) for f in first.folds
    ]


def test_folds_stay_what_they_were_in_earlier_versions():
    splits = make_splits(found([1] * 6), SplitConfig(seed=0, validation=0))
    tests = [("s1_0", "s2_0"), ("s3_0", "s4_0"), ("s0_0", "s5_0")]  # order 2 4 0 1 3 5, dealt out
    assert [fold.test for fold in splits.folds] == tests


def test_validation_is_a_share_of_the_training_subjects():
    for share, expected in ((0.0, 0), (0.01, 1), (0.1, 2), (0.4, 8)):
        fold = make_splits(found([2] * 30), SplitConfig(validation=share)).folds[0]
        assert len(subjects(fold.validation)) == expected


def test_the_last_training_subject_trains():
    for fold in make_splits(found([3, 3]), SplitConfig(folds=2, validation=0.4)).folds:
        assert len(fold.train) == 3
        assert fold.validation == ()


def test_one_subject_only_is_an_error():
    with pytest.raises(DataError, match=r"of one subject, s0 \(told apart by file name\)"):
        make_splits(found([9]), SplitConfig())


def test_fewer_subjects_than_folds_are_an_error():
    with pytest.raises(DataError, match=r"of 2 subjects, s0, s1 .* split\.folds is 3"):
        make_splits(found([5, 5]), SplitConfig())


def test_the_rule_the_subjects_and_the_seed_are_recorded():
    splits = make_splits(found([2, 2, 2]), SplitConfig(seed=7))
    assert splits.rule == "3 folds of whole subjects, balanced by cases, seed 7"
    assert (splits.subjects, splits.seed) == (3, 7)


def test_splits_are_written_and_read(tmp_path):
    splits = make_splits(found([2, 3, 4, 1]), SplitConfig())
    write_splits(tmp_path / "splits.json", splits)
    assert read_splits(tmp_path / "splits.json") == splits


def test_given_splits_are_used_as_they_are(tmp_path):
    splits = make_splits(found([2, 3, 4, 1]), SplitConfig(seed=3))
    write_splits(tmp_path / "splits.json", splits)
    again = make_splits(found([2, 3, 4, 1]), SplitConfig(file=tmp_path / "splits.json", folds=5))
    assert again.folds == splits.folds
    assert again.hash == splits.hash
    assert again.rule == f"given by {tmp_path / 'splits.json'}"
    assert again.seed is None


def test_an_edited_file_is_noticed(tmp_path):
    write_splits(tmp_path / "splits.json", make_splits(found([1, 1, 1]), SplitConfig()))
    content = json.loads((tmp_path / "splits.json").read_text())
    content["folds"][0]["train"].reverse()
    content["folds"][0]["test"], content["folds"][1]["test"] = (
        content["folds"][1]["test"],
        content["folds"][0]["test"],
    )
    (tmp_path / "splits.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"splits\.json was changed after it was written"):
        read_splits(tmp_path / "splits.json")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '{"schema": "other"}',
        '{"schema": "crosslinknet/splits/1"}',
        '{"schema": "crosslinknet/splits/1", "folds": [{"train": "a"}]}',
        '{"schema": "crosslinknet/splits/1", "folds": 5, "rule": "", "seed": 0}',
    ],
)
def test_another_file_is_no_splits_json(tmp_path, content):
    (tmp_path / "splits.json").write_text(content)
    with pytest.raises(DataError, match=r"splits\.json"):
        read_splits(tmp_path / "splits.json")


def given_folds(tmp_path, folds, sizes=(2, 2)):
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps([{"train": train, "val": test} for train, test in folds]))
    return make_splits(found(sizes), SplitConfig(file=path, validation=0))


def test_nnunet_folds_are_taken_with_val_as_test(tmp_path):
    splits = given_folds(tmp_path, [(["s0_0", "s0_1"], ["s1_0", "s1_1"])])
    assert splits.folds == (Fold(("s0_0", "s0_1"), (), ("s1_0", "s1_1")),)
    assert "given by" in splits.rule


def test_cases_in_no_fold_are_counted(tmp_path):
    splits = given_folds(tmp_path, [(["s0_0"], ["s1_0"])])
    assert splits.rule.endswith("; 2 of 4 cases are in no fold")


@pytest.mark.parametrize(
    ("folds", "reason"),
    [
        ([(["s0_0", "s1_0"], ["s1_1"])], "1 subject stands in train and in test: s1"),
        ([(["s0_0"], ["s1_0"]), (["s0_0"], ["s1_0"])], "tested more than once: s1_0"),
        ([(["s0_0"], ["zoe"])], "1 test cases are not in the data: zoe"),
        ([([], ["s1_0"])], "no case to train"),
        ([(["s0_0"], [])], "no case to test"),
    ],
)
def test_given_folds_that_leak_or_are_damaged_are_refused(tmp_path, folds, reason):
    with pytest.raises(DataError, match=rf"splits_final\.json\).*{reason}"):
        given_folds(tmp_path, folds)


@pytest.mark.parametrize(("one", "other"), [("train", "validation"), ("validation", "test")])
def test_validation_shares_no_subject_either(tmp_path, one, other):
    parts = {"train": ["s0_0"], "validation": ["s1_0"], "test": ["s2_0"]}
    parts[other].append({"train": "s0_1", "validation": "s1_1"}[one])
    fold = Fold(**{part: tuple(names) for part, names in parts.items()})
    write_splits(tmp_path / "s.json", Splits((fold,), "by hand", 3, None, "wrong"))
    with pytest.raises(DataError) as caught:
        read_splits(tmp_path / "s.json")
    right = str(caught.value).split("have the hash ")[1][:64]
    write_splits(tmp_path / "s.json", Splits((fold,), "by hand", 3, None, right))
    with pytest.raises(DataError, match=f"stands? in {one} and in {other}"):
        make_splits(found([2, 2, 2]), SplitConfig(file=tmp_path / "s.json"))


def test_the_folds_of_a_data_set_are_honoured(tmp_path):
    pairs = ((("s0_0", "s0_1"), ("s1_0", "s1_1")), (("s1_0", "s1_1"), ("s0_0", "s0_1")))
    splits = make_splits(
        found([2, 2], splits=pairs, splits_file=tmp_path / "splits_final.json"), SplitConfig()
    )
    assert [fold.test for fold in splits.folds] == [("s1_0", "s1_1"), ("s0_0", "s0_1")]
    assert "splits_final.json" in splits.rule


def test_links_within_a_subject_change_nothing():
    plain = make_splits(found([2, 2, 2, 2]), SplitConfig())
    assert make_splits(found([2, 2, 2, 2]), SplitConfig(), [("s1_0", "s1_1")]) == plain


def test_subjects_with_near_duplicates_are_one_group_and_the_rule_says_how_many():
    links = [("s0_0", "s3_1"), ("s3_0", "s5_0"), ("s1_1", "s2_0")]
    splits = make_splits(found([2] * 8), SplitConfig(validation=0.4), links)
    assert splits.rule.endswith("; 5 subjects with near-duplicates are kept together as 2 groups")
    assert splits.subjects == 8
    for fold in splits.folds:
        for part in (fold.train, fold.validation, fold.test):
            people = subjects(part)
            assert len(people & {"s0", "s3", "s5"}) in (0, 3)
            assert len(people & {"s1", "s2"}) in (0, 2)


def test_folds_that_divide_no_near_duplicates_stay_what_they_were():
    plain = make_splits(found([1] * 6), SplitConfig(validation=0))
    one, other = plain.folds[1].test
    linked = make_splits(found([1] * 6), SplitConfig(validation=0), [(one, other)])
    assert linked.folds == plain.folds
    assert (
        linked.rule
        == f"{plain.rule}; 2 subjects with near-duplicates are kept together as one group"
    )
    again = make_splits(found([1] * 6), SplitConfig(validation=0), [(one, plain.folds[0].test[0])])
    assert again.folds != plain.folds


def test_near_duplicates_may_be_divided_on_demand():
    config = SplitConfig(duplicates="ignore")
    splits = make_splits(found([1, 1, 1]), config, [("s0_0", "s1_0")])
    assert splits.folds == make_splits(found([1, 1, 1]), SplitConfig()).folds
    assert splits.rule.endswith("near-duplicates were not looked for (split.duplicates: ignore)")


@pytest.mark.parametrize(
    ("links", "left"),
    [([("s0_0", "s1_0")], "2 groups are"), ([("s0_0", "s1_0"), ("s1_0", "s2_0")], "one group is")],
)
def test_too_few_groups_say_that_near_duplicates_are_the_reason(links, left):
    reason = rf"of 3 subjects, s0, s1, s2 .* of which {left} left .* split\.duplicates: ignore"
    with pytest.raises(DataError, match=reason):
        make_splits(found([1, 1, 1]), SplitConfig(), links)


def test_given_folds_that_divide_near_duplicates_are_refused_with_the_names(tmp_path):
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps([{"train": ["s0_0", "s1_0"], "val": ["s2_0"]}]))
    config = SplitConfig(file=path, validation=0)
    make_splits(found([2, 2, 2]), config, [("s0_1", "s1_1")])  # both in training
    with pytest.raises(DataError) as caught:
        make_splits(found([2, 2, 2]), config, [("s2_0", "s1_0"), ("s0_1", "s1_1")])
    assert str(caught.value) == (
        f"fold 0 (given by {path}): 1 pair of near-duplicates stands in train and in test: s1_0 "
        "and s2_0. Scores of images that were trained on mean nothing; put both subjects in one "
        "part, remove the copies, or, if they are no copies, set split.duplicates: ignore."
    )
    with pytest.raises(DataError, match=r"subjects in train and in test share .*: s2_1 and s1_1"):
        make_splits(found([2, 2, 2]), config, [("s2_1", "s1_1")])  # neither is in a fold
    ignoring = SplitConfig(file=path, validation=0, duplicates="ignore")
    assert make_splits(found([2, 2, 2]), ignoring, [("s2_0", "s1_0")]).folds


def test_training_subjects_with_near_duplicates_watch_together_or_train_together(tmp_path):
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps([{"train": [f"s{i}_0" for i in range(6)], "val": ["s6_0"]}]))
    links = [("s0_0", "s1_0"), ("s2_0", "s3_0"), ("s4_0", "s5_0")]
    for seed in range(20):
        config = SplitConfig(file=path, validation=0.4, seed=seed)
        watching = make_splits(found([1] * 7), config, links).folds[0].validation
        assert len(watching) == 2
        assert tuple(sorted(watching)) in links


def by_column(folds):
    cases = [CaseFiles(f"s{i}_0", f"s{i}", (), fold=fold) for i, fold in enumerate(folds)]
    return make_splits(Found("csv", tuple(cases), "column"), SplitConfig(validation=0))


def test_the_fold_column_is_honoured():
    splits = by_column([1, 0, 1, 2])
    assert [fold.test for fold in splits.folds] == [("s1_0",), ("s0_0", "s2_0"), ("s3_0",)]
    assert splits.rule == "fold column of the manifest"


@pytest.mark.parametrize("folds", [[0, 0, 0], [1, 2, 3], [0, 2], [0, 1, None]])
def test_the_fold_column_must_count_from_zero_without_gaps(folds):
    with pytest.raises(DataError, match="fold column holds"):
        by_column(folds)


def test_real_subjects_stay_together(real_data):
    data = DataConfig(root=real_data / "sunnybrook_lv", masks="masks_endo", subject="^(.+)-IM-")
    splits = make_splits(find_cases(data), SplitConfig())
    assert splits.subjects == 30
    assert [len(fold.test) for fold in splits.folds] == [176, 175, 175]
    people = [{name.split("-IM-")[0] for name in fold.test} for fold in splits.folds]
    assert sum(map(len, people)) == len(set.union(*people)) == 30
