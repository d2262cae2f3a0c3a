"""Nothing that is read can run code or reach a network, and no input crashes what reads it."""

import ast
import copy
import random
import socket

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lrs import config as configuration
from lrs.config import ConfigError, load_config
from lrs.core.closure import ROOT
from lrs.engine.decoding import generate
from lrs.engine.requests import Request
from lrs.models.backbones import load_backbone
from lrs.tasks.answers import extract_answer, is_correct
from lrs.tasks.behaviors import count_behaviors
from lrs.tasks.problems import draw_problems
from lrs.tasks.prompts import prompt_ids

SOURCES = {path: ast.parse(path.read_text()) for path in sorted((ROOT / "lrs").rglob("*.py"))}
# Whoever reads with these runs what is in the file.
RUNS_WHAT_IT_READS = {
    "torch.load",
    "pickle.load",
    "pickle.loads",
    "joblib.load",
    "numpy.load",
    "yaml.load",
    "eval",
    "exec",
}
# An error of a worker, copied in the process that raised it, to learn whether it could be sent.
ALLOWED = {("lrs/engine/workers.py", "pickle.loads")}


def calls(tree: ast.AST):
    """Every call, by the name it is written with, and the names of its keywords."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {keyword.arg for keyword in node.keywords}


def test_nothing_that_is_read_is_run():
    found = {(path.relative_to(ROOT).as_posix(), name) for path, tree in SOURCES.items() for name, _ in calls(tree)}
    assert {(path, name) for path, name in found if name.replace("np.", "numpy.") in RUNS_WHAT_IT_READS} == ALLOWED


def test_no_code_of_a_hub_is_trusted():
    assert not [path for path, tree in SOURCES.items() for _, how in calls(tree) if "trust_remote_code" in how]
    assert "allow_pickle" not in {keyword for tree in SOURCES.values() for _, how in calls(tree) for keyword in how}


def test_no_network_is_asked(monkeypatch):
    """From problems to judged answers of a reasoner in git."""

    def refused(*_, **__):
        raise AssertionError("something asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    backbone = load_backbone(str(ROOT / "data/reasoners/pocket-1m"))
    problems = draw_problems("graph_color", load_config("smoke").benchmarks.get("graph_color", GRAPH), {"test": 2}, 0)
    requests = [Request(prompt_ids(problem, backbone.tokenizer)) for problem in problems]
    ends = [backbone.tokenizer.eos_token_id]
    written = generate(backbone.model, requests, max_new_tokens=40, batch_size=2, end_ids=ends)
    assert all(
        is_correct(problem, backbone.tokenizer.decode(one.token_ids)) in (True, False)
        for problem, one in zip(problems, written, strict=True)
    )


GRAPH = {"num_colors": 3, "min_num_vertices": 5, "max_num_vertices": 6, "edge_probability": 0.45}
PLAIN = yaml.safe_load((ROOT / "profiles/smoke.yaml").read_text())
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**9),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(-1, 3), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def places(content, before=()):
    """The path of every value in a nest of dictionaries."""
    for key, value in content.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from places(value, (*before, key))


@given(st.sampled_from(sorted(places(PLAIN))), VALUES, st.sampled_from(["replaced", "removed", "renamed", "added"]))
@example(("backbones", "pocket-3m", "path"), "", "replaced")
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_profile_is_read_or_refused_in_one_line(tmp_path, monkeypatch, place, value, how):
    content = copy.deepcopy(PLAIN)
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    old = inner.pop(place[-1])
    if how == "replaced":
        inner[place[-1]] = value
    elif how == "renamed":
        inner[f"{place[-1]}x"] = old
    elif how == "added":
        inner |= {place[-1]: old, "no_such_thing": value}
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setattr(configuration, "PROFILES", tmp_path)
    refused = None
    try:
        loaded = load_config("odd")
    except ConfigError as error:
        refused = str(error)
    assert loaded.backbone.path if refused is None else "odd.yaml" in refused and "\n" not in refused


@given(st.binary(max_size=200))
@example(b"?")  # a map of nothing to nothing
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_no_crash_as_a_profile(tmp_path, monkeypatch, content):
    (tmp_path / "odd.yaml").write_bytes(content)
    monkeypatch.setattr(configuration, "PROFILES", tmp_path)
    with pytest.raises(ConfigError, match=r"odd\.yaml") as error:
        load_config("odd")
    assert "\n" not in str(error.value)


def test_a_hundred_thousand_outputs_are_judged(drawn_problems):
    """Words of the reasoners and hostile ones in any order: never an error, and never right without an answer."""
    words = (
        "answer </think> <think> <eos> check back to goal : give up and red b 0 1 7 99 + - * / ( ) , . = none".split()
    )
    words += [
        "__import__('os').system('x')",
        "9**9**9**9",
        "1e999",
        "\x00",
        "²",
        "\u202e",
        "(" * 50,
        "knight",
        "a=b",
        "'",
    ]
    rng, problems = random.Random(0), [some[0] for some in drawn_problems.values()]
    for number in range(100_000):
        text = " ".join(rng.choices(words, k=rng.randrange(14)))
        problem = problems[number % len(problems)]
        right = is_correct(problem, text)
        assert right in (True, False)
        assert not right or extract_answer(text)
        count_behaviors(text)
