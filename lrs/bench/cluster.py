"""The cells of a profile (backbone, arm, decoding) on many GPUs or machines, by Ray.

A cell is what one call of `evaluate`, or of `collect_traces`, keeps where its stage keeps it, in a folder that all
machines share. Its parts, of so many problems and seeds each, are the shards, and whoever is free takes the next one:
what a dead process or a killed run has left is gone on with, and the stage then finds everything kept.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from lrs.core.closure import ROOT
from lrs.core.kept import Parts, enter_part
from lrs.core.progress import Progress
from lrs.experiment.evaluation import Artifacts, jobs_asked, outcome_parts
from lrs.experiment.prompting import prompting_for
from lrs.experiment.traces import Job, trace_parts
from lrs.experiment.whole import settings_and_doses
from lrs.method.arms import ARMS, rewards_for
from lrs.method.setting import Setting
from lrs.models.backbones import load_backbone
from lrs.models.devices import describe_device, resolve_device
from lrs.saved import load_selection
from lrs.tasks.problems import Problem

if TYPE_CHECKING:
    from lrs.config import Config, SamplingSection

_ATTEMPTS = 4  # at a part whose process dies
_SECONDS = 2.0  # between looks at what the workers tell


class Cell(NamedTuple):
    """One arm of one backbone in one decoding, and the folder that keeps its outcomes; or what comes before them.

    Attributes:
        setting: of a steered arm that is tried; None: the one that was selected.
        traces: samples of unsteered traces a problem, beside the greedy one; the cell is these, and no outcomes.
        grid: the cell is the settings that are to be tried and their doses, made as it is opened; it has no parts.
    """

    config: Config
    arm: str
    decoding: str
    sampling: SamplingSection | None
    folder: Path
    setting: Setting | None = None
    traces: int | None = None
    grid: bool = False

    def __str__(self) -> str:
        name = self.setting.name if self.setting else self.arm
        return f"cell {self.config.backbone_name}, {name}, {self.decoding}"

    def count(self, problems: Sequence[Problem]) -> int:
        """Generations that it keeps."""
        if self.grid:
            return 0
        return len(jobs_asked(problems, self.sampling)) if self.traces is None else len(problems) * (self.traces + 1)


class Shard(NamedTuple):
    """A part of a cell; without a name, the opening of its folder, which tells the parts that are missing."""

    cell: Cell
    part: str = ""

    def __str__(self) -> str:
        return f"{self.cell}, {self.part}" if self.part else str(self.cell)


def evaluate_cells(
    cells: Sequence[Cell], problems: Mapping[str, Sequence[Problem]], actors: int = 0, address: str = "local"
) -> str:
    """Evaluate cells of one profile, part by part, wherever an actor is free; what is kept already is not made again.

    A part whose process dies is begun anew by a new one, at most three times. Outcomes do not depend on the actors.

    Args:
        problems: by backbone.
        actors: processes, each with a GPU, or on CPUs with a core for each of the profile's workers; 0: as many as
            there is room for.
        address: of a cluster that `ray start` made (`auto`: of this machine's), or `local`: this machine alone.

    Returns:
        The device, which all actors have.

    Raises:
        ValueError: Ray is not installed, or there is no room for so many actors; their devices differ; or a cell
            failed, or its process died again and again: the message names it.
    """
    config = cells[0].config
    counts = [cell.count(problems[cell.config.backbone_name]) for cell in cells]
    shards = sum(max(1, -(-count // config.decoding.problems_per_part)) for count in counts)
    with _started(address) as ray:
        there, cores = ray.cluster_resources(), config.decoding.workers
        on_gpus = config.device != "cpu" and there.get("GPU", 0) >= 1
        needs = {"num_cpus": 1, "num_gpus": 1} if on_gpus else {"num_cpus": cores}
        room = int(min(there.get(kind, 0) // needs[f"num_{kind.lower()}s"] for kind in ("CPU", "GPU")[: 1 + on_gpus]))
        if not room or actors > room:
            raise ValueError(f"{max(actors, 1)} actors are more than there is room for: {room}, of {needs} each")
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        common = {"max_restarts": -1, "runtime_env": {"env_vars": {"PYTHONPATH": path}}}  # the package of this process
        board = ray.remote(num_cpus=0, max_task_retries=-1, **common)(_Board).remote()
        remote = ray.remote(**needs, max_task_retries=_ATTEMPTS - 1, **common)(_Worker)
        workers = [remote.remote(Path.cwd(), cores) for _ in range(min(actors or room, shards))]
        asked = {name: ray.put(list(some)) for name, some in problems.items()}
        try:
            with Progress("cluster", sum(counts), "generations") as whole:
                return _hand_out(ray, workers, cells, asked, board, whole)
        finally:
            for actor in (*workers, board):
                ray.kill(actor)


class _Board:
    """How many generations of each part are there, as was told last."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}

    def tell(self, shard: str, done: int) -> None:
        self._told[shard] = done

    def read(self) -> dict[str, int]:
        return self._told


class _Worker:
    """A process with a device of its own, and one backbone at a time with all that its cells need."""

    def __init__(self, home: Path, threads: int):
        os.chdir(home)  # shared by all: what a profile names lies under it
        torch.set_num_threads(threads)  # the profile's, not the machine's: sums may depend on it
        self._held: _Held | None = None

    def device(self, name: str) -> str:
        """What the device of that name is here."""
        return describe_device(resolve_device(name))

    def work(self, shard: Shard, problems: Sequence[Problem], device: str, board: Any) -> tuple[int, list[str]]:
        """On the device that all have, open a cell: the generations that are there, and the parts that are not. Or make
        a part, unless the process that died over it had made it, and tell the board how far it is."""
        import ray

        if (own := self.device(shard.cell.config.device)) != device:
            raise ValueError(f"all actors must have one kind of device (got {device} and {own})")
        held = self._holding(shard.cell.config)
        if shard.cell.grid:
            held.make_grid(shard.cell, problems)
            return 0, []
        parts = held.parts(shard.cell, problems)
        if not shard.part:
            missing = parts.open()
            return len(parts.jobs) - sum(missing.values()), list(missing)
        if not (parts.folder / shard.part).exists():
            Progress.listener = lambda own: ray.get(board.tell.remote(str(shard), own.done))
            with Progress(f"{parts.stage}, {shard.part}", len(parts.shares[shard.part])) as progress:
                parts.write(shard.part, progress.advance)
        return 0, []

    def _holding(self, config: Config) -> _Held:
        if not self._held or self._held.config.backbone_name != config.backbone_name:
            self._held = None  # room for the next
            self._held = _Held(config)
        return self._held


class _Held:
    """A backbone, and what steers it, once that is there."""

    def __init__(self, config: Config):
        self.config = config
        self.backbone = load_backbone(config.backbone.path, config.device, config.dtype)

    @cached_property
    def artifacts(self) -> Artifacts:
        return Artifacts(self.backbone, self.config, rewards_for(self.config.steering.arms, shown=()))

    @cached_property
    def selection(self) -> Mapping[str, Mapping[str, Setting]]:
        return load_selection(self.config.data / "selection.json", self.backbone.identity, self.artifacts.digests)

    def make_grid(self, cell: Cell, problems: Sequence[Problem]) -> None:
        artifacts = Artifacts(self.backbone, cell.config, rewards_for(cell.config.steering.arms))  # as stage 4 has them
        settings_and_doses(self.backbone, problems, cell.config, artifacts, cell.folder)

    def parts(self, cell: Cell, problems: Sequence[Problem]) -> Parts[Job]:
        backbone, config, arm = self.backbone, cell.config, ARMS[cell.arm]
        if cell.traces is not None:
            return trace_parts(backbone, problems, config, cell.folder, cell.traces, str(cell))
        asked, setting = prompting_for(arm, backbone, problems, config), cell.setting
        if arm.reward and not setting:
            setting = self.selection.get(cell.decoding, {}).get(cell.arm)
        artifacts = self.artifacts
        return outcome_parts(backbone, problems, arm, setting, artifacts, config, cell.folder, cell.sampling, asked)


def _hand_out(
    ray: ModuleType,
    workers: Sequence[Any],
    cells: Sequence[Cell],
    asked: Mapping[str, Any],
    board: Any,
    whole: Progress,
) -> str:
    """Give every worker a shard once it has started, and another when it has finished; the device that they have.

    A cell is opened when no part of those before it waits any more, so that workers seldom change the backbone.
    """
    waiting, left, device = deque(Shard(cell) for cell in cells), len(cells), ""
    told: dict[str, int] = {}
    running: dict[Any, tuple[Any, Shard | None]] = {
        worker.device.remote(cells[0].config.device): (worker, None) for worker in workers
    }
    idle = []
    while left:
        for ready in ray.wait(list(running), timeout=_SECONDS)[0]:
            worker, shard = running.pop(ready)
            found = _result(ray, ready, shard or "a worker that was to start")
            idle.append(worker)
            if shard is None:
                device = device or found
                continue
            if shard.part:
                enter_part(shard.cell.folder, shard.part)
            resumed, missing = found
            waiting.extendleft(Shard(shard.cell, part) for part in reversed(missing))
            left += len(missing) - 1
            whole.resumed += resumed
        while idle and waiting:
            worker, shard = idle.pop(), waiting.popleft()
            running[worker.work.remote(shard, asked[shard.cell.config.backbone_name], device, board)] = worker, shard
        told |= ray.get(board.read.remote())  # kept here too, should the board die
        whole.advance(whole.resumed + sum(told.values()) - whole.done, f"{left} cells and parts left")
    return device


def _result(ray: ModuleType, ready: Any, of: Shard | str) -> Any:
    """What a worker gave back; its failure in one line."""
    try:
        return ray.get(ready)
    except ray.exceptions.RayTaskError as error:
        raise ValueError(f"{of}: {error.cause}") from error
    except ray.exceptions.RayError as error:
        why = str(error).strip().splitlines()[-1].strip()
        raise ValueError(f"{of}: its process died again and again, of too little memory perhaps ({why})") from error


@contextmanager
def _started(address: str) -> Iterator[ModuleType]:
    """Ray, connected to a cluster or to one of this machine; one that is there already is used, and left alone."""
    try:
        import ray
    except ImportError:
        raise ValueError("Ray is not installed; from a clone: pip install '.[cluster]'") from None
    own = not ray.is_initialized()
    if own:
        try:
            ray.init(address, include_dashboard=False, logging_level=logging.WARNING)
        except ConnectionError as error:
            raise ValueError(f"there is no Ray cluster at {address!r}: {error}") from None
    try:
        yield ray
    finally:
        if own:
            ray.shutdown()
