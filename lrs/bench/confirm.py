"""Confirmation: the frozen selection, once, on many problems that nobody could have chosen.

The problems are drawn with the digest of `selection.json` as the seed, so that they exist only once the selection does,
and any change of it asks others. What was confirmed, and how, is a line of an append-only log; the same selection is
not confirmed in another way.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lrs.bench.cluster import Cell, evaluate_cells
from lrs.bench.profiles import check_arms
from lrs.core.digests import fingerprint
from lrs.core.store import write_text
from lrs.experiment.evaluation import Artifacts, evaluate
from lrs.experiment.prompting import prompting_for
from lrs.method.arms import ARMS, rewards_for
from lrs.method.dictionary import save_dictionary
from lrs.method.reward import save_reward
from lrs.models.backbones import load_backbone
from lrs.models.devices import describe_device
from lrs.report.confirmed import AGAINST_GREEDY, CONFIRMED, confirmed_page, place_of, read_log
from lrs.report.tables import against_greedy, controls_table, main_results
from lrs.saved import load_selection, selection_digest, write_measured
from lrs.tasks.benchmarks import BENCHMARKS
from lrs.tasks.problems import Problem, draw_problems, load_problems

if TYPE_CHECKING:
    from lrs.config import Config

_SCRATCH = Path("build/confirm")  # outcomes, from which a killed confirmation resumes


def fresh_problems(digest: str, count: int, known: Sequence[Problem], config: Config) -> list[Problem]:
    """`count` test problems of every benchmark, none of them `known`, drawn with `digest` (hexadecimal) as the seed.

    Raises:
        ValueError: a benchmark is a public data set.
    """
    seen = {problem.id for problem in known if problem.split == "test"}  # those of other splits are not drawn
    fresh = []
    if public := [name for name in config.benchmarks if BENCHMARKS[name].source]:
        raise ValueError(f"a public data set has no fresh problems (profile {config.profile} asks {public[0]})")
    for benchmark, difficulty in config.benchmarks.items():
        drawn = draw_problems(benchmark, difficulty, {"test": count + len(seen)}, int(digest[:8], 16))
        fresh += [problem for problem in drawn if problem.id not in seen][:count]
    return fresh


def enter(entry: dict[str, object], home: Path) -> dict[str, Any]:
    """Append a confirmation to the log, unless it is there already and goes on; its line, as `read_log` has it.

    Raises:
        ValueError: the same selection was confirmed in another way: on other problems, say, or with other arms.
    """
    log, key = home / "log.jsonl", ("selection", "backbone")
    same = [old for old in read_log(home) if all(old[name] == entry[name] for name in key)]
    for old in same:
        if changed := [name for name, value in entry.items() if old.get(name) != value]:
            name = changed[0]
            raise ValueError(
                f"this selection of {entry['backbone']} was confirmed once and for all, with {name} {old.get(name)} "
                f"(got {entry[name]}; see {log})"
            )
    if not same:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(entry | {"date": datetime.now(UTC).date().isoformat()}) + "\n")
    return (same or read_log(home))[-1]


def keep_fitted(artifacts: Artifacts, arms: Sequence[str], folder: Path) -> None:
    """Write what arms steer with: each dictionary by the name of its basis, each reward by its own; as
    `lrs.load_dictionary` and `lrs.load_reward` read them."""
    read = {name for arm in arms for name in ARMS[arm].reads}
    for basis in {artifacts.bases[name] for name in read}:
        save_dictionary(artifacts.dictionaries[basis], folder / basis)
    for name in read:
        save_reward(artifacts.rewards[name], folder / name)


def confirm(
    config: Config,
    count: int,
    arms: Sequence[str] = (),
    home: Path = CONFIRMED,
    actors: int | None = None,
    address: str = "local",
) -> Path:
    """Evaluate the frozen selection of one backbone on `count` fresh problems a benchmark, `arms` (of the profile; all,
    if none are named) in every decoding.

    Writes `results.csv` (`main_results`), `controls.csv` (`controls_table`), `against_greedy.csv` (`against_greedy`)
    and what people read of them, beside the selection and what was steered with (`fitted`), in a folder of `home` that
    is its own, `<profile>/<backbone>/<digest>`, and returns that; a killed run resumes.

    Args:
        actors: of a Ray cluster at `address`, which evaluate: see `evaluate_cells`; None: this process does.

    Raises:
        ValueError: an arm is none of the profile's; or this selection was confirmed in another way.
    """
    check_arms(arms, config)
    steering = config.steering
    if arms:
        named_too = {"base", *arms}
        steering = steering.model_copy(update={"arms": [arm for arm in steering.arms if arm in named_too]})
    backbone = load_backbone(config.backbone.path, config.device, config.dtype)
    rewards, path = rewards_for(config.steering.arms, shown=()), config.data / "selection.json"
    artifacts = Artifacts(backbone, config, rewards)
    selection, digest = load_selection(path, backbone.identity, artifacts.digests), selection_digest(path)
    device = describe_device(backbone.device)
    problems = fresh_problems(digest, count, load_problems(config.data / "problems"), config)
    named = {"profile": config.profile, "backbone": config.backbone_name, "selection": digest, "problems": count}
    how_asked = [config.decoding.max_new_tokens, config.prompting.model_dump(), steering.model_dump()]
    protocol = fingerprint([[problem.id for problem in problems], how_asked])
    entry = enter(named | {"device": device, "arms": steering.arms, "asked": protocol}, home)
    folder = place_of(entry, home)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, folder / path.name)  # so that the digest is of something that is there
    keep_fitted(artifacts, steering.arms, folder / "fitted")
    sampling = steering.sampling and steering.sampling.model_copy(update={"problems": count})
    steering = steering.model_copy(update={"sampling": sampling})
    cells = [
        Cell(config, arm, decoding, how, _SCRATCH / digest / arm / decoding)
        for arm in steering.arms
        for decoding, how in steering.decodings.items()
    ]
    if actors is not None:
        evaluate_cells(cells, {config.backbone_name: problems}, actors, address)
    asked = {arm: prompting_for(ARMS[arm], backbone, problems, config) for arm in steering.arms}
    parts = []  # what actors have made is kept, and only read here
    for _, arm, decoding, how, place, *_ in cells:
        setting = selection.get(decoding, {}).get(arm)
        parts.append(evaluate(backbone, problems, ARMS[arm], setting, artifacts, config, place, how, asked[arm]))
    outcomes = pd.concat(parts, ignore_index=True).assign(backbone=config.backbone_name, device=device)
    results = main_results(outcomes, config)
    write_measured(results, "results", folder)
    against = controls_table(outcomes, config)
    if len(against):
        write_measured(against, "controls", folder)
    if len(samples := against_greedy(outcomes, config)):
        write_measured(samples, AGAINST_GREEDY, folder)
    write_text(folder / "README.md", confirmed_page(entry, config, home))
    return folder
