"""The commands behind `make` and `dvc.yaml`: `python -m lrs --help`.

Modules are imported inside the commands, so that a command waits for no library that it does not use.
"""

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from lrs.pipeline import measuring, profile_copy
from lrs.pipeline.measuring import Profile

ROOT = Path()  # every command runs in the repository's root

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__)
app.add_typer(measuring.app)


@app.command()
def clean(name: str) -> None:
    """Strip notebooks/NAME.ipynb into build/notebooks: what its stage depends on."""
    from lrs.pipeline.notebook_runner import clean_notebook

    clean_notebook(ROOT / f"notebooks/{name}.ipynb", ROOT / f"build/notebooks/{name}.ipynb", ROOT)


@app.command()
def execute(
    name: str, backbone: Annotated[str, typer.Argument(help="of the profile, where it runs for one")] = ""
) -> None:
    """Run build/notebooks/NAME.ipynb into notebooks/executed/<profile>, or its folder BACKBONE."""
    from lrs.config import load_config
    from lrs.pipeline.notebook_runner import execute_notebook
    from lrs.pipeline.status import note_minutes

    config = load_config(profile_copy.current_profile(ROOT), backbone or None)
    profile_copy.check_backbones(ROOT, config.backbones)
    target = ROOT / "notebooks/executed" / config.profile / backbone / f"{name}.ipynb"
    parameters = {"profile": config.profile} | ({"backbone": backbone} if backbone else {})
    started = time.monotonic()
    execute_notebook(ROOT / f"build/notebooks/{name}.ipynb", target, parameters, ROOT)
    stage = name.partition("_")[2] + (f"@{backbone}" if backbone else "")
    note_minutes(ROOT, config.profile, stage, (time.monotonic() - started) / 60)


@app.command()
def ready() -> None:
    """Check params.yaml and its profile before DVC reads them, and let DVC run where git does not answer."""
    from lrs.config import load_config

    profile_copy.check_backbones(ROOT, load_config(profile_copy.current_profile(ROOT)).backbones)
    profile_copy.make_ready(ROOT)


@app.command()
def run_profile(profile: str) -> None:
    """Run PROFILE in its copy under build/profiles, and bring figures and tables back. Resumes."""
    from lrs.config import load_config

    load_config(profile)
    if profile == profile_copy.current_profile(ROOT):
        raise ValueError(f"{profile} is the profile of params.yaml: run `make repro`")
    copy = (ROOT / "build/profiles" / profile).resolve()
    copy.mkdir(parents=True, exist_ok=True)
    profile_copy.copy_sources(ROOT, copy)
    profile_copy.select_profile(copy, profile)
    if code := profile_copy.run_dvc(copy, "repro"):
        print(f"profile {profile} stopped (see above); `make {profile}` resumes it", file=sys.stderr)
        raise typer.Exit(code)
    shutil.rmtree(ROOT / "figures" / profile, ignore_errors=True)
    shutil.copytree(copy / "figures" / profile, ROOT / "figures" / profile)
    _say_summary(profile)


@app.command()
def summary(profile: Profile = "") -> None:
    """Print the main table and list the figures."""
    _say_summary(profile or profile_copy.current_profile(ROOT))


@app.command()
def reasoner(folder: Path, device: str = "cpu") -> None:
    """Train the reasoner of FOLDER/recipe.yaml, from nothing or from its parent; resumes from build/reasoners."""
    from lrs.reasoners import recipes

    recipe = recipes.load_recipe(folder)
    if isinstance(recipe, recipes.PretrainingRecipe):
        from lrs.reasoners.pretraining import train_reasoner as train
    elif isinstance(recipe, recipes.TeachingRecipe):
        from lrs.reasoners.teaching import teach as train
    elif isinstance(recipe, recipes.PlantingRecipe):
        from lrs.reasoners.planting import plant_mode as train
    else:
        from lrs.reasoners.reinforcement import reinforce_reasoner as train
    train(folder, ROOT / "build/reasoners" / folder.name, device)
    card(folder, device)


@app.command()
def card(folder: Path, device: str = "cpu") -> None:
    """Measure the reasoner in FOLDER on the benchmarks of profile full (smollm, if it was taught), and write its card
    and the overview."""
    from lrs.config import load_config
    from lrs.reasoners.model_card import write_card, write_overview
    from lrs.reasoners.planted_card import write_planted_card
    from lrs.reasoners.recipes import PlantingRecipe, TeachingRecipe, load_recipe

    recipe = load_recipe(folder)
    write = write_planted_card if isinstance(recipe, PlantingRecipe) else write_card
    write(folder, load_config("smollm" if isinstance(recipe, TeachingRecipe) else "full"), device)
    write_overview(folder.parent)


@app.command()
def estimate(
    profile: Profile = "",
    tokens_per_second: Annotated[
        float, typer.Option(help="of the machine, as `make bench` measures it; 0: unknown")
    ] = 0,
) -> None:
    """What a profile costs at most, before it is run: generations, tokens, hours, memory and disk, by backbone."""
    from lrs.pipeline.doctor import accelerator
    from lrs.report.estimate import estimate_of

    print("\n".join(estimate_of(measuring.configs_of(profile), tokens_per_second or None, accelerator())))


@app.command()
def doctor() -> None:
    """Tell whether this machine is fit to run the artifact, and how to mend what is not; fail if a run would."""
    from lrs.pipeline import doctor as own

    findings = own.examine(ROOT)
    print("\n".join(map(str, findings)))
    raise typer.Exit(int(any(finding.level == "FAIL" for finding in findings)))


@app.command()
def status(profile: Profile = "") -> None:
    """Tell which stages of a profile are made, which are stale and why, and how long each took here."""
    from lrs.pipeline.status import stages

    profile, home = _profile_and_home(profile)
    print("\n".join(map(str, stages(home, profile))))


@app.command()
def accept(profile: Profile = "") -> None:
    """Make this run's tables, notebooks and outputs the expected ones, and write the results pages anew."""
    from lrs.report import expected

    expected.accept(*_profile_and_home(profile))


@app.command()
def pages() -> None:
    """Write the results pages and the README's answer anew, from the accepted tables: after an edit of lrs/report."""
    from lrs.report import expected

    expected.write_pages()


@app.command()
def check(profile: Profile = "") -> None:
    """Tell which outputs of this run differ from the accepted ones; fail if an accuracy differs beyond chance."""
    from lrs.report import expected

    profile, home = _profile_and_home(profile)
    moved, faults = expected.check(profile, home)
    print("\n".join(moved))
    if len(moved) > 1:
        print("Bytes may differ on another kind of machine or by other releases of libraries; accuracies decide:")
    print("\n".join(faults) if faults else f"{profile}: no accuracy differs from the accepted one beyond chance")
    raise typer.Exit(min(len(faults), 1))


def _profile_and_home(profile: str) -> tuple[str, Path]:
    """A profile (by default the one in params.yaml), and the folder that it runs in."""
    own = profile_copy.current_profile(ROOT)
    profile = profile or own
    return profile, ROOT if profile == own else ROOT / "build/profiles" / profile


def _say_summary(profile: str) -> None:
    from lrs.report.tables import summary_of

    print(summary_of(profile))


def main() -> None:
    """Run a command; what the user can mend is told in one line (LRS_DEBUG=1 shows the traceback)."""
    try:
        app()
    except (ValueError, FileNotFoundError) as error:
        if os.environ.get("LRS_DEBUG") == "1":
            raise
        sys.exit(" ".join(str(error).split()))


if __name__ == "__main__":
    main()
