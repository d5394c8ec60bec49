import pytest

from agentgym.tokens import Chat


@pytest.fixture(scope="session")
def nano_chat(nano_dir) -> Chat:
    from transformers import AutoTokenizer

    return Chat(AutoTokenizer.from_pretrained(nano_dir))
