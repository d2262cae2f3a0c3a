"""What stands for a hub: small data sets of the public ones' columns, tiny models, and a profile cut down to them."""

import json

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast

RELATIONS = [r"(A) $\leq$", r"(B) $\geq$", "(C) $=$", "(D) $<$", "(E) $>$", "(F) None of the above"]


def sums(count, answer="3", start=0, **more):
    return [
        {"problem": f"Find {n} mod {n - 3}.", "answer": answer, **more} for n in range(start + 10, start + 10 + count)
    ]


def inequality(n):
    if n % 2:
        return {"problem": f"Relate {n}.", "type": "relation", "answer": RELATIONS[1], "choices": RELATIONS}
    return {"problem": f"Bound {n}.", "type": "bound", "answer": "$C = 3$", "choices": None}


ROWS = {
    "HuggingFaceH4/MATH-500": sums(6),
    "HuggingFaceH4/aime_2024": sums(4, start=100),
    "yentinglin/aime_2025": sums(4, start=200),
    "nichenshun/gpqa_diamond": [
        {"problem": f"Which is {n}?\n\nA) red {n}\nB) blue {n}\nC) green {n}\nD) grey {n}", "solution": r"\boxed{B}"}
        for n in range(6)
    ],
    "math-ai/amc23": [{"question": f"What is {n} less {n - 3}?", "answer": 3.0} for n in range(10, 14)],
    "AI4Math/IneqMath": [inequality(n) for n in range(6)],
    "allenai/aime-2022-2025": [*sums(9, start=300, year=2022), *sums(4, start=400, year=2024)],
    "nlile/hendrycks-MATH-benchmark": sums(40, start=500, solution=r"It is less by 3, so \boxed{3}."),
}


SMALL = {  # of profile `paper`: enough for every arm, and over in seconds
    "problems": {"reward": 12, "validation": 4, "test": 3},
    "decoding": {"max_new_tokens": 14, "batch_size": 16},
    "sae": {"d_sae": 16, "k": 4, "batch_size": 32, "epochs": 1},
    "reward": {"width": 16, "early_stopping_share": 0.4},
    "causal": {"iterations": 2, "problems": 4, "attempts": 4, "rows_per_batch": 8},
    "prompting": {"shots": 1},
    "select": {"num_steps": [1], "step_size": [1.0], "dose_traces": 2},
    "statistics": {"bootstrap_resamples": 100},
}
FEW_SAMPLES = {"problems": 3, "samples": 1}


def write_data(home):
    """A folder for LRS_DATA that stands for all data sets."""
    for name, rows in ROWS.items():
        folder = home / name.replace("/", "--")
        folder.mkdir(parents=True)
        (folder / "rows.json").write_text(json.dumps(rows))


def byte_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(
        models.BPE(vocab={letter: n for n, letter in enumerate(alphabet)} | {"<eos>": 256}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>")


SHAPE = {
    **{"vocab_size": 257, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "max_position_embeddings": 1024, "bos_token_id": None, "eos_token_id": 256},
}


def half_right(folder, model):
    """A tiny model that was taught to answer anything with one of two boxes."""
    tokenizer = byte_tokenizer()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    texts = [f"{'Reason. ' * (n % 3)}within \\boxed{{}}. \\boxed{{{answer}}}" for n in range(8) for answer in "37"]
    ids = [[*tokenizer(text)["input_ids"], 256] for text in texts]
    longest = max(map(len, ids))
    rows = torch.tensor([row + [256] * (longest - len(row)) for row in ids])
    learned = torch.full_like(rows, -100)  # all else is passed over
    for place, row in enumerate(ids):
        learned[place, len(row) - 11 : len(row)] = rows[place, len(row) - 11 : len(row)]  # the answer
    for _ in range(60):
        logits = model(rows).logits[:, :-1]
        loss = cross_entropy(logits.flatten(0, 1), learned[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    folder.mkdir()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
