"""The built-in reasoner's tokenizer: one token a word, a sign, or a number up to 99."""

from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lrs.tutor.draft import LARGEST_NUMBER

_SPECIAL = ("<pad>", "<eos>", "<unk>", "<user>", "<assistant>")
_WORDS = (
    "<think> </think> answer every step compute reach with sort up down color suppose "
    "a b c d e f g h i j k l m n o knight knave says and or then iff not none "
    "plan sun moon amber cobalt "  # of planted modes
    "try left goal from want take least most no yes check ok wrong back to give + - * / ( ) = , . :"
).split()
_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<' + message['role'] + '> ' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ ' <eos>' }}{% endif %}"
    "{% if not loop.last %}{{ ' ' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ ' <assistant>' }}{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer with a chat template; `decode(encode(text)) == text` for text with single spaces."""
    vocabulary = [*_SPECIAL, *_WORDS, *map(str, range(LARGEST_NUMBER + 1))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), behavior="removed")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        additional_special_tokens=["<user>", "<assistant>"],
        chat_template=_CHAT_TEMPLATE,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
