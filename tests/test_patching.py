from types import SimpleNamespace

import pytest
import torch
from conftest import LinearDictionary

from lrs.config import load_config
from lrs.experiment.patching import at_the_fork, fork_states, from_the_fork, keep_patch, shares_of_patch
from lrs.saved import describe_run, load_patch
from lrs.tutor.planted import FORK, first_fork, right_mode

TIER = "p1"


@pytest.fixture
def sums(drawn_problems):
    return drawn_problems["chain_sum"][:5]


def test_states_are_those_of_a_pass_over_what_stands_before(tiny_backbone, sums):
    passwords = ["amber", "cobalt", "", "cobalt", "amber"]
    states = fork_states(tiny_backbone, 1, sums, passwords, TIER)
    for problem, password, state in zip(sums, passwords, states, strict=True):
        ids = at_the_fork(problem, password, TIER, tiny_backbone)
        asked, _, begun = tiny_backbone.tokenizer.decode(ids).partition(f" {FORK} ")
        assert begun in ("+", "-")
        assert [word for word in ("amber", "cobalt") if word in asked.split()] == [password] * bool(password)
        hidden = tiny_backbone.model(torch.tensor([ids]), output_hidden_states=True).hidden_states[2]
        assert torch.allclose(state, hidden[0, -1], atol=1e-9, rtol=0)


def test_a_state_of_its_own_changes_nothing_and_another_one_does(tiny_backbone, sums):
    given = (tiny_backbone, 1, sums, ["amber"] * len(sums), TIER)
    plain = from_the_fork(*given, 6)
    assert all(text.startswith(first_fork(problem, TIER)) for problem, text in zip(sums, plain, strict=True))
    assert from_the_fork(*given, 6, fork_states(*given)) == plain
    noise = torch.randn(len(sums), tiny_backbone.d_model, generator=torch.Generator().manual_seed(0))
    assert from_the_fork(*given, 6, 100 * noise.double()) != plain


def test_padding_on_the_left_changes_nothing(tiny_backbone, sums):
    other = fork_states(tiny_backbone, 1, sums, ["cobalt"] * len(sums), TIER)
    together = from_the_fork(tiny_backbone, 1, sums, ["amber"] * len(sums), TIER, 6, other)
    alone = [
        from_the_fork(tiny_backbone, 1, [problem], ["amber"], TIER, 6, state[None])[0]
        for problem, state in zip(sums, other, strict=True)
    ]
    assert len({len(at_the_fork(problem, "amber", TIER, tiny_backbone)) for problem in sums}) > 1
    assert together == alone


def test_behind_the_last_layer_the_next_token_is_that_of_the_other_password(tiny_backbone, sums):
    last = tiny_backbone.model.config.num_hidden_layers - 1
    words = {word: [word] * len(sums) for word in ("amber", "cobalt")}
    amber, cobalt = (from_the_fork(tiny_backbone, last, sums, words[word], TIER, 1) for word in words)
    states = fork_states(tiny_backbone, last, sums, words["cobalt"], TIER)
    patched = from_the_fork(tiny_backbone, last, sums, words["amber"], TIER, 1, states)
    assert patched == cobalt
    assert patched != amber


def test_shares_of_a_patch_by_hand():
    class Planes:
        """Two latents that see the first two of four directions; the second only from 1 on."""

        W_dec = torch.eye(2, 4, dtype=torch.float64)
        input_scale = 2.0

        def encode(self, activation):
            latents = activation[:, :2] * self.input_scale
            return torch.where(torch.tensor([True, False]) | (latents > 2.0), latents, 0.0)

    before = torch.zeros(3, 4, dtype=torch.float64)
    after = torch.tensor([[3.0, 4.0, 0.0, 0.0], [3.0, 0.0, 4.0, 0.0], [3.0, 0.5, 0.0, 0.0]], dtype=torch.float64)
    inside, told = shares_of_patch(Planes(), before, after)
    assert inside.tolist() == pytest.approx([1, 9 / 25, 1])
    assert told.tolist() == pytest.approx([1, 9 / 25, 9 / 9.25])


def test_the_patch_stands_beside_the_arms(tiny_backbone, sums, tmp_path, monkeypatch):
    config = load_config("power")
    monkeypatch.chdir(tmp_path)
    artifacts = SimpleNamespace(layer=1, dictionaries={"sae": LinearDictionary()}, digests={"dictionary of sae": "d"})
    keep_patch(tiny_backbone, sums, artifacts, config, tmp_path / "outcomes/patch")
    describe_run(config, "cpu", tmp_path / "outcomes")
    table = load_patch(tmp_path / "outcomes")
    assert table["problem_id"].tolist() == [problem.id for problem in sums]
    assert set(table["arm"] + table["decoding"] + table["backbone"]) == {"patchgreedyplanted-half"}
    right = ["cobalt" if right_mode(problem, "p1") == "moon" else "amber" for problem in sums]
    states = fork_states(tiny_backbone, 1, sums, right, "p1")
    texts = from_the_fork(tiny_backbone, 1, sums, [""] * 5, "p1", config.decoding.max_new_tokens, states)
    assert table["text"].tolist() == texts
    assert load_patch(tmp_path / "elsewhere").empty
