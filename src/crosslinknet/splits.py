"""Folds by subject: who is trained on, who watches the training, who is tested.

A subject never stands in two parts of a fold, whoever made the folds, and neither do
near-duplicates: subjects that share some are one group. Order: Fold and Splits, make_splits, the
file, then how folds are made and checked.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from crosslinknet.case import CaseFiles
from crosslinknet.config import SplitConfig
from crosslinknet.datasets import Found
from crosslinknet.datasets.found import listed
from crosslinknet.datasets.nnunet import read_splits_final
from crosslinknet.duplicates import groups_of
from crosslinknet.errors import DataError
from crosslinknet.files import read_json, sha256_of_json, write_json

SCHEMA = "crosslinknet/splits/1"
PARTS = ("train", "validation", "test")
SIDES = (("train", "test"), ("validation", "test"), ("train", "validation"))

Links = Sequence[tuple[str, str]]  # pairs of cases that are near-duplicates


@dataclass(frozen=True)
class Fold:
    """Case ids of one fold."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Splits:
    """All folds of a run.

    Attributes:
        folds: one per model to be trained.
        rule: how they came about, for people.
        subjects: number of subjects in them.
        seed: of the assignment; None where the folds were given.
        hash: sha256 of the folds.
    """

    folds: tuple[Fold, ...]
    rule: str
    subjects: int
    seed: int | None
    hash: str


def make_splits(found: Found, config: SplitConfig, links: Iterable[tuple[str, str]] = ()) -> Splits:
    """Make the folds, or take given ones, and check them.

    The first of these that exists decides: ``split.file``, nnU-Net's splits_final.json, the fold
    column of a manifest, ``split.folds`` with ``split.seed``. Only folds of a splits.json state
    who validates; all others keep ``split.validation`` of the training subjects out.

    Args:
        found: the cases.
        config: how to divide them.
        links: pairs of cases that are near-duplicates, by id, see ``lookalikes.find_links``.
            Their subjects are kept together, unless ``split.duplicates`` is ignore.

    Raises:
        DataError: fewer subjects than folds, or given folds that share subjects or near-duplicates,
            test a case twice, name unknown cases or leave a part empty.
    """
    links = list(links) if config.duplicates == "join" else []
    subject_of = {case.id: case.subject for case in found.cases}
    group_of = groups_of(subject_of, links)
    folds, rule, seed = _folds_of(found, found.cases, config)
    if _divided(folds, group_of):  # else the seed gives what it gave without links
        cases = [replace(case, subject=group_of[case.id]) for case in found.cases]
        folds, rule, seed = _folds_of(found, cases, config)
    _check(folds, subject_of, rule)
    _check_links(folds, group_of, links, rule)
    used = {name for fold in folds for part in PARTS for name in getattr(fold, part)}
    if len(used) < len(subject_of):
        rule += f"; {len(subject_of) - len(used)} of {len(subject_of)} cases are in no fold"
    rule += _joined(subject_of, group_of, config)
    return Splits(tuple(folds), rule, len({subject_of[n] for n in used}), seed, _hash(folds))


def write_splits(path: Path, splits: Splits) -> None:
    """Write a splits.json that can be given to another run by ``split.file``."""
    write_json(path, {"schema": SCHEMA, **asdict(splits)})


