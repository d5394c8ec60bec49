import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym import Message, assistant, call, system, tool, user
from agentgym.tokens import Conversation
from agentgym.tools import Tool
from agentgym_training.nano import END, SPECIAL, copy_warmup, make_model, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer(nano_chat):
    return nano_chat.tokenizer


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_each_digit_is_its_own_token(tokenizer):
    for text in ("O90125", '{"price":"38.90"}', "Customer C1234: 7"):
        pieces = [tokenizer.decode([i]) for i in tokenizer.encode(text, add_special_tokens=False)]
        assert [p for p in pieces if any(map(str.isdigit, p))] == [c for c in text if c.isdigit()]


def test_what_all_episodes_share_is_few_tokens(tokenizer, nano_chat, demonstrations):
    first = demonstrations[0]
    prompt = nano_chat.render(first.messages[:1], first.episode.tools, prompt=False)
    assert len(nano_chat.encode(prompt)) < 80 < len(prompt.split())


def test_the_template_is_native_hermes(nano_chat):
    assert nano_chat.dialect.name == "hermes"
    assert nano_chat.dialect.native
    assert nano_chat.turn_end == END
    assert nano_chat.end_ids == {nano_chat.tokenizer.convert_tokens_to_ids(END)}
    assert set(SPECIAL) <= set(nano_chat.tokenizer.get_added_vocab())


def test_turns_are_written_as_the_dialect_writes_them(nano_chat):
    turns = [
        assistant("It is done."),
        assistant("", call("get_order", order_id='O1 "é" <b>')),
        assistant("I look.", call("a", x=1), call("b", y=[None, 2.5], z={"k": "v"})),
        assistant("Yes.", thinking="Is it so?\nIt is."),
        assistant("", call("a"), thinking="Look."),
        assistant(thinking="Only thought."),
    ]
    for turn in turns:
        conversation = Conversation(nano_chat)
        conversation.observe([user("Hi")])
        assert nano_chat.tokenizer.decode(conversation.act(turn)) == nano_chat.dialect.render(turn) + END


@pytest.mark.parametrize("first", [[system("Rules."), user("Hi")], [user("Hi")]])
def test_the_template_only_appends(nano_chat, first):
    @tool
    def look_up(key: str, depth: int = 1) -> str:
        """Look up."""
        return key

    conversation = Conversation(nano_chat, [Tool(look_up).schema])
    ids, _ = conversation.observe(first)
    for turn in (assistant("", call("look_up", key="1")), assistant("x", thinking="y")):
        ids = ids + conversation.act(turn)
        ids = ids + conversation.observe([Message("tool", '{"a":"12"}', (), "call00000", "look_up"), user("go on")])[0]
    assert conversation.drift == 0
    assert ids == conversation.ids
    assert "look_up(key, depth)\n" in nano_chat.tokenizer.decode(ids)


def test_seeds_repeat(tokenizer):
    def made(seed):
        model = make_model(tokenizer, seed=seed)
        loss = copy_warmup(model, tokenizer, steps=3, seed=seed, batch=4)
        return loss, model.model.embed_tokens.weight

    (loss, weights), (again, same), (other, _) = made(1), made(1), made(2)
    assert loss == again != other
    assert torch.equal(weights, same)


def test_making_a_model_leaves_the_global_generator_alone(tokenizer):
    before = torch.get_rng_state()
    make_model(tokenizer, seed=3)
    assert torch.equal(before, torch.get_rng_state())


def test_the_warmup_learns(tokenizer):
    model = make_model(tokenizer)
    first = copy_warmup(model, tokenizer, steps=1, batch=16)
    assert copy_warmup(model, tokenizer, steps=60, batch=16) < first - 0.5
    assert not model.training


def test_the_vocabulary_is_bounded(demonstrations):
    dialogues = [(t.messages, t.episode.tools) for t in demonstrations]
    assert len(train_tokenizer(dialogues, max_vocab=300)) == 300
