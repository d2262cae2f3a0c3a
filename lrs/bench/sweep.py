"""Sweeps: what the settings do that a profile fixes or searches coarsely, one or two at a time, on validation problems.

step        ascent steps K by step size, with the rewards that the profile kept
threshold   where the gate's two clauses lie, as quantiles of what base shows
layer       the layer that is read and steered, by rewards and a constant; all is fitted anew, but the profile's own
latents     of the autoencoder; likewise
joint       weight of the loss that keeps the causal reward a predictor; likewise
penalty     weight of the penalty on the mean push; likewise
temperature of the attempts that causal rewards learn from; likewise
trained     the step size with which pushes are trained, by the one with which they steer; likewise

Nothing that the pipeline uses is chosen here, and no test problem is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from lrs.core.digests import fingerprint
from lrs.core.frames import each_group, each_row
from lrs.core.kept import borrow, digest_of, read_kept
from lrs.core.statistics import auroc
from lrs.experiment.evaluation import Artifacts
from lrs.experiment.selection import choose_settings
from lrs.experiment.whole import fit_all, try_all
from lrs.learning.pushes import constancy_of
from lrs.learning.reward_metrics import trace_scores
from lrs.method.arms import ARMS, rewards_for
from lrs.models.backbones import Backbone, load_backbone
from lrs.models.devices import describe_device
from lrs.report.chance import best_of_few
from lrs.report.sweep import GRIDS
from lrs.saved import CHANCE, SWEEP, find_measured, write_measured
from lrs.tasks.problems import Problem, first_of_each, load_problems

if TYPE_CHECKING:
    from lrs.config import Config

SWEPT = ("base", "lrs", "lrs_causal")  # the paper's, and the one that is the same but for its reward
STEPS, SIZES = (1, 2, 4), (1.0, 2.0, 4.0, 6.0)
QUANTILES = ((0.1, 0.3, 0.6), (0.0, 0.1, 0.3))  # of rewards, of confidences
LATENTS = (32, 64, 128, 256)
JOINT, PENALTY, TEMPERATURE = (0.0, 0.2, 1.0), (0.0, 0.1, 1.0), (0.3, 0.7, 1.0)
TRAINED, PUSHED = (2.0, 4.0, 6.0), ("lrs_causal", "lrs_slope", "free_push", "trained_constant")
_OF_CAUSAL = {"joint": "joint_weight", "penalty": "mean_weight", "temperature": "temperature", "trained": "step_size"}
FEW = 30  # problems of AIME 2024, and of 2025


class Variant(NamedTuple):
    """A profile with something changed; `fits`: whether dictionaries and rewards are others then."""

    quantity: str
    value: float
    config: Config
    fits: bool


def variants(config: Config, layers: int) -> Iterator[Variant]:
    """All of a sweep; of `step` and `threshold` one with a grid of its own.

    Args:
        layers: that the backbone has.
    """
    named = [arm for arm in SWEPT if arm in config.steering.arms]
    own = config.model_copy(update={"steering": config.steering.model_copy(update={"arms": named})})
    select, section = own.select, own.backbone
    grids: dict[str, dict[str, Any]] = {
        "step": {"num_steps": list(STEPS), "step_size": list(SIZES)},
        "threshold": {"reward_quantile": list(QUANTILES[0]), "confidence_quantile": list(QUANTILES[1])},
    }
    for quantity, grid in grids.items():
        yield Variant(quantity, float("nan"), own.model_copy(update={"select": select.model_copy(update=grid)}), False)
    beside = [arm for arm in config.steering.arms if arm in (*SWEPT, "lrs_slope", "trained_constant")]
    for layer in range(layers):
        there = section.model_copy(update={"layer": layer})
        changed: dict[str, Any] = {"steering": own.steering.model_copy(update={"arms": beside}), "backbones": there}
        yield _elsewhere("layer", layer, own, changed)
    for d_sae in LATENTS:
        sae = own.sae.model_copy(update={"d_sae": d_sae, "k": min(own.sae.k, d_sae)})
        yield _elsewhere("latents", d_sae, own, {"sae": sae, "backbones": section})
    pushed = [arm for arm in ("base", *PUSHED) if arm in config.steering.arms]
    trained: dict[str, tuple[Sequence[float], list[str]]] = {
        "joint": (JOINT, [arm for arm in named if arm != "lrs"]),
        "penalty": (PENALTY, [arm for arm in pushed if arm != "trained_constant"]),
        "temperature": (TEMPERATURE, pushed),
        "trained": (TRAINED, pushed),
    }
    for quantity, (values, arms) in trained.items():
        changed = {"steering": config.steering.model_copy(update={"arms": arms}), "backbones": section}
        if quantity == "trained":  # at each, all are steered with
            changed["select"] = select.model_copy(update={"step_size": list(TRAINED)})
        for value in values if len(arms) > 1 else ():
            causal = own.causal.model_copy(update={_OF_CAUSAL[quantity]: value})
            yield _elsewhere(quantity, value, own, changed | {"causal": causal})


def _elsewhere(quantity: str, value: float, config: Config, changed: dict[str, Any]) -> Variant:
    """A variant that is fitted in a folder of its own, under `data/sweep`; the profile's own is there already."""
    if value == _own_value(quantity, config):
        asked = {name: section for name, section in changed.items() if name in ("steering", "select")}
        return Variant(quantity, value, config.model_copy(update=asked), False)
    name = f"{config.profile}-{config.backbone_name}-{quantity}-{value:g}"
    place = {"profile": SWEEP.name, "backbone_name": name, "backbones": {name: changed["backbones"]}}
    return Variant(quantity, value, config.model_copy(update=changed | place), True)


