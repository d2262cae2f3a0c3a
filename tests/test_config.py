from pathlib import Path

import pytest
import yaml

from lrs import config
from lrs.bench.profiles import on_device, seen_by_each
from lrs.config import Config, ConfigError, load_config, profile_names
from lrs.tasks.benchmarks import BENCHMARKS

PROFILES = Path(__file__).parents[1] / "profiles"


@pytest.fixture(autouse=True)
def profiles(monkeypatch, tmp_path):
    """The repository's profiles, and a folder for faulty ones beside them."""
    for path in PROFILES.glob("*.yaml"):
        (tmp_path / path.name).write_text(path.read_text())
    monkeypatch.setattr(config, "PROFILES", tmp_path)
    return tmp_path


def load_with(profiles, **changes):
    """The cpu profile with some fields, given as section__field, changed (or left out, where the value is None)."""
    content = yaml.safe_load((profiles / "cpu.yaml").read_text())
    for name, value in changes.items():
        *sections, field = name.split("__")
        owner = content
        for section in sections:
            owner = owner[section]
        owner.pop(field, None)
        if value is not None:
            owner[field] = value
    (profiles / "faulty.yaml").write_text(yaml.safe_dump(content))
    return load_config("faulty")


@pytest.mark.parametrize("name", [path.stem for path in PROFILES.glob("*.yaml")])
def test_every_profile_loads(name):
    loaded = load_config(name)
    assert loaded.profile == name
    assert loaded.backbone == next(iter(loaded.backbones.values()))
    assert loaded.data == Path("data") / name / next(iter(loaded.backbones))
    assert loaded.figures == Path("figures") / name
    assert loaded.sae.k <= loaded.sae.d_sae
    assert loaded.reward.width % loaded.reward.heads == 0
    content = yaml.safe_load((PROFILES / f"{name}.yaml").read_text())
    asked = next(iter(content["backbones"].values())).get("benchmarks", content["benchmarks"])
    content["benchmarks"] = {benchmark: content["benchmarks"][benchmark] for benchmark in asked}
    assert content == loaded.model_dump(exclude={"profile", "backbone_name"}, exclude_defaults=True)


@pytest.mark.parametrize(
    ("profile", "least"),
    [
        ("cpu", 150),
        *[(name, 1000) for name in ("natural", "longer", "replication", "warm", "planted", "controls", "full")],
    ],
)
def test_every_backbone_selects_on_a_thousand_problems_but_for_the_default_in_minutes(profile, least):
    for name in load_config(profile).backbones:
        config = load_config(profile, name)
        learned_on = [name for name in config.benchmarks if "validation" in BENCHMARKS[name].splits]
        assert len(learned_on) * config.problems.validation >= least


def test_a_reward_may_learn_at_a_rate_of_its_own(profiles):
    causal = load_with(profiles, causal__learning_rate=0.003, causal__own_rates={"slope": 0.01}).causal
    assert [causal.of(name).learning_rate for name in ("slope", "causal")] == [0.01, 0.003]
    without = load_with(profiles, causal__learning_rate=0.003, causal__own_rates=None).causal
    assert causal.of("causal") == without  # what others learn at is no matter to it
    with pytest.raises(ConfigError, match=r"causal.own_rates.slop.*: .*'token', .* \(got 'slop'\)"):
        load_with(profiles, causal__own_rates={"slop": 0.01})


def test_a_rate_that_falls_is_nothing_one_iteration_after_the_last(profiles):
    causal = load_with(profiles, causal__learning_rate=0.004, causal__iterations=4).causal
    assert [causal.rate_at(iteration) for iteration in range(4)] == [0.004] * 4
    falls = causal.model_copy(update={"falling": True})
    assert [falls.rate_at(iteration) for iteration in range(5)] == pytest.approx([0.004, 0.003, 0.002, 0.001, 0.0])


