"""Problems of public data sets: where their rows lie, and what each means.

A data set is read with `datasets`, from the hub or, if LRS_DATA names a folder, from `<LRS_DATA>/<owner>--<name>`. Each
revision, and what lies in such a folder, is looked up once and from then on held to, in `data/hub.lock.json`; models
are held to likewise, by `lrs.models.backbones`. No hub could be reached where this was written: columns are as the data
sets' cards tell them, and a row that lacks one is named.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from filelock import FileLock

from lrs.core.digests import file_digest, fingerprint
from lrs.core.store import StoreError, write_text

Row = Mapping[str, Any]
LOCK = Path("data/hub.lock.json")
_CHOICE = re.compile(r"^\s*\(?([A-D])[).:]\s*(.+?)\s*$", re.MULTILINE)
_SPLITS = {"train", "test", "dev", "validation"}
BOXED = "Reason step by step, and put the final answer within \\boxed{}."
_LETTER = "Reason step by step, and put the letter of the right choice within \\boxed{}."


class Source(NamedTuple):
    """A data set and what its rows mean.

    Attributes:
        path: on the hub, `owner/name`.
        split: of the data set.
        file: the one file to be read, if not all of a split.
        read: what a row says: `question` (or `stem` and `choices`, which `deal` makes one of), `reference`, and what
            else its judge needs; None if the row is not of this benchmark.
    """

    path: str
    split: str
    read: Callable[[Row], dict[str, Any] | None]
    file: str | None = None


def _math(row: Row) -> dict[str, Any]:
    return {"question": f"{row['problem']}\n\n{BOXED}", "reference": str(row["answer"])}


def _solved(row: Row) -> dict[str, Any]:
    """With the data set's own solution, for worked examples."""
    return _math(row) | {"solution": str(row["solution"])}


def _of_years(*years: int) -> Callable[[Row], dict[str, Any] | None]:
    return lambda row: _math(row) if int(row["year"]) in years else None


def _amc(row: Row) -> dict[str, Any]:
    answer = float(row["answer"])
    return {"question": f"{row['question']}\n\n{BOXED}", "reference": f"{answer:.15g}"}


def _gpqa(row: Row) -> dict[str, Any]:
    """Four choices stand at the end of the question, a line each: apart from it, to be dealt out by `deal`. The
    reference is the text of the right one."""
    text, key = row["problem"], re.sub(r"\\(?:boxed|text)\s*|[{}()\s.]", "", str(row["solution"]))
    found = list(_CHOICE.finditer(text))[-4:]
    if [match[1] for match in found] != list("ABCD") or key not in ("A", "B", "C", "D"):
        raise ValueError(f"choices A to D, a line each, and a letter were expected (solution {row['solution']!r})")
    ends = [match.start() for match in found[1:]] + [len(text)]
    choices = {m[1]: text[m.start(2) : end].strip() for m, end in zip(found, ends, strict=True)}
    return {"stem": text[: found[0].start()].rstrip(), "choices": sorted(choices.values()), "reference": choices[key]}


def deal(said: dict[str, Any], seed: int) -> dict[str, Any]:
    """What a row says, its choices dealt out if it has them apart: by the seed and the question alone, since the order
    in which they came may be known by heart. Neither that order nor the row's place matters."""
    if "stem" not in said:
        return said
    dealt = sorted(said["choices"])
    Random("\n".join([str(seed), said["stem"], *dealt])).shuffle(dealt)
    lines = "\n".join(f"{name}) {choice}" for name, choice in zip("ABCD", dealt, strict=True))
    letter = "ABCD"[dealt.index(said["reference"])]
    return said | {"question": f"{said['stem']}\n\n{lines}\n\n{_LETTER}", "reference": letter, "choices": dealt}


def _inequality(row: Row) -> dict[str, Any]:
    """A bound to be found, or a relation to be chosen."""
    if row["type"] == "bound":
        return {"question": f"{row['problem']}\n\n{BOXED}", "reference": str(row["answer"]), "kind": "bound"}
    choices = [str(choice) for choice in row["choices"]]
    question = "\n".join([row["problem"], *choices])
    return {
        "question": f"{question}\n\n{_LETTER}",
        "reference": str(row["answer"]),
        "kind": "relation",
        "choices": choices,
    }


SOURCES = {
    "math_500": Source("HuggingFaceH4/MATH-500", "test", _math),
    "aime_2024": Source("HuggingFaceH4/aime_2024", "train", _math),
    "aime_2025": Source("yentinglin/aime_2025", "train", _math),
    "gpqa_diamond": Source("nichenshun/gpqa_diamond", "train", _gpqa),
    "amc_23": Source("math-ai/amc23", "test", _amc),
    "ineq_math": Source("AI4Math/IneqMath", "dev", _inequality, file="json/dev.json"),
    # to learn and to select on: no benchmark above is among them, by content
    "aime_2022_2023": Source("allenai/aime-2022-2025", "train", _of_years(2022, 2023)),
    "math_train": Source("nlile/hendrycks-MATH-benchmark", "train", _solved),
}