def read_splits(path: Path) -> Splits:
    """Read a splits.json.

    Raises:
        DataError: no such file, another kind of file, or folds that do not fit their hash.
    """
    content = read_json(path)
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise DataError(
            f"{path} is no splits.json of crosslinknet ('schema' must be {SCHEMA!r}). Give one "
            "that a run wrote, or nnU-Net's splits_final.json as split.file."
        )
    try:
        folds = [Fold(*(_names(fold[part]) for part in PARTS)) for fold in content["folds"]]
        splits = Splits(
            folds=tuple(folds),
            rule=str(content["rule"]),
            subjects=int(content["subjects"]),
            seed=None if content["seed"] is None else int(content["seed"]),
            hash=str(content["hash"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is damaged: {error!r}. Expected folds with {', '.join(PARTS)}, rule, "
            "subjects, seed and hash."
        ) from error
    if splits.hash != _hash(folds):
        raise DataError(
            f"{path} was changed after it was written: its folds have the hash {_hash(folds)}, "
            f"the file says {splits.hash}. Use the original, or put the new hash into the file if "
            "the change is meant."
        )
    return splits


def _folds_of(
    found: Found, cases: Sequence[CaseFiles], config: SplitConfig
) -> tuple[list[Fold], str, int | None]:
    """Folds, the rule they follow and their seed; the cases' subjects are kept whole."""
    if config.file is not None:
        return _given(cases, config), f"given by {config.file}", None
    if found.splits is not None:
        folds = [_with_validation(cases, train, test, config) for train, test in found.splits]
        return folds, f"given by {found.splits_file}", None
    if any(case.fold is not None for case in cases):
        return _folds(cases, _by_column(cases), config), "fold column of the manifest", None
    folds = _folds(cases, _by_seed(cases, found, config), config)
    rule = f"{config.folds} folds of whole subjects, balanced by cases, seed {config.seed}"
    return folds, rule, config.seed


def _divided(folds: Sequence[Fold], group_of: dict[str, str]) -> bool:
    """Whether a group stands in two parts of a fold."""
    groups = [[{group_of.get(n) for n in getattr(fold, part)} for part in PARTS] for fold in folds]
    return any(sum(map(len, parts)) > len(set().union(*parts)) for parts in groups)


def _joined(subject_of: dict[str, str], group_of: dict[str, str], config: SplitConfig) -> str:
    """How many subjects are kept together and why, as the tail of a rule."""
    if config.duplicates == "ignore":
        return "; near-duplicates were not looked for (split.duplicates: ignore)"
    groups = {subject: group_of[case] for case, subject in subject_of.items()}
    sizes = [size for size in Counter(groups.values()).values() if size > 1]
    if not sizes:
        return ""
    into = "one group" if len(sizes) == 1 else f"{len(sizes)} groups"
    return f"; {sum(sizes)} subjects with near-duplicates are kept together as {into}"


def _given(cases: Sequence[CaseFiles], config: SplitConfig) -> list[Fold]:
    """The folds of split.file, ours or nnU-Net's."""
    assert config.file is not None
    if isinstance(read_json(config.file), list):
        pairs = read_splits_final(config.file)
        return [_with_validation(cases, train, test, config) for train, test in pairs]
    return list(read_splits(config.file).folds)


def _by_column(cases: Sequence[CaseFiles]) -> list[set[str]]:
    """Test cases of each fold, as the manifest says."""
    tests: dict[int | None, set[str]] = defaultdict(set)
    for case in cases:
        tests[case.fold].add(case.id)
    numbers = sorted(number for number in tests if number is not None)
    if None in tests or numbers != list(range(len(numbers))) or len(numbers) < 2:
        raise DataError(
            f"the manifest's fold column holds {listed(numbers)}; expected every number from 0 to "
            "folds - 1, two folds at least, in every row."
        )
    return [tests[number] for number in numbers]


def _by_seed(cases: Sequence[CaseFiles], found: Found, config: SplitConfig) -> list[set[str]]:
    """Test cases of each fold: subjects in a seeded order, the largest first, to the smallest fold.

    The order follows from hashes of seed and subject alone, so that no library's random numbers
    can change it.
    """
    of_subject = _by_subject(cases)
    if len(of_subject) < config.folds:
        raise _too_few(len(of_subject), found, config)
    order = _shuffled(of_subject, config.seed, "folds")
    order.sort(key=lambda subject: -len(of_subject[subject]))  # stable: ties stay shuffled
    tests: list[set[str]] = [set() for _ in range(config.folds)]
    for subject in order:
        min(tests, key=len).update(of_subject[subject])
    return tests


def _too_few(groups: int, found: Found, config: SplitConfig) -> DataError:
    subjects = list(_by_subject(found.cases))
    count = "one subject" if len(subjects) == 1 else f"{len(subjects)} subjects"
    text = f"the cases are of {count}, {listed(subjects)} (told apart by {found.subject_rule}), "
    cure = "Lower split.folds, let data.subject tell subjects apart, or add subjects."
    if groups < len(subjects):
        left = "one group is" if groups == 1 else f"{groups} groups are"
        text += f"of which {left} left when those with near-duplicates are kept together, "
        cure = (
            "Lower split.folds, add subjects, remove the copies, or divide near-duplicates all "
            "the same with split.duplicates: ignore."
        )
    return DataError(
        f"{text}but split.folds is {config.folds} and a subject is never divided. {cure}"
    )


def _folds(
    cases: Sequence[CaseFiles], tests: Sequence[set[str]], config: SplitConfig
) -> list[Fold]:
    """Each set of test cases against all other cases."""
    ids = [case.id for case in cases]
    return [
        _with_validation(
            cases,
            [name for name in ids if name not in test],
            [name for name in ids if name in test],
            config,
        )
        for test in tests
    ]


def _with_validation(
    cases: Sequence[CaseFiles], train: Sequence[str], test: Sequence[str], config: SplitConfig
) -> Fold:
    """Keep some training subjects out to watch the training; the last one always trains."""
    names = set(train)
    of_subject = _by_subject([case for case in cases if case.id in names])
    count = min(round(config.validation * len(of_subject)), len(of_subject) - 1)
    if config.validation > 0 and len(of_subject) > 1:
        count = max(1, count)
    watchers = _shuffled(of_subject, config.seed, f"validation {sorted(test)}")[: max(0, count)]
    kept = {name for subject in watchers for name in of_subject[subject]}
    return Fold(
        train=tuple(name for name in train if name not in kept),
        validation=tuple(name for name in train if name in kept),
        test=tuple(test),
    )


def _by_subject(cases: Sequence[CaseFiles]) -> dict[str, list[str]]:
    of_subject: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        of_subject[case.subject].append(case.id)
    return dict(of_subject)


def _shuffled(subjects: Sequence[str] | dict[str, Any], seed: int, purpose: str) -> list[str]:
    """An order that depends on nothing but the seed, the purpose and each name itself."""

    def key(subject: str) -> bytes:
        return hashlib.sha256(f"{seed}\0{purpose}\0{subject}".encode()).digest()

    return sorted(subjects, key=key)


def _check(folds: Sequence[Fold], subject_of: dict[str, str], rule: str) -> None:
    """Refuse folds that would leak, count twice or stay empty."""
    if not folds:
        raise DataError(f"folds ({rule}): there are none. Give one fold at least.")
    for number, fold in enumerate(folds):
        where = f"fold {number} ({rule})"
        parts = {part: getattr(fold, part) for part in PARTS}
        for part, names in parts.items():
            unknown = [name for name in names if name not in subject_of]
            if unknown:
                raise DataError(
                    f"{where}: {len(unknown)} {part} cases are not in the data: {listed(unknown)}. "
                    f"The data has cases such as {listed(subject_of, 2)}."
                )
            if not names and part != "validation":
                raise DataError(f"{where}: no case to {part}. Give at least one.")
        _check_apart(parts, subject_of, where)
    tested = Counter(name for fold in folds for name in fold.test)
    twice = [name for name, count in tested.items() if count > 1]
    if twice:
        raise DataError(
            f"folds ({rule}): {len(twice)} cases are tested more than once: {listed(twice)}. "
            "Scores would count them twice; test each case in one fold."
        )


def _check_apart(parts: dict[str, tuple[str, ...]], subject_of: dict[str, str], where: str) -> None:
    subjects = {part: {subject_of[name] for name in names} for part, names in parts.items()}
    for one, other in SIDES:
        shared = sorted(subjects[one] & subjects[other])
        if shared:
            raise DataError(
                f"{where}: {len(shared)} subject{'s' * (len(shared) > 1)} stand"
                f"{'s' * (len(shared) == 1)} in {one} and in {other}: {listed(shared)}. "
                "Scores of people that were trained on mean nothing; keep each subject in one part."
            )


def _check_links(folds: Sequence[Fold], group_of: dict[str, str], links: Links, rule: str) -> None:
    """Refuse folds that have near-duplicates, or subjects joined by some, in two parts."""
    for number, fold in enumerate(folds):
        cases = {part: set(getattr(fold, part)) for part in PARTS}
        groups = {part: {group_of[name] for name in cases[part]} for part in PARTS}
        for one, other in SIDES:
            shared = groups[one] & groups[other]
            if not shared:
                continue
            guilty = [pair for pair in links if group_of[pair[0]] in shared]
            across = [
                pair if pair[0] in cases[one] else pair[::-1]
                for pair in guilty
                if any(a in cases[one] and b in cases[other] for a, b in (pair, pair[::-1]))
            ]
            shown = listed((f"{a} and {b}" for a, b in across or guilty), 3)
            what = (
                f"{len(across)} pair{'s' * (len(across) > 1)} of near-duplicates stand"
                f"{'s' * (len(across) == 1)} in {one} and in {other}: {shown}"
            )
            if not across:
                what = f"subjects in {one} and in {other} share near-duplicates: {shown}"
            raise DataError(
                f"fold {number} ({rule}): {what}. Scores of images that were trained on mean "
                f"nothing; put both subjects in one part, remove the copies, or, if they are no "
                "copies, set split.duplicates: ignore."
            )


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"a list of case ids was expected, got {value!r}")
    return tuple(value)


def _hash(folds: Sequence[Fold]) -> str:
    return sha256_of_json([asdict(fold) for fold in folds])