def test_a_backbone_may_have_benchmarks_of_its_own_and_a_planted_mode(tmp_path, monkeypatch):
    content = yaml.safe_load((PROFILES / "smoke.yaml").read_text())
    ((name, section),) = content["backbones"].items()
    own = {"benchmarks": ["chain_sum"], "planted": "p1", "problems": {"validation": 9}}
    content["backbones"]["planted"] = section | own
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    (tmp_path / "faulty.yaml").write_text(
        yaml.safe_dump(content | {"backbones": {name: section | {"benchmarks": ["gcd"]}}})
    )
    monkeypatch.setattr(config, "PROFILES", tmp_path)
    plain, planted = load_config("two"), load_config("two", "planted")
    assert (list(plain.benchmarks), plain.backbone.planted) == (["countdown", "chain_sum"], None)
    assert (list(planted.benchmarks), planted.backbone.planted) == (["chain_sum"], "p1")
    assert planted.problems == plain.problems.model_copy(update={"validation": 9}) != plain.problems
    with pytest.raises(ConfigError, match=f"backbones.{name}.benchmarks: unknown gcd; legal: chain_sum, countdown"):
        load_config("faulty")


def test_a_profile_is_seen_by_each_of_its_backbones_or_by_one():
    assert [one.backbone_name for one in seen_by_each("natural")] == ["pocket-3m", "pocket-1m"]
    assert seen_by_each("natural", "pocket-1m") == [load_config("natural", "pocket-1m")]


def test_a_profile_on_another_device_asks_the_same():
    here = load_config("natural")
    there = on_device(here, "cuda", 1024)
    assert (there.device, there.decoding.batch_size, there.decoding.problems_per_part) == ("cuda", 1024, 4096)
    placed = {"device": here.device, "decoding": here.decoding}
    assert there.model_copy(update=placed) == here == on_device(here)


def test_unknown_profile_names_the_legal_ones():
    assert {"cpu", "smoke"} <= set(profile_names())
    with pytest.raises(ConfigError) as error:
        load_config("cpuu")
    assert str(error.value) == f"unknown profile 'cpuu'; legal: {', '.join(profile_names())}"


def test_a_second_backbone_is_one_line(profiles):
    text = (profiles / "smoke.yaml").read_text()
    line = "  pocket-3m: {path: data/reasoners/pocket-3m, layer: 3}\n"
    assert text.count(line) == 1
    (profiles / "two.yaml").write_text(text.replace(line, f"{line}  other: {{path: elsewhere, layer: 1}}\n"))
    assert load_config("two").backbone_name == "pocket-3m"
    other = load_config("two", "other")
    assert (other.backbone_name, other.backbone.layer, other.data) == ("other", 1, Path("data/two/other"))
    assert (other.figures, list(other.backbones)) == (Path("figures/two"), ["pocket-3m", "other"])


def test_outside_of_a_clone_one_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("lrs.config.PROFILES", tmp_path / "profiles")
    with pytest.raises(ConfigError, match=r"^no folder \S+profiles here: profiles are run in a clone"):
        load_config("cpu")


def test_unknown_backbone_names_the_legal_ones():
    with pytest.raises(ConfigError) as error:
        load_config("smoke", "pocket")
    assert str(error.value) == "unknown backbone 'pocket' of profile 'smoke'; legal: pocket-3m"


