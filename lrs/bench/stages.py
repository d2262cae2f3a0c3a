"""Stages whose generations a cluster makes, part by part, where the stage's notebook then finds them kept."""

from collections.abc import Sequence

from lrs.bench.cluster import Cell, evaluate_cells
from lrs.bench.profiles import check_arms
from lrs.config import Config
from lrs.core.kept import digest_of, read_kept
from lrs.experiment.selection import candidates, trials
from lrs.experiment.traces import keep_problems
from lrs.method.arms import rewards_for
from lrs.saved import describe_run, selection_digest
from lrs.tasks.problems import load_problems

STAGES = ("traces", "select", "steering")


def shard(
    stage: str, configs: Sequence[Config], arms: Sequence[str] = (), actors: int = 0, address: str = "local"
) -> None:
    """What a stage generates, for some backbones of a profile, on a cluster: see `evaluate_cells`.

    Args:
        arms: of the profile, at stage `steering` alone; all, if none are named.

    Raises:
        ValueError: there is no such stage; arms are named that the profile or the stage has not; a stage before has not
            run; or as in `evaluate_cells`.
    """
    if stage not in STAGES:
        raise ValueError(f"stage {stage!r} is not shared out; legal: {', '.join(STAGES)}")
    if arms and stage != "steering":
        raise ValueError(f"stage {stage} is made for all arms at once; legal: no arms, or stage steering")
    if stage == "traces":
        _write_traces(configs, actors, address)
    elif stage == "select":
        _try_settings(configs, actors, address)
    else:
        _evaluate(configs, arms, actors, address)


def _write_traces(configs: Sequence[Config], actors: int, address: str) -> None:
    drawn = {config.backbone_name: keep_problems(config, config.data / "problems") for config in configs}
    asked = {name: [problem for problem in problems if problem.split == "reward"] for name, problems in drawn.items()}
    cells = [
        Cell(config, "base", "traces", None, config.data / "traces", traces=config.traces.samples) for config in configs
    ]
    evaluate_cells(cells, asked, actors, address)


def _try_settings(configs: Sequence[Config], actors: int, address: str) -> None:
    """Three times one after the other, since each needs the one before: unsteered traces, the grid with its thresholds
    and doses (one actor a backbone), and the settings of the grid."""
    for config in configs:
        for name in rewards_for(config.steering.arms):
            digest_of(config.data / "reward" / name)
    asked = {config.backbone_name: load_problems(config.data / "problems", split="validation") for config in configs}
    homes = [(config, config.data / "validation") for config in configs]
    bases = [Cell(config, "base", "validation", None, home / "base", traces=0) for config, home in homes]
    grids = [Cell(config, "base", "grid", None, home, grid=True) for config, home in homes]
    for cells in (bases, grids):
        evaluate_cells(cells, asked, actors, address)
    tried = []
    for config, home in homes:
        settings = candidates(config.select, config.steering.arms, read_kept(home / "signals").to_pandas())
        for of_decoding in trials(settings, asked[config.backbone_name], config, home).values():
            tried += [Cell(config, one.arm, one.decoding, one.sampling, one.folder, one.setting) for one in of_decoding]
    if tried:
        evaluate_cells(tried, asked, actors, address)


def _evaluate(configs: Sequence[Config], arms: Sequence[str], actors: int, address: str) -> None:
    steering = configs[0].steering
    check_arms(arms, configs[0])
    for config in configs:
        selection_digest(config.data / "selection.json")
    tested = {config.backbone_name: load_problems(config.data / "problems", split="test") for config in configs}
    cells = [
        Cell(config, arm, decoding, how, config.data / "outcomes" / arm / decoding)
        for config in configs
        for arm in arms or steering.arms
        for decoding, how in steering.decodings.items()
    ]
    device = evaluate_cells(cells, tested, actors, address)
    for config in configs:
        describe_run(config, device, config.data / "outcomes")