def measure_sweep(config: Config, problems_each: int = 60, only: Sequence[str] = ()) -> pd.DataFrame:
    """Try every variant of one backbone of a profile that was run, on `problems_each` of its validation problems a
    benchmark, and write `<profile>-<backbone>.csv`; and `<profile>-<backbone>-chance.csv`, what the sweeps of steps and
    thresholds find on few of these problems, and elsewhere. Resumes.

    Args:
        only: quantities; of all others the first table keeps what it has. The second one is written where steps and
            thresholds are both among them, and else left as it is.

    Returns:
        `candidate_row`s, with profile, backbone, device, seed, `rewards` (a digest of what the profile itself has
        learned), quantity and value (NaN where a grid is tried), `shown` (see `mark_shown`), `own` (whether the profile
        itself has what was varied like that), `rise` (of the reward, by a push, mean over the answers that were
        pushed), `auroc` (of the reward that is climbed, over held-out traces) and `constancy` (of its first push, at
        unsteered states).

    Raises:
        ValueError: `only` names what is not swept here; or the others were swept on another device, from another seed,
            with other rewards of the profile, or on as many problems as were not asked for now.
    """
    backbone = load_backbone(config.backbone.path, config.device, config.dtype)
    swept = list(variants(config, backbone.model.config.num_hidden_layers))
    chosen = [one for one in swept if not only or one.quantity in only]
    if strange := [quantity for quantity in only if quantity not in {one.quantity for one in swept}]:
        legal = ", ".join(dict.fromkeys(one.quantity for one in swept))
        raise ValueError(f"a sweep of profile {config.profile} is of {legal} (got {strange[0]})")
    learned, validation = (load_problems(config.data / "problems", split=split) for split in ("reward", "validation"))
    asked = first_of_each(validation, problems_each)
    origin: dict[str, Any] = {"profile": config.profile, "backbone": config.backbone_name, "seed": config.seed}
    origin["device"] = describe_device(backbone.device)
    fitted = [config.data / "reward" / name for name in rewards_for(config.steering.arms, shown=())]
    origin["rewards"] = fingerprint({path.name: digest_of(path) for path in fitted})
    before = find_measured([config], SWEEP) if only else pd.DataFrame()
    for name, value in ({"n": len(asked)} | origin).items():
        there = set(before.get(name, ["not told"]))  # earlier tables do not tell the rewards
        if len(before) and there != {value}:
            others = ", ".join(map(str, there))
            raise ValueError(f"the other quantities were swept with {name} {others} (got {value}); sweep all of them")
    first = _folder(chosen[0])
    unsteered = {"traces": config.data / "traces", "base": first / "base", "unsteered": first / "unsteered"}
    tried, gains = zip(*[_tried(variant, backbone, learned, asked, unsteered) for variant in chosen], strict=True)
    table = pd.concat(tried, ignore_index=True).assign(**origin)
    if len(before):
        table = pd.concat([before[~before["quantity"].isin(only)], table])
    order = {quantity: place for place, quantity in enumerate(one.quantity for one in swept)}
    table = table.sort_values("quantity", key=lambda column: column.map(order), kind="stable", ignore_index=True)
    table = table.assign(own=[_is_own(row, config) for row in each_row(table)])
    write_measured(table, f"{config.profile}-{config.backbone_name}", SWEEP)
    if {"step", "threshold"} <= {one.quantity for one in chosen}:
        told = pd.DataFrame(gains_by_chance(pd.concat(gains), config))
        write_measured(told.assign(**origin), f"{config.profile}-{config.backbone_name}{CHANCE}", SWEEP)
    return table