def rows_of(source: Source) -> Iterator[dict[str, Any]]:
    """What the rows of a data set say, in their order.

    Raises:
        StoreError: it cannot be had, or is of another revision than the lock says.
        ValueError: a row is not as it should be: which one, and what is missing.
    """
    for number, row in enumerate(_load(source)):
        try:
            said = source.read(row)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{source.path}, row {number}: {type(error).__name__}: {error}") from None
        if said is not None:
            yield said


def _load(source: Source) -> Any:
    import datasets
    from huggingface_hub import snapshot_download

    folder = local_folder(source.path)
    if folder:
        version_of(source)  # refused if it has changed
        files = _files_of(source, folder)
        kind = "parquet" if files[0].suffix == ".parquet" else "json"
        return datasets.load_dataset(kind, data_files=[str(path) for path in files], split="train")
    try:
        # Into the cache of the hub's library, which is read where there is no hub; that of `datasets` mixes revisions.
        file, revision = source.file, held_revision(source.path)
        held = snapshot_download(source.path, repo_type="dataset", revision=revision, allow_patterns=file)
        return datasets.load_dataset(held, data_files=file, split="train" if file else source.split)
    except Exception as error:
        why = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
        name = source.path.replace("/", "--")
        raise StoreError(
            f"cannot load {source.path} from the hub ({why}); or set LRS_DATA to a folder that holds {name}/"
        ) from error


def _files_of(source: Source, folder: Path) -> list[Path]:
    """The files of a data set in a folder: the one that is named, or those whose path names the split, or all, if none
    names any."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".jsonl", ".parquet"))
    if source.file and (folder / source.file).exists():
        return [folder / source.file]
    splits = [set(re.split(r"[^a-z]+", path.relative_to(folder).as_posix().lower())) for path in files]
    if any(words & _SPLITS for words in splits):
        return [path for path, words in zip(files, splits, strict=True) if source.split in words]
    return files


def version_of(source: Source) -> str:
    """What tells one state of a data set from another: its revision on the hub, or the digest of its files.

    Raises:
        StoreError: there are none, or they are not those of the first use.
    """
    folder = local_folder(source.path)
    if not folder:
        return held_revision(source.path)
    files = _files_of(source, folder)
    if not files:
        raise StoreError(f"{folder} holds no .json, .jsonl or .parquet file of {source.path}")
    return hold(source.path, folder, fingerprint([file_digest(path) for path in files]))


def hold(path: str, folder: Path, found: str) -> str:
    """Hold a folder that stands for a repository of the hub to the digest that was found of it at its first use.

    Raises:
        StoreError: another one is found now.
    """
    name = f"files of {path}"
    if found != _held(name, lambda: found):
        raise StoreError(
            f"{folder} is not as it was when it was first used; take {name!r} out of {LOCK} to use it as it is"
        )
    return found


def local_folder(path: str) -> Path | None:
    """The folder of LRS_DATA that stands for a repository of the hub; None if LRS_DATA is not set.

    Raises:
        StoreError: it is, and there is no such folder.
    """
    home = os.environ.get("LRS_DATA")
    if not home:
        return None
    folder = Path(home) / path.replace("/", "--")
    if not folder.is_dir():
        raise StoreError(f"LRS_DATA is {home}, which holds no folder {folder.name} for {path}")
    return folder


def held_revision(path: str, kind: str = "dataset") -> str:
    """The revision of a repository of the hub: looked up at its first use, and from then on held to."""

    def newest() -> str:
        from huggingface_hub import HfApi

        return str(HfApi().repo_info(path, repo_type=kind).sha)

    return _held(path, newest)


def _held(name: str, find: Callable[[], str]) -> str:
    """What the lock says of a name; of a new one, what is found is written down. The lock lies where the run was asked
    for, not in the copy in which a profile may run."""
    lock = Path(os.environ.get("LRS_STANDS", ".")) / LOCK
    locked = _read_lock(lock)
    if name not in locked:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{lock}.held"):  # of many processes one at a time
            locked = _read_lock(lock)
            if name not in locked:
                locked[name] = find()
                write_text(lock, json.dumps(locked, indent=2, sort_keys=True) + "\n")
    return str(locked[name])


def _read_lock(lock: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(lock.read_text("utf-8"))) if lock.exists() else {}
    except ValueError as error:
        raise StoreError(
            f"{lock} is no JSON ({error}); mend it, or delete it to take everything as it is now"
        ) from None
