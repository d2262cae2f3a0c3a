"""Cells on a cluster: the same bytes with one actor, with two, with one that is killed; and clear lines otherwise."""

import os
import re
import shutil
import signal
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from lrs.__main__ import main
from lrs.bench import cluster
from lrs.bench.cluster import Cell, evaluate_cells
from lrs.bench.confirm import confirm
from lrs.bench.power import problems_at
from lrs.bench.stages import shard
from lrs.config import Config
from lrs.experiment.evaluation import Artifacts, evaluate
from lrs.experiment.traces import collect_traces, keep_problems
from lrs.experiment.whole import run_whole, try_all
from lrs.learning.reward_training import fit_reward
from lrs.method.arms import REWARDS, rewards_for
from lrs.models.backbones import load_backbone
from lrs.saved import describe_run, load_outcomes
from lrs.tasks.problems import load_problems, save_problems

ROOT = Path(__file__).parents[1]
needs_ray = pytest.mark.skipif(not find_spec("ray"), reason="needs ray: pip install '.[cluster]'")


@pytest.fixture(scope="module")
def ray():
    """A cluster of two cores on this machine."""
    import ray as library

    library.init("local", num_cpus=2, include_dashboard=False, logging_level="WARNING")
    yield library
    library.shutdown()


def changed(config: Config, **decoding: int) -> Config:
    """The same with other decoding, and a backbone that is found from wherever a process stands."""
    there = config.backbone.model_copy(update={"path": str(ROOT / config.backbone.path)})
    update = {"backbones": {config.backbone_name: there}}
    return config.model_copy(update=update | {"decoding": config.decoding.model_copy(update=decoding)})


@pytest.fixture
def config(small_power: Config) -> Config:
    return changed(small_power, problems_per_part=1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder in which the pipeline has run, once for all tests, with the outcomes of plain `evaluate`."""
    return tmp_path_factory.mktemp("whole")


@pytest.fixture
def home(whole: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it without outcomes; we stand in it."""
    monkeypatch.chdir(whole)
    if not (whole / config.data / "outcomes").exists():
        problems = problems_at(0.5, 0.5, config)
        save_problems(problems, config.data / "problems")
        run_whole(load_backbone(config.backbone.path), problems, config)
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / config.data / "outcomes")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def outcomes(root: Path, config: Config) -> dict[str, bytes]:
    """Every file, plans too, by its name."""
    folder = root / config.data / "outcomes"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def last_line(text: str) -> str:
    return [line for line in text.splitlines() if line.startswith("[cluster]")][-1]


@needs_ray
@pytest.mark.parametrize("actors", [1, 2])
def test_outcomes_are_those_of_plain_evaluate_whatever_the_actors(ray, home, whole, config, actors, capfd):
    shard("steering", [config], actors=actors)
    made = outcomes(home, config)
    assert made == outcomes(whole, config)
    total = len(load_outcomes(config.data / "outcomes", config.steering))
    assert re.match(rf"\[cluster\] {total}/{total} generations \(100%\) \| [\d.]+/s", last_line(capfd.readouterr().err))
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
    shard("steering", [config], actors=actors)
    after = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
    assert {path for path in after if after[path] != before.get(path)} == {home / config.data / "outcomes/about.json"}
    assert "| 0.0/s |" in last_line(capfd.readouterr().err)


def actors_of_this_process() -> list[int]:
    """Process ids of workers of Ray that this process has started, and that evaluate."""
    running = psutil.Process().children(recursive=True)
    return [process.pid for process in running if process.name().startswith("ray::_Worker")]


@needs_ray
def test_a_killed_actor_is_replaced_and_its_cell_goes_on(ray, home, whole, config):
    folder, killed = home / config.data / "outcomes", {}

    def kill_one() -> None:
        while not (parts := sorted(folder.rglob("part-*.arrow"))):
            time.sleep(0.005)
        killed["pid"] = actors_of_this_process()[0]
        os.kill(killed["pid"], signal.SIGKILL)
        killed["kept"] = {path: path.stat().st_mtime_ns for path in parts}
        while killed["pid"] in (alive := actors_of_this_process()) or len(alive) < 2:
            time.sleep(0.005)
        killed["successors"] = alive

    killer = threading.Thread(target=kill_one)
    killer.start()
    shard("steering", [config], actors=2)
    killer.join(timeout=60)
    assert len(killed["successors"]) == 2  # the other one, and a new one
    assert outcomes(home, config) == outcomes(whole, config)
    assert killed["kept"].items() <= {path: path.stat().st_mtime_ns for path in killed["kept"]}.items()


