"""Saved results: what tables and figures are made from, each format's writer beside its reader. No model, no torch."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lrs.config import Config, SteeringSection
from lrs.core.digests import fingerprint
from lrs.core.frames import each_row
from lrs.core.kept import read_kept
from lrs.core.store import StoreError, write_text
from lrs.method.arms import ARMS
from lrs.method.setting import Setting

BENCH = Path("data/bench")  # written by `make bench`, outside the pipeline
SHAPE_OF = "shape of "  # before a backbone's name: a model of its shape with random weights, of `lrs bench --shapes`
TRANSFER = Path("data/transfer")  # written by `make transfer`, outside the pipeline
STITCHED = "-stitched"  # ending of the names of the tables of `lrs stitch` beside them
AS_PUBLISHED = Path("data/as_published")  # written by `lrs as-published`, outside the pipeline
SWEEP = Path("data/sweep")  # written by `make sweep`, outside the pipeline
CHANCE = "-chance"  # ending of the names of a second table of `make sweep`
SEEDS = Path("data/seeds")  # written by `make seeds`, outside the pipeline
RIVALS = Path("data/rivals")  # written by `make rivals`, outside the pipeline
POWER = Path("data/power")  # written by `make power`, outside the pipeline
# Of `lrs.experiment.selection.choose_settings`, for profiles that steer nothing: a table without rows needs them too.
CANDIDATE_COLUMNS = [
    *("name", "arm", "decoding", "num_steps", "step_size", "reward_quantile", "confidence_quantile"),
    *("n", "accuracy", "delta", "delta_low", "delta_high"),
    *("wins", "losses", "steered_fraction", "push_ratio", "dose", "within_cap", "chosen"),
]


def describe_run(config: Config, device: str, folder: Path) -> None:
    """Write beside the outcomes what every table has to say about where they come from."""
    about = {"backbone": config.backbone_name, "device": device, "profile": config.profile, "seed": config.seed}
    write_text(folder / "about.json", json.dumps(about, indent=2, sort_keys=True) + "\n")


def load_about(folder: Path) -> dict[str, Any]:
    """Where outcomes come from: backbone, device, profile and seed."""
    return json.loads((folder / "about.json").read_text("utf-8"))


def save_prompts(table: pd.DataFrame, folder: Path) -> None:
    """Write beside the outcomes what was asked (`lrs.experiment.asked.prompts_asked`)."""
    write_text(folder / "prompts.json", table.to_json(orient="records", indent=2, force_ascii=False) + "\n")


def load_prompts(folder: Path) -> pd.DataFrame:
    """What `save_prompts` wrote beside the outcomes."""
    return pd.DataFrame(json.loads((folder / "prompts.json").read_text("utf-8")))


def as_run(config: Config) -> Config:
    """A profile that was run, with the device that its outcomes come from, by the accelerator's model."""
    return config.model_copy(update={"device": load_about(config.data / "outcomes")["device"]})


def load_outcomes(folder: Path, steering: SteeringSection) -> pd.DataFrame:
    """The outcomes of all arms, in their order: a row a problem, arm and seed, with the backbone and its device.

    Raises:
        StoreError: an arm has none, or a part is not as it was written.
    """
    about = load_about(folder)
    parts = [read_kept(folder / arm / decoding).to_pandas() for arm in steering.arms for decoding in steering.decodings]
    outcomes = pd.concat(parts, ignore_index=True)
    return outcomes.assign(backbone=about["backbone"], device=about["device"])


def load_patch(folder: Path) -> pd.DataFrame:
    """The outcomes of the patch (`lrs.experiment.patching.keep_patch`), with the backbone; none where no mode is
    planted."""
    if not (folder / "patch").exists():
        return pd.DataFrame()
    return read_kept(folder / "patch").to_pandas().assign(backbone=load_about(folder)["backbone"])


