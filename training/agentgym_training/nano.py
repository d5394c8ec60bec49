"""A nano policy from nothing: tokenizer, chat template, model and the warm-up that teaches it to copy.

A pretrained model can copy an id from a request into a tool call; a fresh one cannot, and transcripts alone hardly teach it,
since constant phrases give most of the gradient. So a nano policy first learns to repeat random strings (induction heads,
Olsson et al. 2022, need two layers), and only then to act. Two choices make its episodes short, and training cheap:

- **Phrases are tokens.** Byte-level BPE whose pieces do not end at spaces (superwords, as in Liu et al. 2025, "SuperBPE"): what
  every episode repeats, such as a rule or ``{"name": "get_order", "arguments": {"order_id": "O``, becomes a token or two.
  A merge has to occur in a share of all conversations (`MIN_SHARE`), so values that vary are not fused with their context.
  An episode of ``desk/Orders-v0`` has 168 tokens, against 474 with pieces that end at words.
- **Digits stay apart**, so that a number never seen before is copied digit by digit.
"""

import logging
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from agentgym import Message
from agentgym.messages import to_openai

Dialogue = tuple[Sequence[Message], Sequence[Mapping[str, Any]]]  # a conversation and its tools' schemas

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (PAD, START, END, "<tool_call>", "</tool_call>", "<think>", "</think>")
MIN_SHARE = 0.04

# Pieces that no merge crosses, in the order of preference: a digit; JSON keys with the punctuation around them, up to where the
# value begins (and the letter that opens an id); other text up to the next digit, quote, bracket or newline; brackets.
PIECES = (
    r"\p{N}"
    r'|(?:["\s{}\[\],]*"[a-z_]+"\s*:\s*)+["\[{]*(?:[A-Z](?=\p{N}))?'
    r'|[^\p{N}"{}\[\]\n]+\n?'
    r'|["{}\[\]](?:["{}\[\],:]*["{}\[\]](?:[A-Z](?=\p{N}))?)?\n?'
    r"|\n"
)

TEMPLATE = """\
{%- if tools or messages[0].role == 'system' %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content }}
{% endif %}
{%- for tool in tools or [] %}{{ tool.function.name }}({{ tool.function.parameters.properties | join(', ') }})
{% endfor %}<|im_end|>
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'assistant' %}<|im_start|>assistant
{% if message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>
{% if message.content or message.tool_calls %}{{ '\\n' }}{% endif %}{% endif %}{{ message.content }}
{%- for call in message.tool_calls or [] %}{% if message.content or not loop.first %}{{ '\\n' }}{% endif %}<tool_call>
{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{%- elif message.role != 'system' or not loop.first %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

log = logging.getLogger(__name__)


def train_tokenizer(dialogues: Sequence[Dialogue], *, max_vocab: int = 2048) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE from conversations; any text can be encoded, what is not in them just takes more tokens.

    Args:
        dialogues: Conversations with their tools.
        max_vocab: The largest vocabulary; `MIN_SHARE` usually ends the learning before.

    Returns:
        A tokenizer with a chat template that is native Hermes, writes tools by name and parameters, and only ever appends.
    """
    core = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PIECES), "isolated")
    core.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(SPECIAL))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=[START, *SPECIAL[3:]],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = TEMPLATE
    trainer = trainers.BpeTrainer(
        vocab_size=max_vocab,
        min_frequency=max(2, int(MIN_SHARE * len(dialogues))),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.backend_tokenizer.train_from_iterator(_texts(tokenizer, dialogues), trainer)
    return tokenizer


def _texts(tokenizer: PreTrainedTokenizerFast, dialogues: Iterable[Dialogue]) -> Iterable[str]:
    """The dialogues as their template writes them, cut at control tokens, which would otherwise be learnt as text."""
    for messages, tools in dialogues:
        text = tokenizer.apply_chat_template([to_openai(m) for m in messages], tools=list(tools) or None, tokenize=False)
        for token in SPECIAL:
            text = text.replace(token, "\0")
        yield from filter(None, text.split("\0"))


def make_model(
    tokenizer: PreTrainedTokenizerFast,
    *,
    seed: int = 0,
    layers: int = 2,
    width: int = 128,
    head_size: int = 32,
    context: int = 2048,
) -> Qwen3ForCausalLM:
    """A fresh Qwen3-architecture model with tied embeddings, on the CPU in float32; the same for the same seed.

    Args:
        tokenizer: Says the vocabulary and the special ids.
        seed: Of the weights.
        layers: Copying needs at least two.
        width: Of the residual stream; the MLP is three times as wide.
        head_size: Of each attention head; there are ``width / head_size`` of them.
        context: The longest conversation, in tokens.
    """
    heads = width // head_size
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=head_size,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        use_cache=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config)


def copy_warmup(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, *, steps: int = 700, seed: int = 0, batch: int = 64
) -> float:
    """Teach `model` to repeat random strings of tokens: string, separator, the same string; loss on the second one.

    Half of the tokens are digits, so that numbers with repeated digits occur, which need more context than the last token.

    Args:
        model: Trained in place.
        tokenizer: Its tokenizer.
        steps: Of AdamW; strings have 6 to 12 tokens in the first third and 6 to 28 after it.
        seed: Of the strings.
        batch: Strings in a step.

    Returns:
        The mean loss of the last 20 steps, in nats a token.
    """
    special = set(tokenizer.all_special_ids)
    words = torch.tensor([i for i in range(len(tokenizer)) if i not in special])
    digits = torch.tensor([tokenizer.convert_tokens_to_ids(str(d)) for d in range(10)])
    generator = torch.Generator().manual_seed(seed)
    lengths = random.Random(seed)
    separator = torch.full((batch, 1), tokenizer.convert_tokens_to_ids(START))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / 50))
    losses: list[float] = []
    model.train()
    for step in range(steps):
        n = lengths.randint(6, 12 if step < steps // 3 else 28)
        shape = (batch, n)
        drawn = words[torch.randint(len(words), shape, generator=generator)]
        numbers = digits[torch.randint(10, shape, generator=generator)]
        text = torch.where(torch.rand(shape, generator=generator) < 0.5, drawn, numbers)
        ids = torch.cat([text, separator, text[:, :-1]], 1)
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=n).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), text.flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 100 == 99:
            log.info("copy warm-up: step %d of %d, loss %.3f", step + 1, steps, sum(losses[-100:]) / 100)
    model.eval()
    return sum(losses[-20:]) / max(1, len(losses[-20:]))


def init_model(dialogues: Sequence[Dialogue], out_dir: Path, *, seed: int = 0, warmup_steps: int = 700) -> dict[str, float]:
    """Make a nano policy for conversations like `dialogues` and save it as a Hugging Face model directory.

    Args:
        dialogues: What the tokenizer learns from.
        out_dir: Where model and tokenizer go.
        seed: Of weights and warm-up.
        warmup_steps: Steps of `copy_warmup`.

    Returns:
        ``vocabulary``, ``parameters``, ``copy_loss`` (nats a token), ``tokenizer_seconds`` and ``warmup_seconds``.
    """
    start = time.perf_counter()
    tokenizer = train_tokenizer(dialogues)
    learnt = time.perf_counter()
    model = make_model(tokenizer, seed=seed)
    copy_loss = copy_warmup(model, tokenizer, steps=warmup_steps, seed=seed)
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)
    return {
        "vocabulary": len(tokenizer),
        "parameters": sum(p.numel() for p in model.parameters()),
        "copy_loss": copy_loss,
        "tokenizer_seconds": learnt - start,
        "warmup_seconds": time.perf_counter() - learnt,
    }
