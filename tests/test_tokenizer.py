import pytest

from lrs.reasoners.tokenizer import build_tokenizer
from lrs.tasks.problems import Problem
from lrs.tasks.prompts import Prompting, Turn, prompt_ids


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_every_number_is_a_token_of_its_own(tokenizer):
    ids = tokenizer(" ".join(map(str, range(100))))["input_ids"]
    assert len(ids) == len(set(ids)) == 100
    assert tokenizer.unk_token_id not in ids
    assert tokenizer("100")["input_ids"] == [tokenizer.unk_token_id]


def test_chat_template(tokenizer):
    user = {"role": "user", "content": "compute 1 + 2"}
    assistant = {"role": "assistant", "content": "<think> 1 + 2 = 3 . </think> answer 3"}
    prompt = tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
    assert prompt == "<user> compute 1 + 2 <assistant>"
    both = tokenizer.apply_chat_template([user, assistant], tokenize=False)
    assert both == f"{prompt} <think> 1 + 2 = 3 . </think> answer 3 <eos>"
    assert tokenizer.decode(tokenizer(both)["input_ids"]) == both


def test_prompt_ids_end_where_the_models_words_begin(tokenizer):
    problem = Problem("id", "chain_sum", "compute 1 + 2", "3", {"expression": "1 + 2"}, "test")
    expected = ["<user>", "compute", "1", "+", "2", "<assistant>"]
    assert tokenizer.convert_ids_to_tokens(prompt_ids(problem, tokenizer)) == expected
    plain = build_tokenizer()
    plain.chat_template = None
    assert plain.convert_ids_to_tokens(prompt_ids(problem, plain)) == expected[1:-1]


def test_worked_examples_and_an_instruction_come_before_the_models_words(tokenizer):
    problem = Problem("id", "chain_sum", "compute 1 + 2", "3", {"expression": "1 + 2"}, "test")
    examples = [Turn("compute 2 + 2", "<think> 2 + 2 = 4 . </think> answer 4")]
    prompting = Prompting("check every step", {"chain_sum": examples, "countdown": []})
    ids = prompt_ids(problem, tokenizer, prompting)
    worked = "<user> compute 2 + 2 <assistant> <think> 2 + 2 = 4 . </think> answer 4 <eos>"
    assert tokenizer.decode(ids) == f"{worked} <user> compute 1 + 2 check every step <assistant>"
    plain = build_tokenizer()
    plain.chat_template = None
    written = prompt_ids(problem, plain, prompting)
    unframed = "compute 2 + 2 <think> 2 + 2 = 4 . </think> answer 4 compute 1 + 2 check every step"
    assert plain.decode(written) == unframed


def test_padding_is_on_the_left(tokenizer):
    batch = tokenizer(["1", "1 + 2"], padding=True)
    pad = tokenizer.pad_token_id
    assert batch["input_ids"][0][:2] == [pad, pad]
    assert batch["attention_mask"] == [[0, 0, 1], [1, 1, 1]]
    assert tokenizer.padding_side == "left"
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}) == 3


def test_saved_tokenizer_is_the_same(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "<user> reach 24 with 1 2 3 <assistant> <think> try 1 + 2 = 3 . </think> answer ( 1 + 2 ) * 3 <eos>"
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.decode(loaded(text)["input_ids"]) == text
    assert loaded.padding_side == "left"
    assert loaded.chat_template == tokenizer.chat_template
