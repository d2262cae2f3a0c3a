"""Commands that measure outside the pipeline, on profiles that were run: `bench`, `confirm`, `rivals` and others."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lrs.pipeline import profile_copy

app = typer.Typer()
Profile = Annotated[str, typer.Option(help="default: the one in params.yaml")]
ACTORS = "processes of Ray; 0: as many as there is room for"
Address = Annotated[str, typer.Option(help="of a Ray cluster; auto: the one this machine is in; local: none")]


@app.command()
def bench(
    profile: Profile = "",
    shapes: Annotated[bool, typer.Option("--shapes", help="the paper's two models alone, on an accelerator")] = False,
) -> None:
    """Measure every way to decode and steer, side by side, into data/bench."""
    from lrs.bench import tables

    config = configs_of(profile or "paper" * shapes)[0]
    (tables.write_shapes if shapes else tables.write_all)(config)


@app.command()
def confirm(
    profile: Profile = "",
    backbone: Annotated[str, typer.Option(help="default: all of the profile")] = "",
    problems: Annotated[int, typer.Option(help="a benchmark")] = 4000,
    arms: Annotated[str, typer.Option(help="with commas between them; default: all of the profile")] = "",
    device: Annotated[str, typer.Option(help="default: the profile's")] = "",
    batch: Annotated[int, typer.Option(help="rows side by side; default: the profile's")] = 0,
    actors: Annotated[int | None, typer.Option(help=f"{ACTORS}; default: without Ray")] = None,
    address: Address = "local",
) -> None:
    """Evaluate the frozen selection once on fresh problems, drawn from its digest, into data/confirm. Resumes."""
    from lrs.bench.confirm import confirm as confirm_selection
    from lrs.bench.profiles import on_device

    for config in configs_of(profile, backbone):
        placed = on_device(config, device, batch)
        folder = confirm_selection(placed, problems, _names(arms), actors=actors, address=address)
        print(folder / "README.md")


@app.command()
def sweep(
    profile: Profile = "",
    backbone: Annotated[str, typer.Option(help="default: the first of the profile")] = "",
    problems: Annotated[int, typer.Option(help="validation problems a benchmark")] = 60,
    only: Annotated[str, typer.Option(help="quantities, with commas between them; others stay as they are")] = "",
) -> None:
    """Try steps, thresholds, layers, latents and ways to train of a profile that was run: data/sweep. Resumes."""
    from lrs.bench.sweep import measure_sweep

    measure_sweep(configs_of(profile, backbone)[0], problems, _names(only))


@app.command()
def cluster(
    profile: Profile = "",
    backbone: Annotated[str, typer.Option(help="default: all of the profile")] = "",
    arms: Annotated[str, typer.Option(help="of stage steering, with commas between them; default: all")] = "",
    actors: Annotated[int, typer.Option(help=ACTORS)] = 0,
    address: Address = "local",
    stage: Annotated[str, typer.Option(help="traces, select or steering")] = "steering",
) -> None:
    """Generate what a stage generates by Ray, an actor a GPU or a group of cores; the stage then finds it. Resumes."""
    from lrs.bench.stages import shard

    shard(stage, configs_of(profile, backbone), _names(arms), actors, address)


@app.command()
def rivals(profile: Profile = "") -> None:
    """Let the backbones of a profile that was run attempt its test problems eight times, and choose: data/rivals."""
    from lrs.bench.rivals import measure_rivals

    for config in configs_of(profile):
        measure_rivals(config)


@app.command()
def transfer(profile: Profile = "") -> None:
    """Learn a reward from each benchmark of a profile that was run, and ask it about the others: data/transfer."""
    from lrs.bench.transfer import measure_transfer

    for config in configs_of(profile):
        if len(config.benchmarks) > 1:
            measure_transfer(config)


@app.command()
def stitch(profile: Annotated[str, typer.Option(help="one of several backbones that read the same tokens")]) -> None:
    """Steer each backbone of a profile that was run by what was learned on each other one: data/transfer. Resumes."""
    from lrs.bench.stitch import measure_stitch

    configs = configs_of(profile)
    for config in configs:
        measure_stitch(config, [source for source in configs if source is not config])


@app.command()
def survey(
    model: Annotated[str, typer.Argument(help="its folder")],
    problems: Annotated[int, typer.Option(help="of each family")] = 200,
) -> None:
    """Which families of reasoning-gym, in plain English, is a model right on neither always nor never? data/survey."""
    from lrs.bench.survey import measure_survey

    table = measure_survey(model, problems)
    print(table.drop(columns=["backbone", "example"]).round(3).to_string(index=False))


@app.command()
def as_published(profile: Profile = "paper") -> None:
    """Run the released method at the paper's own setting of each benchmark, into data/as_published. Resumes."""
    from lrs.bench.as_published import measure_as_published

    for config in configs_of(profile):
        measure_as_published(config)


@app.command()
def power(
    seeds: Annotated[list[int] | None, typer.Argument(help="of the runs; 0 to 4 if none is named")] = None,
) -> None:
    """Run the whole pipeline of profile power at headrooms of known size, into data/power. Resumes."""
    from lrs.bench.power import measure_power, planted_share

    (config,) = configs_of("power")
    measure_power(config, planted_share(config), range(5) if seeds is None else seeds)


@app.command()
def seeds(
    seeds: Annotated[list[int] | None, typer.Argument(help="of the runs; 0 to 4 if none is named")] = None,
    profile: Profile = "",
    backbone: Annotated[str, typer.Option(help="default: all of the profile")] = "",
    device: Annotated[str, typer.Option(help="default: the profile's")] = "",
    batch: Annotated[int, typer.Option(help="rows side by side; default: the profile's")] = 0,
) -> None:
    """Run the whole pipeline of a profile at every seed, into data/seeds: how much hangs on it? Resumes."""
    from lrs.bench.profiles import on_device
    from lrs.bench.seeds import measure_seeds

    for config in configs_of(profile, backbone):
        measure_seeds(on_device(config, device, batch), range(5) if seeds is None else seeds)


def _names(listed: str) -> list[str]:
    """Those of an option, with commas between them."""
    return [name.strip() for name in listed.split(",") if name.strip()]


def configs_of(profile: str, backbone: str = "") -> list[Any]:
    """A profile, that of params.yaml if none is named, as each of its backbones sees it, or one alone."""
    from lrs.bench import profiles

    return profiles.seen_by_each(profile or profile_copy.current_profile(Path()), backbone)
