"""The cells of a profile (backbone, arm, decoding) on many GPUs or machines, by Ray.

A cell is what one call of `evaluate` keeps where stage 5 keeps it, in a folder that all machines share. Its parts, of
so many problems and seeds each, are the shards, and whoever is free takes the next one: what a dead process or a killed
run has left is gone on with, and stage 5 then finds everything kept.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from lrs.bench.profiles import check_arms
from lrs.core.closure import ROOT
from lrs.core.kept import Parts, enter_part
from lrs.core.progress import Progress
from lrs.experiment.evaluation import Artifacts, jobs_asked, outcome_parts
from lrs.experiment.prompting import prompting_for
from lrs.experiment.traces import Job
from lrs.method.arms import ARMS, rewards_for
from lrs.models.backbones import load_backbone
from lrs.models.devices import describe_device, resolve_device
from lrs.saved import describe_run, load_selection, selection_digest
from lrs.tasks.problems import Problem, load_problems

if TYPE_CHECKING:
    from lrs.config import Config, SamplingSection

_ATTEMPTS = 4  # at a part whose process dies
_SECONDS = 2.0  # between looks at what the workers tell


class Cell(NamedTuple):
    """One arm of one backbone in one decoding, and the folder that keeps its outcomes."""

    config: Config
    arm: str
    decoding: str
    sampling: SamplingSection | None
    folder: Path

    def __str__(self) -> str:
        return f"cell {self.config.backbone_name}, {self.arm}, {self.decoding}"


class Shard(NamedTuple):
    """A part of a cell; without a name, the opening of its folder, which tells the parts that are missing."""

    cell: Cell
    part: str = ""

    def __str__(self) -> str:
        return f"{self.cell}, {self.part}" if self.part else str(self.cell)


def evaluate_profile(
    configs: Sequence[Config], arms: Sequence[str] = (), actors: int = 0, address: str = "local"
) -> None:
    """What stage 5 evaluates, for some backbones of a profile, on a cluster: see `evaluate_cells`.

    Args:
        arms: of the profile; all, if none are named.

    Raises:
        ValueError: an arm is none of the profile's, nothing was selected yet, or as in `evaluate_cells`.
    """
    steering, data = configs[0].steering, {config.backbone_name: config.data for config in configs}
    check_arms(arms, configs[0])
    for home in data.values():
        selection_digest(home / "selection.json")
    tested = {name: load_problems(home / "problems", split="test") for name, home in data.items()}
    cells = [
        Cell(config, arm, decoding, how, config.data / "outcomes" / arm / decoding)
        for config in configs
        for arm in arms or steering.arms
        for decoding, how in steering.decodings.items()
    ]
    device = evaluate_cells(cells, tested, actors, address)
    for config in configs:
        describe_run(config, device, config.data / "outcomes")


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
    counts = [len(jobs_asked(problems[cell.config.backbone_name], cell.sampling)) for cell in cells]
    shards = sum(-(-count // config.decoding.problems_per_part) for count in counts)
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
        self._holds = ""
        self._held: Any = None

    def device(self, name: str) -> str:
        """What the device of that name is here."""
        return describe_device(resolve_device(name))

    def work(self, shard: Shard, problems: Sequence[Problem], device: str, board: Any) -> tuple[int, list[str]]:
        """On the device that all have, open a cell: the generations that are there, and the parts that are not. Or make
        a part, unless the process that died over it had made it, and tell the board how far it is."""
        import ray

        if (own := self.device(shard.cell.config.device)) != device:
            raise ValueError(f"all actors must have one kind of device (got {device} and {own})")
        parts = self._parts(shard.cell, problems)
        if not shard.part:
            missing = parts.open()
            return len(parts.jobs) - sum(missing.values()), list(missing)
        if not (parts.folder / shard.part).exists():
            Progress.listener = lambda own: ray.get(board.tell.remote(str(shard), own.done))
            with Progress(f"{parts.stage}, {shard.part}", len(parts.shares[shard.part])) as progress:
                parts.write(shard.part, progress.advance)
        return 0, []

    def _parts(self, cell: Cell, problems: Sequence[Problem]) -> Parts[Job]:
        config, name = cell.config, cell.config.backbone_name
        if self._holds != name:
            self._holds, self._held = "", None  # room for the next
            backbone = load_backbone(config.backbone.path, config.device, config.dtype)
            artifacts = Artifacts(backbone, config, rewards_for(config.steering.arms, shown=()))
            selection = load_selection(config.data / "selection.json", backbone.identity, artifacts.digests)
            self._holds, self._held = name, (backbone, artifacts, selection)
        (backbone, artifacts, selection), arm = self._held, ARMS[cell.arm]
        asked, setting = prompting_for(arm, backbone, problems, config), selection.get(cell.decoding, {}).get(cell.arm)
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
            ray.init(address, include_dashboard=False, logging_level="WARNING")
        except ConnectionError as error:
            raise ValueError(f"there is no Ray cluster at {address!r}: {error}") from None
    try:
        yield ray
    finally:
        if own:
            ray.shutdown()
