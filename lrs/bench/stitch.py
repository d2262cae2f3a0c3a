"""Does what was learned on one backbone steer another? Dictionary and rewards of one, moved to another by affine maps.

Both read the traces of the backbone that is to be steered, and the maps between their residual streams are fitted on
these. Nothing else is learned there: the rewards are what they were. Steps are selected on validation problems, under
the same cap on dose as those of its own rewards, and may be twice as long: a fit by least squares shortens what it
maps.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch

from lrs.core.closure import code_of
from lrs.core.kept import borrow, digest_of, keep, read_kept
from lrs.core.store import write_text
from lrs.experiment.evaluation import Artifacts
from lrs.experiment.whole import select_and_test
from lrs.learning.sae import explained_variance, fitting_plan, parted
from lrs.learning.stitching import fit_affine, stitched_sae
from lrs.method.arms import rewards_for
from lrs.method.dictionary import load_sae, save_dictionary
from lrs.models.activations import replay_traces
from lrs.models.backbones import Backbone, load_backbone
from lrs.report.stitched import stitched_rows
from lrs.saved import STITCHED, TRANSFER, load_outcomes, write_measured
from lrs.tasks.problems import load_problems

if TYPE_CHECKING:
    from lrs.config import Config

# Of the profile's, those that are moved: the paper's method, what works, and the controls of what works.
MOVED = ("base", "lrs", "lrs_causal", "lrs_slope", "free_push", "slope_mean", "trained_constant", "slope_turned")
_UNSTEERED = ("validation/base", "validation/unsteered", "outcomes/base")  # the same, whatever was moved
_FAITHFUL = "explained_variance.json"


def stitch_of(config: Config, source: Config) -> Config:
    """The profile as what was learned on `source` sees it: with arms, steps and a folder of its own."""
    name = f"{config.profile}-{source.backbone_name}-on-{config.backbone_name}"
    arms = [arm for arm in config.steering.arms if arm in MOVED]
    steps = sorted({far for step in config.select.step_size for far in (step, 2 * step)})
    sections = {
        "steering": config.steering.model_copy(update={"arms": arms}),
        "select": config.select.model_copy(update={"step_size": steps}),
    }
    own = {"profile": TRANSFER.name, "backbone_name": name, "backbones": {name: config.backbone}}
    return config.model_copy(update=own | sections)


def measure_stitch(config: Config, sources: Sequence[Config], home: Path = TRANSFER) -> pd.DataFrame:
    """Steer a backbone of a profile that was run by what was learned on others of it; a killed run resumes.

    Writes `<profile>-<backbone>-stitched.csv`.

    Returns:
        Of `stitched_rows`, with a column explained_variance: of held-out activations of the backbone that is steered,
        by the dictionary that was learned on the row's.

    Raises:
        ValueError: there are no others, or one does not read the same tokens.
    """
    if not sources:
        raise ValueError(f"profile {config.profile} has one backbone, and nothing that could be moved to it")
    backbone = load_backbone(config.backbone.path, config.device, config.dtype)
    problems, own = load_problems(config.data / "problems"), load_outcomes(config.data / "outcomes", config.steering)
    outcomes, faithful = [own[own["arm"].isin(MOVED)].assign(learned_on=config.backbone_name)], dict[str, float]()
    for source in sources:
        run = stitch_of(config, source)
        faithful |= _keep_stitched(backbone, config, source, run.data / "sae")
        rewards = rewards_for(run.steering.arms, shown=())
        for name in rewards:
            shutil.rmtree(run.data / "reward" / name, ignore_errors=True)
            shutil.copytree(source.data / "reward" / name, run.data / "reward" / name)
        for name in _UNSTEERED:
            borrow(config.data / name, run.data / name)
        moved = select_and_test(backbone, problems, Artifacts(backbone, run, rewards), run)
        outcomes.append(moved[moved["arm"] != "base"].assign(learned_on=source.backbone_name))
    table = stitched_rows(pd.concat(outcomes).assign(backbone=config.backbone_name), config)
    table["explained_variance"] = table["learned_on"].map(faithful)
    write_measured(table, f"{config.profile}-{config.backbone_name}{STITCHED}", home)
    return table


def _keep_stitched(backbone: Backbone, config: Config, source: Config, folder: Path) -> dict[str, float]:
    """Make the stitched dictionary, unless it is there.

    Returns:
        The held-out variance that it and the backbone's own explain, by the backbone that each was learned on.
    """
    other = load_backbone(source.backbone.path, source.device, source.dtype)
    if backbone.tokenizer.get_vocab() != other.tokenizer.get_vocab():
        raise ValueError(f"{config.backbone_name} and {source.backbone_name} do not read the same tokens")
    plan = fitting_plan(backbone, config) | {"other": other.identity, "its_layer": source.backbone.layer}
    plan |= {"dictionaries": [digest_of(one.data / "sae") for one in (config, source)]}

    def make(made: Path) -> None:
        traces, problems = read_kept(config.data / "traces"), load_problems(config.data / "problems", split="reward")

        def states(of: Backbone, layer: int) -> dict[str, torch.Tensor]:
            replay = partial(replay_traces, of, layer, traces, problems, config.decoding.batch_size)
            return {name: torch.cat(some) for name, some in parted(replay, traces, config).items()}

        here, there = states(backbone, config.backbone.layer), states(other, source.backbone.layer)
        reads, writes = fit_affine(here["seen"], there["seen"]), fit_affine(there["seen"], here["seen"])
        own, learned = (load_sae(one.data / "sae", backbone.device) for one in (config, source))
        stitched = stitched_sae(learned, reads, writes, backbone.identity, config.backbone.layer)
        save_dictionary(stitched, made)
        read_by = {config.backbone_name: own, source.backbone_name: stitched}
        faithful = {name: explained_variance(dictionary, here["held out"]) for name, dictionary in read_by.items()}
        write_text(made / _FAITHFUL, json.dumps(faithful, indent=2) + "\n")

    keep(folder, "stitched dictionary", plan | code_of(__name__), make)
    return json.loads((folder / _FAITHFUL).read_text("utf-8"))
