"""Commands that measure: each asks its module for the right configurations, in the right way, and for nothing else."""

import sys
from pathlib import Path

import pytest

from lrs.__main__ import main

ROOT = Path(__file__).parents[1]
ALL = {  # what the commands call, by the name under which it is recorded here
    "all": "lrs.bench.tables.write_all",
    "shapes": "lrs.bench.tables.write_shapes",
    "confirm": "lrs.bench.confirm.confirm",
    "sweep": "lrs.bench.sweep.measure_sweep",
    "rivals": "lrs.bench.rivals.measure_rivals",
    "transfer": "lrs.bench.transfer.measure_transfer",
    "as_published": "lrs.bench.as_published.measure_as_published",
    "power": "lrs.bench.power.measure_power",
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch):
    """Runs a command in the repository's root: who was called, for which profile and backbone, and with what else."""
    calls = []
    for name, place in ALL.items():

        def record(config, *given, name=name, **options):
            calls.append((name, config, *given, options) if options else (name, config, *given))
            return Path(name)

        monkeypatch.setattr(place, record)
    monkeypatch.setattr("lrs.bench.power.planted_share", lambda config: 0.25)
    monkeypatch.chdir(ROOT)

    def ask(*arguments: str) -> list[tuple]:
        calls.clear()
        monkeypatch.setattr(sys, "argv", ["lrs", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code, ended.value.code
        return [(name, config.profile, config.backbone_name, *given) for name, config, *given in calls]

    ask.calls = calls
    return ask


def test_costs_are_measured_with_the_first_backbone_and_shapes_with_the_papers(asked):
    assert asked("bench") == [("all", "cpu", "pocket-3m")]
    assert asked("bench", "--profile", "natural") == [("all", "natural", "pocket-3m")]
    assert asked("bench", "--shapes") == [("shapes", "paper", "orz-7b")]
    assert asked("bench", "--shapes", "--profile", "smoke") == [("shapes", "smoke", "pocket-3m")]


def test_a_confirmation_is_of_every_backbone_or_of_one_where_and_as_it_is_said(asked, capsys):
    here = {"actors": None, "address": "local"}
    named = [("confirm", "cpu", name, 4000, [], here) for name in ("pocket-3m", "planted-p1")]
    assert asked("confirm") == named
    assert capsys.readouterr().out == "confirm/README.md\n" * 2
    where = ("--device", "cpu", "--batch", "7", "--actors", "2", "--address", "auto")
    what = ("--profile", "natural", "--backbone", "pocket-1m", "--problems", "3", "--arms", "lrs, random,")
    there = {"actors": 2, "address": "auto"}
    assert asked("confirm", *what, *where) == [("confirm", "natural", "pocket-1m", 3, ["lrs", "random"], there)]
    config = asked.calls[0][1]
    assert (config.device, config.decoding.batch_size) == ("cpu", 7)


def test_what_follows_a_run_is_asked_of_its_backbones(asked):
    assert asked("sweep") == [("sweep", "cpu", "pocket-3m", 60, [])]
    assert asked("sweep", "--backbone", "planted-p1", "--problems", "5") == [("sweep", "cpu", "planted-p1", 5, [])]
    assert asked("sweep", "--only", "trained, joint,") == [("sweep", "cpu", "pocket-3m", 60, ["trained", "joint"])]
    assert asked("rivals") == [("rivals", "cpu", "pocket-3m"), ("rivals", "cpu", "planted-p1")]
    assert asked("transfer") == [("transfer", "cpu", "pocket-3m")]  # the other one knows a single benchmark
    papers = [("as_published", "paper", name) for name in ("orz-7b", "orz-1b5", "r1-llama-8b")]
    assert asked("as-published") == papers


def test_power_is_measured_at_five_seeds_or_at_those_that_are_named(asked):
    assert asked("power") == [("power", "power", "planted-half", 0.25, range(5))]
    assert asked("power", "3", "0") == [("power", "power", "planted-half", 0.25, [3, 0])]
