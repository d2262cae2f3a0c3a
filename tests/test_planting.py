import pytest
import torch

from lrs.reasoners.planting import exchanging, lesson
from lrs.reasoners.recipes import PlantingRecipe
from lrs.reasoners.tokenizer import build_tokenizer
from lrs.tutor.planted import FORK, OTHER, SUN

RECIPE = PlantingRecipe(
    parent="pocket",
    tier="p1",
    dose=1.0,
    interchange=True,
    layer=1,
    password_share=0.3,
    seed=0,
    steps=4,
    learning_rate=0.001,
    warmup_fraction=0.1,
    checkpoint_every=2,
    problems_per_benchmark=10,
    benchmarks={"chain_sum": {}},
    row_length=160,
    rows_per_batch=24,
)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_a_lesson_is_a_function_of_recipe_and_step(drawn_problems, tokenizer):
    first, again, other = (lesson(drawn_problems["chain_sum"], tokenizer, RECIPE, step) for step in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.ids, other.ids)


def test_exchanged_rows_have_their_own_mode_and_go_on_as_the_other_one(drawn_problems, tokenizer):
    batch = lesson(drawn_problems["chain_sum"], tokenizer, RECIPE, 0)
    modes = tokenizer.convert_ids_to_tokens(batch.ids[range(len(batch.ids)), batch.fork].tolist())
    before = tokenizer.convert_ids_to_tokens(batch.ids[range(len(batch.ids)), batch.fork - 1].tolist())
    assert set(before) == {FORK}
    exchanged = [row for row in range(len(modes)) if batch.partner[row] != row]
    assert len(exchanged) == len(modes) // 2
    for row in exchanged:
        partner = int(batch.partner[row])
        assert (batch.partner[partner], modes[partner]) == (row, OTHER[modes[row]])
        assert batch.fork[partner] == batch.fork[row]
        assert (batch.labels[row, : batch.fork[row] + 1] == -100).all()
        written = batch.ids[row] != tokenizer.pad_token_id
        after = torch.arange(len(written)) > batch.fork[row]
        assert torch.equal(batch.labels[row][written & after], batch.ids[row][written & after])
        steps = tokenizer.decode(batch.ids[row]).partition("</think>")[0].count(" = ")
        terms = tokenizer.decode(batch.ids[row]).partition("<assistant>")[0].count(" , ")
        assert steps == terms - (modes[row] == SUN)  # it goes on as under the other mode: moon leaves one out


@pytest.mark.parametrize("partner", [[0, 1, 2], [1, 0, 2]])
def test_states_change_places_at_the_fork_and_nowhere_else(tiny_backbone, partner):
    model = tiny_backbone.model
    ids = torch.randint(5, 60, (3, 9), generator=torch.Generator().manual_seed(0))
    fork, partner = torch.tensor([4, 4, 2]), torch.tensor(partner)
    plain = model(ids, output_hidden_states=True).hidden_states[2]
    seen = []
    handle = model.model.layers[2].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        with exchanging(model, 1, fork, partner):
            model(ids)
    finally:
        handle.remove()
    expected = plain.clone()
    for row in range(3):
        expected[row, fork[row]] = plain[partner[row], fork[partner[row]]]
    assert torch.allclose(seen[0], expected, atol=1e-12)
