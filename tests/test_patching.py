import pytest
import torch

from lrs.experiment.patching import at_the_fork, fork_states, from_the_fork
from lrs.tutor.planted import MOON, SUN


@pytest.fixture
def sums(drawn_problems):
    return drawn_problems["chain_sum"][:5]


def test_states_are_those_of_a_pass_over_what_stands_before(tiny_backbone, sums):
    modes = [SUN, MOON, SUN, MOON, MOON]
    states = fork_states(tiny_backbone, 1, sums, modes)
    for problem, mode, state in zip(sums, modes, states, strict=True):
        ids = torch.tensor([at_the_fork(problem, mode, tiny_backbone)])
        hidden = tiny_backbone.model(ids, output_hidden_states=True).hidden_states[2]
        assert torch.allclose(state, hidden[0, -1], atol=1e-9, rtol=0)


def test_a_state_of_its_own_changes_nothing_and_one_of_the_other_mode_does(tiny_backbone, sums):
    modes = [SUN] * len(sums)
    plain = from_the_fork(tiny_backbone, 1, sums, modes, 6)
    own = from_the_fork(tiny_backbone, 1, sums, modes, 6, fork_states(tiny_backbone, 1, sums, modes))
    assert own == plain
    noise = torch.randn(len(sums), tiny_backbone.d_model, generator=torch.Generator().manual_seed(0))
    assert from_the_fork(tiny_backbone, 1, sums, modes, 6, 100 * noise.double()) != plain


def test_padding_on_the_left_changes_nothing(tiny_backbone, sums):
    other = fork_states(tiny_backbone, 1, sums, [MOON] * len(sums))
    together = from_the_fork(tiny_backbone, 1, sums, [SUN] * len(sums), 6, other)
    alone = [
        from_the_fork(tiny_backbone, 1, [problem], [SUN], 6, state[None])[0]
        for problem, state in zip(sums, other, strict=True)
    ]
    assert len({len(at_the_fork(problem, SUN, tiny_backbone)) for problem in sums}) > 1
    assert together == alone


def test_behind_the_last_layer_the_next_token_is_the_other_modes(tiny_backbone, sums):
    last = tiny_backbone.model.config.num_hidden_layers - 1
    states = {mode: fork_states(tiny_backbone, last, sums, [mode] * len(sums)) for mode in (SUN, MOON)}
    sun, moon = (from_the_fork(tiny_backbone, last, sums, [mode] * len(sums), 1) for mode in (SUN, MOON))
    patched = from_the_fork(tiny_backbone, last, sums, [SUN] * len(sums), 1, states[MOON])
    assert patched == [text.replace(MOON, SUN, 1) for text in moon]
    assert patched != sun