def freeze(
    table: pd.DataFrame,
    settings: Sequence[Setting],
    backbone: str,
    rewards: Mapping[str, str],
    config: Config,
    path: Path,
) -> None:
    """Write the chosen settings, the whole table behind them, and what they were chosen for.

    Args:
        table: of candidates, a row a setting and decoding, with columns name, decoding and chosen.
        backbone: identity of the model they were chosen for.
        rewards: digests by name; the file has those that the chosen settings read.
    """
    named = {setting.name: setting for setting in settings}
    chosen: dict[str, dict[str, Any]] = {}
    for row in each_row(table[table["chosen"].astype(bool)]):
        chosen.setdefault(row.decoding, {})[named[row.name].arm] = named[row.name].model_dump()
    for arms in chosen.values():
        matching = {name: other for name in config.steering.arms if (other := ARMS[name].matches) in arms}
        arms |= {name: arms[other] | {"arm": name} for name, other in matching.items()}
    content = {
        "profile": config.profile,
        "backbone": backbone,
        "layer": config.backbone.layer,
        "chosen": chosen,
        "rewards": {arm: rewards[ARMS[arm].climbs] for arms in chosen.values() for arm in arms},
        "candidates": json.loads(table.to_json(orient="records", double_precision=10)),
    }
    sealed = content | {"digest": fingerprint(content)}
    write_text(path, json.dumps(sealed, indent=2, sort_keys=True, allow_nan=False) + "\n")


def load_selection(path: Path, backbone: str, rewards: Mapping[str, str]) -> dict[str, dict[str, Setting]]:
    """The frozen setting of each arm, by decoding and arm.

    Args:
        backbone: identity of the model that is to be steered.
        rewards: digests by name, of those that are to be climbed.

    Raises:
        StoreError: nothing was selected yet, or it was for a backbone of another identity or another reward, or the
            file was changed.
    """
    content = _read_selection(path)
    if content["backbone"] != backbone:
        raise StoreError(f"{path} was made for backbone {content['backbone']}, not {backbone}; rerun `select`")
    for arm, digest in content["rewards"].items():
        if digest != rewards[ARMS[arm].climbs]:
            raise StoreError(f"{path} was made for another reward of {arm} than is there now; rerun `select`")
    return {
        decoding: {arm: Setting(**setting) for arm, setting in arms.items()}
        for decoding, arms in content["chosen"].items()
    }


def load_candidates(path: Path) -> pd.DataFrame:
    """The validation table behind a frozen selection: a row a setting, the chosen marked; none if nothing is steered.

    Raises:
        StoreError: nothing was selected yet, or the file was changed.
    """
    rows = _read_selection(path)["candidates"]
    return pd.DataFrame(rows, columns=None if rows else CANDIDATE_COLUMNS)


def selection_digest(path: Path) -> str:
    """What a frozen selection is known by: hexadecimal.

    Raises:
        StoreError: nothing was selected yet, or the file was changed.
    """
    return fingerprint(_read_selection(path))


def _read_selection(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise StoreError(f"no selection at {path}; run stage `select` first")
    try:
        content = json.loads(path.read_text("utf-8"))
        digest = content.pop("digest")
    except (ValueError, KeyError, AttributeError) as error:
        raise StoreError(f"{path} is damaged ({error}); delete it and rerun stage `select`") from None
    if digest != fingerprint(content):
        raise StoreError(f"{path} is not as it was written; delete it and rerun stage `select`")
    return content


def read_power() -> pd.DataFrame:
    """The runs of `make power`: see `lrs.bench.power.measure_power`.

    Raises:
        FileNotFoundError: it has not been run.
    """
    return read_measured("runs", POWER)


def write_measured(table: pd.DataFrame, name: str, folder: Path = BENCH) -> None:
    """Write a table that was measured outside the pipeline, as `<name>.csv`: those of `make bench`, say."""
    write_text(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def read_measured(name: str, folder: Path = BENCH) -> pd.DataFrame:
    """Read what `write_measured` wrote: of `make bench` paths, shapes, cost_curves or placebo.

    Raises:
        FileNotFoundError: the command of the folder's name has not been run.
    """
    path = folder / f"{name}.csv"
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}; run `make {folder.name}` first")
    return pd.read_csv(path)


def read_costs(folder: Path = BENCH) -> pd.DataFrame:
    """What each path costs: of `make bench`, and of `lrs bench --shapes` where that was run.

    Raises:
        FileNotFoundError: `make bench` has not been run.
    """
    shapes = [read_measured("shapes", folder)] if (folder / "shapes.csv").exists() else []
    return pd.concat([read_measured("paths", folder), *shapes], ignore_index=True)


def find_measured(backbones: Iterable[Config], folder: Path, ending: str = "") -> pd.DataFrame:
    """The tables `<profile>-<backbone><ending>.csv` that a command has written so far, in one: no rows where there is
    none.

    Args:
        backbones: a profile as each of its backbones sees it.
    """
    paths = [folder / f"{one.profile}-{one.backbone_name}{ending}.csv" for one in backbones]
    tables = [pd.read_csv(path) for path in paths if path.exists()]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
