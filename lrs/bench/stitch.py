"""Does what was learned on one backbone steer another? Dictionary and rewards of one, moved to another by affine maps.

Both read the traces of the backbone that is to be steered, and the maps between their residual streams are fitted on
these. Nothing else is learned there: the rewards are what they were, steps are selected on validation problems as they
are for rewards of its own, and what comes of it stands beside what its own rewards do on the same test problems.
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
from lrs.core.kept import digest_of, keep, read_kept
from lrs.core.store import write_text
from lrs.experiment.evaluation import Artifacts
from lrs.experiment.whole import select_and_test
from lrs.learning.sae import explained_variance, parted
from lrs.learning.stitching import fit_affine, stitched_sae
from lrs.method.arms import rewards_for
from lrs.method.dictionary import SaeDictionary, load_dictionary, save_dictionary
from lrs.models.activations import replay_traces
from lrs.models.backbones import Backbone, load_backbone
from lrs.models.devices import describe_device
from lrs.report.tables import main_results
from lrs.saved import STITCHED, TRANSFER, load_outcomes, write_measured
from lrs.tasks.problems import load_problems

if TYPE_CHECKING:
    from lrs.config import Config

# Of the profile's, those that are moved: the paper's method, what works, and the controls of what works.
MOVED = ("base", "lrs", "lrs_causal", "lrs_slope", "free_push", "slope_mean", "trained_constant", "slope_turned")
_FAITHFUL = "explained_variance.json"


def stitch_of(config: Config, source: Config) -> Config:
    """The profile as what was learned on `source` sees it: with arms, longer steps to choose from and a folder of its
    own. A fit by least squares shortens what it maps."""
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
        `main_results` of what was learned on each, its own first, with columns learned_on (a backbone) and
        explained_variance (of held-out activations of the one that is steered, by the dictionary learned on that one).

    Raises:
        ValueError: two do not read the same tokens.
    """
    backbone = load_backbone(config.backbone.path, config.device, config.dtype)
    problems, own = load_problems(config.data / "problems"), load_outcomes(config.data / "outcomes", config.steering)
    made, faithful = {config.backbone_name: own[own["arm"].isin(MOVED)]}, dict[str, float]()
    for source in sources:
        run = stitch_of(config, source)
        faithful |= _keep_stitched(backbone, config, source, run.data / "sae")
        rewards = rewards_for(run.steering.arms, shown=())
        for name in rewards:
            shutil.copytree(source.data / "reward" / name, run.data / "reward" / name, dirs_exist_ok=True)
        made[source.backbone_name] = select_and_test(backbone, problems, Artifacts(backbone, run, rewards), run)
    tables = [
        main_results(outcomes.assign(backbone=config.backbone_name), config).assign(
            learned_on=name, explained_variance=faithful[name]
        )
        for name, outcomes in made.items()
    ]
    table = pd.concat(tables, ignore_index=True)
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
    named = {"traces": config.data / "traces", "sae": source.data / "sae", "own": config.data / "sae"}
    plan = {"backbones": [backbone.identity, other.identity], "seed": config.seed}
    plan |= {"layers": [config.backbone.layer, source.backbone.layer], "device": describe_device(backbone.device)}
    plan |= {"early_stopping_share": config.reward.early_stopping_share}
    plan |= {"made_from": {name: digest_of(path) for name, path in named.items()}}

    def make(made: Path) -> None:
        traces, problems = read_kept(named["traces"]), load_problems(config.data / "problems", split="reward")

        def states(of: Backbone, layer: int) -> dict[str, torch.Tensor]:
            replay = partial(replay_traces, of, layer, traces, problems, config.decoding.batch_size)
            return {name: torch.cat(some) for name, some in parted(replay, traces, config).items()}

        here, there = states(backbone, config.backbone.layer), states(other, source.backbone.layer)
        reads, writes = fit_affine(here["seen"], there["seen"]), fit_affine(there["seen"], here["seen"])
        learned, own = (load_dictionary(named[name], device=backbone.device) for name in ("sae", "own"))
        if not isinstance(learned, SaeDictionary) or not isinstance(own, SaeDictionary):
            raise TypeError(f"{named['sae']} holds projections where an autoencoder was written")
        stitched = stitched_sae(learned, reads, writes, backbone.identity, config.backbone.layer)
        save_dictionary(stitched, made)
        read_by = {config.backbone_name: own, source.backbone_name: stitched}
        faithful = {name: explained_variance(dictionary, here["held out"]) for name, dictionary in read_by.items()}
        write_text(made / _FAITHFUL, json.dumps(faithful, indent=2) + "\n")

    keep(folder, "stitched dictionary", plan | code_of(__name__), make)
    return json.loads((folder / _FAITHFUL).read_text("utf-8"))
