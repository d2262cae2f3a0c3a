import pytest
import torch

from lrs.experiment.patching import at_the_fork, fork_states, from_the_fork
from lrs.tutor.planted import FORK, first_fork

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