def gains_by_chance(gains: pd.DataFrame, config: Config) -> list[dict[str, Any]]:
    """`best_of_few` of each arm and decoding, on as many problems as the paper's smallest benchmarks have, and on half;
    all problems together and without a cap on dose, which `choose_settings` has.

    Args:
        gains: a row a problem, arm, decoding and name of a setting: gain. A setting that was tried twice is one.
    """
    rows = []
    for (arm, decoding), group in each_group(gains, ["arm", "decoding"], sort=False):
        wide = group.drop_duplicates(["problem_id", "name"]).pivot(index="problem_id", columns="name", values="gain")
        for few in sorted({few for few in (FEW, len(wide) // 2) if 0 < few < len(wide)}):
            found = best_of_few(wide.to_numpy(), few, config.statistics.confidence_level, config.seed)
            rows.append({"arm": arm, "decoding": decoding} | found)
    return rows


def mark_shown(table: pd.DataFrame, quantity: str, dose_cap: float) -> pd.DataFrame:
    """Mark as `shown` the row that stands for each place, arm and decoding: of all else that was tried there, what
    `choose_settings` would take.

    Args:
        table: of `candidate_row`s. Places of a grid are its cells; else all of the table is one.
    """
    cells = [table]
    if by := list(GRIDS.get(quantity, ())):
        cells = [cell for _, cell in table.groupby(by, sort=False, dropna=False)]
    marked = pd.concat([choose_settings(cell, dose_cap) for cell in cells])
    return marked.rename(columns={"chosen": "shown"}).sort_index()


def _is_own(row: Any, config: Config) -> bool:
    tried = [name for name in GRIDS.get(row.quantity, ()) if name != "value"]
    own = all(getattr(row, name) in getattr(config.select, name) for name in tried)
    return own and (pd.isna(row.value) or row.value == _own_value(row.quantity, config))


def _own_value(quantity: str, config: Config) -> float:
    own = {quantity: getattr(config.causal, field) for quantity, field in _OF_CAUSAL.items()}
    return (own | {"layer": config.backbone.layer, "latents": config.sae.d_sae})[quantity]


def _tried(
    variant: Variant, backbone: Backbone, learned: list[Problem], asked: list[Problem], unsteered: dict[str, Path]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What a variant's settings do; and, where a grid is tried, what each gains on each problem.

    Args:
        unsteered: where what the unsteered backbone wrote may lie already.
    """
    config, folder = variant.config, _folder(variant)
    for what, where in unsteered.items():
        borrow(where, (config.data if what == "traces" else folder) / what)
    if variant.fits:
        artifacts = fit_all(backbone, learned, config)
    else:
        artifacts = Artifacts(backbone, config, rewards_for(config.steering.arms, shown=()))
    _, table = try_all(backbone, asked, config, artifacts, folder)
    shown = mark_shown(table, variant.quantity, config.select.dose_cap)
    outcomes = [read_kept(folder / row.name / row.decoding).to_pandas() for row in each_row(shown)]
    climbed = shown["arm"].map(lambda arm: ARMS[arm].climbs)
    told = [
        _gains(folder, one).assign(name=row.name, arm=row.arm, decoding=row.decoding)
        for row, one in zip(each_row(shown), outcomes, strict=True)
        if pd.isna(variant.value)
    ]
    rows = shown.assign(
        quantity=variant.quantity,
        value=variant.value,
        rise=[(tried["reward_after"] - tried["reward_before"]).mean() for tried in outcomes],
        auroc=climbed.map({name: _auroc(config, name) for name in climbed.unique()}),
        constancy=climbed.map({name: constancy_of(name, config) for name in climbed.unique()}),
    )
    return rows, pd.concat(told) if told else pd.DataFrame()


def _folder(variant: Variant) -> Path:
    """Where what is tried is kept: beside what was fitted, or apart from what the profile itself tried."""
    if variant.fits:
        return variant.config.data / "validation"
    return SWEEP / f"{variant.config.profile}-{variant.config.backbone_name}-{variant.quantity}" / "validation"


def _gains(folder: Path, outcomes: pd.DataFrame) -> pd.DataFrame:
    """Gain over the unsteered model in the same decoding, a row a problem, mean over its samples."""
    decoding, keys = outcomes["decoding"].iloc[0], ["problem_id", "seed"]
    base = read_kept(folder / "base" if decoding == "greedy" else folder / "unsteered" / decoding).to_pandas()
    paired = outcomes.merge(base[[*keys, "correct"]], on=keys, suffixes=("", "_base"), validate="1:1")
    gain = paired["correct"].astype(float) - paired["correct_base"].astype(float)
    return gain.groupby(paired["problem_id"]).mean().rename("gain").reset_index()


def _auroc(config: Config, reward: str) -> float:
    """Of right traces over wrong ones, on problems held out from training; NaN where these are all of one kind."""
    traces = trace_scores(read_kept(config.data / "reward" / reward / "heldout.arrow").to_pandas())
    if traces["correct"].nunique() < 2:
        return float("nan")
    return auroc(traces["correct"].to_numpy(), traces["mean"].to_numpy())
