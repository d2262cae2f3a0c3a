"""Seeds: the whole pipeline of a profile, again and again. How much does a table of one seed hang on it?

A seed draws problems, dictionary, rewards, attempts and samples anew, and settings are selected anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from lrs.core.digests import fingerprint
from lrs.experiment.traces import draw_all_problems
from lrs.experiment.whole import run_whole
from lrs.models.backbones import load_backbone
from lrs.report.tables import main_results
from lrs.saved import SEEDS, write_measured

if TYPE_CHECKING:
    from lrs.config import Config


def run_at(seed: int, config: Config) -> Config:
    """The profile as one run sees it: with a seed, and a folder under `data/seeds`, of its own."""
    name = f"{config.profile}-{config.backbone_name}-seed-{seed}"
    own = {"seed": seed, "profile": SEEDS.name, "backbone_name": name, "backbones": {name: config.backbone}}
    return config.model_copy(update=own)


def measure_seeds(config: Config, seeds: Sequence[int]) -> None:
    """Run the whole pipeline of one backbone at every seed, and then write `<profile>-<backbone>.csv` of all runs of it
    that there are under `data/seeds`: `main_results`, with seed. What is kept is not run again; processes with seeds of
    their own may run side by side."""
    backbone = load_backbone(config.backbone.path, config.device, config.dtype)
    made_by = fingerprint([backbone.identity, config.model_dump(exclude={"seed"})])
    for seed in seeds:
        run = run_at(seed, config)
        outcomes = run_whole(backbone, draw_all_problems(run), run).assign(backbone=config.backbone_name)
        table = main_results(outcomes, run).assign(profile=config.profile, seed=seed, made_by=made_by)
        write_measured(table, "results", run.data)
    kept = sorted(SEEDS.glob(f"{config.profile}-{config.backbone_name}-seed-*/results.csv"))
    runs = pd.concat([pd.read_csv(path) for path in kept], ignore_index=True)
    write_measured(runs[runs["made_by"] == made_by], f"{config.profile}-{config.backbone_name}", SEEDS)