SAMPLING = {"problems": 4, "samples": 2, "temperature": 0.7}
SECTIONS = ", ".join(field for field in Config.model_fields if field not in ("profile", "backbone_name"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sed": 1}, f"sed is not a parameter; legal: {SECTIONS}"),
        ({"sae__d_sea": 8}, "sae.d_sea is not a parameter; legal: d_sae, k, learning_rate, batch_size, epochs"),
        ({"sae__k": "many"}, r"sae.k: .*valid integer.* \(got 'many'\)"),
        ({"sae__k": 0}, r"sae.k: .*greater than 0 \(got 0\)"),
        ({"sae__k": 1.5}, r"sae.k: .*valid integer.* \(got 1.5\)"),
        ({"sae__learning_rate": -1}, r"sae.learning_rate: .*greater than 0 \(got -1\)"),
        ({"sae": 3}, r"sae: .* \(got 3\)"),
        *(({"select__step_size": [value]}, r"select.step_size.0: .*\(got") for value in (0.0, -1.0, float("nan"))),
        ({"select__step_size": [float("inf")]}, r"select.step_size.0: .*finite number \(got inf\)"),
        ({"sae__learning_rate": float("nan")}, r"sae.learning_rate: .*\(got nan\)"),
        ({"backbones__pocket-3m__layer": -1}, r"backbones.pocket-3m.layer: .*greater than or equal to 0 \(got -1\)"),
        ({"backbones__pocket-3m__lyer": 1}, "backbones.pocket-3m.lyer is not a parameter; legal: path, layer"),
        ({"backbones__qwen2.5": {"path": "x", "layer": 1}}, r"backbones.qwen2.5.*: .*pattern .* \(got 'qwen2.5'\)"),
        ({"backbones": {}}, r"backbones: .*at least 1 item"),
        ({"steering__sampling": SAMPLING | {"samples": 0}}, r"steering.sampling.samples: .*greater than 0 \(got 0\)"),
        (
            {"steering__sampling": SAMPLING | {"sample": 1}},
            "steering.sampling.sample is not a parameter; legal: problems, samples, temperature",
        ),
        (
            {"steering__sampling": SAMPLING | {"temperature": 0}},
            r"steering.sampling.temperature: .*greater than 0 \(got 0\)",
        ),
        ({"traces__samples": -1}, r"traces.samples: .*greater than or equal to 0 \(got -1\)"),
        ({"reward__early_stopping_share": 1.0}, r"reward.early_stopping_share: .*less than 1 \(got 1.0\)"),
        ({"statistics__confidence_level": 95}, r"statistics.confidence_level: .*less than.* 1 \(got 95\)"),
        ({"select__reward_quantile": [0, 2]}, r"select.reward_quantile.1: .*\(got 2\)"),
        ({"select__confidence_quantile": [-1]}, r"select.confidence_quantile.0: .*"),
        ({"select__num_steps": [0]}, r"select.num_steps.0: .*greater than 0 \(got 0\)"),
        (
            {"steering__arms": ["base", "lsr"]},
            r"steering.arms.1: .*'base', 'placebo', .* or .* \(got 'lsr'\)",
        ),
        ({"steering__arms": ["lrs"]}, r"steering: arms must hold base, .* \(got \['lrs'\]\)"),
        ({"steering__arms": ["base", "lrs", "lrs"]}, r"steering: arms must hold base, .* and none twice"),
        ({"steering__arms": ["base", "negated"]}, r"steering: arms must hold lrs_causal, which negated matches"),
        ({"select__step_size": []}, r"select.step_size: .*at least 1 item"),
        ({"sae__k": 64, "sae__d_sae": 32}, r"sae: k \(64\) must not be larger than d_sae \(32\)"),
        ({"reward__width": 10, "reward__heads": 3}, r"reward: width \(10\) must be a multiple of heads \(3\)"),
        ({"dtype": "float16"}, r"dtype: .*'float32', 'bfloat16' or 'float64' \(got 'float16'\)"),
        (
            {"benchmarks__sudoku": {}},
            r"benchmarks.sudoku.*: .*'countdown', 'chain_sum', .* or 'math_train' \(got 'sudoku'\)",
        ),
        ({"decoding__max_new_tokens": None}, r"decoding.max_new_tokens is missing"),
    ],
)
def test_fault_is_one_line_that_names_the_field_and_what_is_legal(profiles, changes, told):
    with pytest.raises(ConfigError, match=rf"faulty\.yaml: {told}") as error:
        load_with(profiles, **changes)
    assert "\n" not in str(error.value)


def test_every_fault_is_told_at_once(profiles):
    with pytest.raises(ConfigError, match=r"sae\.k: .*; .*reward\.heads: "):
        load_with(profiles, sae__k=0, reward__heads=0)


def test_a_config_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        load_config("cpu").seed = 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold the sections"),
        ("- 1", "must hold the sections"),
        ("a: [", "is not YAML"),
        ("profile: x", "of its own"),
    ],
)
def test_files_that_are_no_profile(text, message, tmp_path):
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        load_config("odd")
    assert "\n" not in str(error.value)
