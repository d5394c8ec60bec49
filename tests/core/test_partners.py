"""Models as parts of environments; users are tried with tools/Tau-v0, solvers with tools/Decompose-v0."""

from pathlib import Path

from agentgym import Message, assistant
from agentgym.partners import Model


def test_a_users_model_reads_exactly_what_its_template_writes(nano_dir: Path) -> None:
    from agentgym.sampling.transformers import TransformersSampler

    sampler = TransformersSampler(nano_dir, max_tokens=4)
    talk = [Message("user", "Hello!"), assistant("Cancel order 17."), Message("user", "Which?")]
    messages = [Message("system", "You are Ann."), *talk]
    assert sampler.chat is not None
    text = sampler.chat.render(messages, (), prompt=True)
    assert Model(sampler)._ids(messages) == sampler.chat.encode(text)