def written(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Every file of a folder: when it was written, and what it holds."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): content for path, (_, content) in written(folder).items()}


@needs_ray
@pytest.mark.parametrize("actors", [1, 2])
def test_traces_are_those_of_stage_1_which_then_finds_them(ray, config, actors, tmp_path, monkeypatch):
    config = changed(config, problems_per_part=7)
    backbone = load_backbone(config.backbone.path)

    def stage() -> None:
        asked = [p for p in keep_problems(config, config.data / "problems") if p.split == "reward"]
        collect_traces(backbone, asked, config, config.data / "traces", config.traces.samples)

    for place, make in (("alone", stage), ("together", lambda: shard("traces", [config], actors=actors))):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        make()
    alone, together = (tmp_path / place for place in ("alone", "together"))
    assert contents(together) == contents(alone)
    assert len(list(together.rglob("traces/part-*.arrow"))) > 2
    before = written(together)
    stage()
    assert written(together) == before


@needs_ray
@pytest.mark.parametrize("actors", [1, 2])
def test_a_grid_is_tried_as_in_stage_4_which_then_finds_it(ray, home, config, actors, tmp_path, monkeypatch):
    """Greedily and sampled; with the rewards that stage 3 makes for its notebook, beside those of the arms."""
    config = changed(config, problems_per_part=2)
    fit_reward(REWARDS["history"], config, config.data / "reward/history")
    shutil.rmtree(config.data / "validation")
    (config.data / "selection.json").unlink()
    shutil.copytree(config.data, tmp_path / "alone" / config.data)
    backbone = load_backbone(config.backbone.path)
    problems = load_problems(config.data / "problems", split="validation")

    def stage():
        artifacts = Artifacts(backbone, config, rewards_for(config.steering.arms))
        return try_all(backbone, problems, config, artifacts, config.data / "validation")[1]

    with monkeypatch.context() as patch:
        patch.chdir(tmp_path / "alone")
        table = stage()
    shard("select", [config], actors=actors)
    assert contents(home / config.data) == contents(tmp_path / "alone" / config.data)
    assert set(table["decoding"]) == set(config.steering.decodings)
    before = written(home)
    assert stage().equals(table)
    assert written(home) == before


class Patient(cluster._Worker):
    """A worker that makes a part only when another one has come to do so."""

    def work(self, shard, *rest):
        there = Path("there")
        if shard.part:
            there.mkdir(exist_ok=True)
            (there / str(os.getpid())).touch()
            until = time.monotonic() + 60
            while len(list(there.iterdir())) < 2:
                if time.monotonic() > until:
                    raise TimeoutError("nobody else came")
                time.sleep(0.005)
        return super().work(shard, *rest)


@needs_ray
def test_many_actors_make_the_parts_of_one_cell(ray, home, whole, config, monkeypatch):
    monkeypatch.setattr(cluster, "_Worker", Patient)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a worker cannot import a test
    problems = load_problems(config.data / "problems", split="test")
    cell = Cell(config, "base", "greedy", None, config.data / "outcomes" / "base" / "greedy")
    evaluate_cells([cell], {config.backbone_name: problems}, actors=2)
    assert outcomes(home, config) == {
        name: content for name, content in outcomes(whole, config).items() if name.startswith("base/greedy/")
    }


@needs_ray
def test_an_actor_may_share_a_batch_among_processes(ray, home, config):
    shared = changed(config, problems_per_part=4, workers=2)
    shard("steering", [shared], ["base"])
    made = outcomes(home, config)
    shutil.rmtree(home / config.data / "outcomes")
    problems = [problem for problem in problems_at(0.5, 0.5, shared) if problem.split == "test"]
    backbone = load_backbone(shared.backbone.path)
    from lrs.method.arms import ARMS

    for decoding, how in shared.steering.decodings.items():
        place = shared.data / "outcomes/base" / decoding
        evaluate(backbone, problems, ARMS["base"], None, None, shared, place, how)
    describe_run(shared, "cpu", shared.data / "outcomes")
    assert made == outcomes(home, config)


@needs_ray
def test_a_selection_is_confirmed_by_actors_as_without(ray, home, config):
    alone = confirm(config, 3, ["lrs"], home / "alone")
    shutil.rmtree(home / "build")
    together = confirm(config, 3, ["lrs"], home / "together", actors=2)
    for name in ("results.csv", "README.md"):
        assert (alone / name).read_bytes() == (together / name).read_bytes()


@needs_ray
def test_faults_are_lines_that_name_what_is_wrong(ray, home, config):
    with pytest.raises(ValueError, match="profile power has no arm 'lrs_basic'; legal: base, cot, lrs, lrs_causal"):
        shard("steering", [config], ["lrs_basic"])
    with pytest.raises(ValueError, match=r"3 actors are more than there is room for: 2, of {'num_cpus': 1} each"):
        shard("steering", [config], actors=3)
    (part,) = (config.data / "reward/token").glob("*.safetensors")
    part.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"^cell planted-half, base, greedy: \S+ is not as it was written") as told:
        shard("steering", [config], ["base"])
    assert "\n" not in str(told.value)
    (config.data / "selection.json").unlink()
    with pytest.raises(ValueError, match=r"^no selection at \S+; run stage `select` first$"):
        shard("steering", [config])


def test_what_a_stage_has_not_is_refused(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^stage 'sae' is not shared out; legal: traces, select, steering$"):
        shard("sae", [config])
    with pytest.raises(ValueError, match=r"^stage select is made for all arms at once; legal: no arms, or stage steer"):
        shard("select", [config], ["lrs"])
    with pytest.raises(ValueError, match=r"^nothing is kept in \S+reward/token; run the stage that makes it"):
        shard("select", [config])


def test_without_ray_one_line_says_how_to_get_it(config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    cell = Cell(config, "base", "greedy", None, tmp_path)
    with pytest.raises(ValueError, match=r"^Ray is not installed; from a clone: pip install '\.\[cluster\]'$"):
        evaluate_cells([cell], {config.backbone_name: []})


def test_the_command_asks_for_a_selection(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lrs", "cluster", "--profile", "power", "--actors", "2"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == "no selection at data/power/planted-half/selection.json; run stage `select` first"
