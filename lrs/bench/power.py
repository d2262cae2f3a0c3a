"""Power: the whole pipeline, again and again, on headrooms of known size: how often is what is there found?

One planted reasoner serves every dose. Its mode matters in a share of all problems, and it can tell in which; a run is
asked as many of those as its dose says, in every split.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import yaml

from lrs.core.digests import fingerprint
from lrs.core.frames import each_row
from lrs.core.statistics import holm, mcnemar_exact, minimum_detectable_effect
from lrs.experiment.whole import run_whole
from lrs.models.backbones import load_backbone
from lrs.report.assay import assay_table
from lrs.saved import write_measured
from lrs.tasks.problems import Problem, stream_problems
from lrs.tutor.planted import matters

if TYPE_CHECKING:
    from lrs.config import Config, StatisticsSection

DOSES = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)  # shares of the problems in which the mode matters


def planted_share(config: Config) -> float:
    """The share of all problems in which the mode of the profile's reasoner matters, as its recipe says."""
    return yaml.safe_load((Path(config.backbone.path) / "recipe.yaml").read_text("utf-8"))["dose"]


def problems_at(dose: float, planted: float, config: Config) -> list[Problem]:
    """The profile's problems of its one benchmark, the mode mattering in a share `dose` of every split.

    Args:
        planted: share of all problems in which the mode of the reasoner matters.

    Raises:
        ValueError: the profile has more benchmarks than one, or none can be drawn of a kind that is wanted.
    """
    ((benchmark, difficulty),) = config.benchmarks.items()
    missing: dict[tuple[str, bool], int] = {}
    for split, count in config.problems.model_dump().items():
        missing |= {(split, True): round(dose * count), (split, False): count - round(dose * count)}
    if (dose > 0 and planted == 0) or (dose < 1 and planted == 1):
        raise ValueError(f"a dose of {dose:g} cannot be had of a mode that matters in {planted:.0%} of all problems")
    drawn = []
    for problem in stream_problems(benchmark, difficulty, config.seed):
        kind = problem.split, matters(problem, planted)
        if missing.get(kind):
            missing[kind] -= 1
            drawn.append(problem)
        if not any(missing.values()):
            break
    return drawn


def run_of(dose: float, seed: int, config: Config) -> Config:
    """The profile as one run sees it: with a seed, and a folder under `data/<profile>`, of its own."""
    name = f"dose-{round(100 * dose):03d}-seed-{seed}"
    return config.model_copy(update={"seed": seed, "backbone_name": name, "backbones": {name: config.backbone}})


def measure_power(config: Config, planted: float, seeds: Sequence[int], doses: Sequence[float] = DOSES) -> None:
    """Run the whole pipeline at every dose and seed, and then write `runs.csv` of all runs of this profile and reasoner
    that there are under `data/<profile>`. What is kept is not run again; processes with seeds of their own may run side
    by side.

    Args:
        planted: share of all problems in which the mode of the reasoner matters.
    """
    backbone = load_backbone(config.backbone.path, config.device, config.dtype)
    made_by = fingerprint([backbone.identity, config.model_dump(exclude={"seed"}), planted])
    for seed in seeds:
        for dose in doses:
            run = run_of(dose, seed, config)
            outcomes = run_whole(backbone, problems_at(dose, planted, run), run)
            row = _rows(outcomes, run.statistics, seed).assign(dose=dose, made_by=made_by)
            write_measured(row, "row", run.data)
    home = run_of(0, 0, config).data.parent
    runs = pd.concat([pd.read_csv(path) for path in sorted(home.glob("*/row.csv"))])
    write_measured(runs[runs["made_by"] == made_by], "runs", home)


def _rows(outcomes: pd.DataFrame, statistics: StatisticsSection, seed: int) -> pd.DataFrame:
    """The pooled rows of a run's assay, with p (exact McNemar), p_holm (over the rows of the run) and mde."""
    table = assay_table(outcomes, statistics, seed=seed).query("benchmark == 'pooled'").assign(seed=seed)
    table["p"] = [mcnemar_exact(won, lost) for won, lost in zip(table["wins"], table["losses"], strict=True)]
    table["p_holm"] = holm(table["p"].to_numpy())
    table["mde"] = [
        minimum_detectable_effect(row.n, (row.wins + row.losses) / row.n, statistics.confidence_level)
        for row in each_row(table)
    ]
    return table.drop(columns=["backbone", "benchmark", "seeds"])
