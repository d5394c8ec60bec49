"""Chat templates in the shapes that model families publish, written for the tests, and a byte-level tokenizer for each."""

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

# ChatML with tools and native tool calls.
CHATML = """{%- if tools %}<|im_start|>system
{{ messages[0].content if messages[0].role == 'system' else '' }}
<tools>{% for t in tools %}{{ t | tojson }}
{% endfor %}</tools><|im_end|>
{% elif messages[0].role == 'system' %}<|im_start|>system
{{ messages[0].content }}<|im_end|>
{% endif %}{%- for m in messages %}{% if m.role == 'tool' %}<|im_start|>user
<tool_response>
{{ m.content }}
</tool_response><|im_end|>
{% elif m.role != 'system' %}<|im_start|>{{ m.role }}
{{ m.content }}{% for c in m.tool_calls or [] %}
<tool_call>
{"name": {{ c.function.name | tojson }}, "arguments": {{ c.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

# Llama 3: headers, no newline after the end of a turn, a begin-of-text token.
LLAMA = """<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>

{{ m.content | trim }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>

{% endif %}"""

# Mistral: no tokens for roles, the system text moves to the last user message (so each new one rewrites history).
MISTRAL = """<s>{%- set sys = messages[0].content if messages[0].role == 'system' else '' %}
{%- set last = namespace(i=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set last.i = loop.index0 %}{% endif %}{% endfor %}
{%- for m in messages %}{% if m.role == 'user' %}[INST]{{ ' ' + sys + '\n\n' if sys and loop.index0 == last.i else ' ' }}{{ m.content }}[/INST]
{%- elif m.role == 'assistant' %} {{ m.content }}</s>{% elif m.role != 'system' %}{{ raise_exception('unknown role') }}{% endif %}{% endfor %}"""

# Thoughts of turns before the last user message are dropped, and the generation prompt opens a thought.
THINKING = """{%- set last = namespace(i=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set last.i = loop.index0 %}{% endif %}{% endfor %}
{%- if tools %}<|im_start|>tools
{{ tools | tojson }}<|im_end|>
{% endif %}{%- for m in messages %}<|im_start|>{{ m.role }}
{% if m.role == 'assistant' and m.reasoning_content and loop.index0 > last.i %}<think>
{{ m.reasoning_content }}
</think>
{% endif %}{{ m.content }}{% for c in m.tool_calls or [] %}
<tool_call>
{"name": {{ c.function.name | tojson }}, "arguments": {{ c.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

# Qwen3: as above, but the last turn always shows a thought, if only an empty one, and earlier turns only if there was one.
QWEN3 = THINKING.replace(
    "{% if m.role == 'assistant' and m.reasoning_content and loop.index0 > last.i %}",
    "{% if m.role == 'assistant' and loop.index0 > last.i and (loop.last or m.reasoning_content) %}",
).replace("{{ m.reasoning_content }}", "{{ m.reasoning_content or '' }}")

# Gemma: the assistant is called model, a system role is refused, roles must alternate.
GEMMA = """<bos>{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}
{{ m.content | trim }}<end_of_turn>
{% endfor %}{% if add_generation_prompt %}<start_of_turn>model
{% endif %}"""

SHAPES = {
    "chatml": (CHATML, ["<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"], "<|im_end|>"),
    "llama": (LLAMA, ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], "<|eot_id|>"),
    "mistral": (MISTRAL, ["<s>", "</s>", "[INST]", "[/INST]"], "</s>"),
    "thinking": (THINKING, ["<|im_start|>", "<|im_end|>", "<think>", "</think>", "<|endoftext|>"], "<|endoftext|>"),
    "qwen3": (QWEN3, ["<|im_start|>", "<|im_end|>", "<think>", "</think>", "<|endoftext|>"], "<|endoftext|>"),
    "gemma": (GEMMA, ["<bos>", "<start_of_turn>", "<end_of_turn>", "<eos>"], "<eos>"),
}


def tokenizer(shape: str) -> PreTrainedTokenizerFast:
    """A tokenizer whose only learnt tokens are bytes, with the shape's control tokens and template."""
    template, control, eos = SHAPES[shape]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    made = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=eos)
    made.chat_template = template
    return made
