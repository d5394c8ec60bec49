"""In which language a text is written, by py3langid (Barbaresi's fork of Lui and Baldwin 2012, langid.py).

IFEval asks langdetect, which is drawn by lot and no longer kept; this one always says the same. It chooses among langdetect's
languages, so that neither finds what the other cannot.
"""

import functools
import importlib.util

from agentgym.errors import NotInstalled

CODES = (
    "af", "ar", "bg", "bn", "ca", "cs", "cy", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "gu", "he", "hi", "hr",
    "hu", "id", "it", "ja", "kn", "ko", "lt", "lv", "mk", "ml", "mr", "ne", "nl", "no", "pa", "pl", "pt", "ro", "ru", "sk",
    "sl", "so", "sq", "sv", "sw", "ta", "te", "th", "tl", "tr", "uk", "ur", "vi", "zh",
)  # fmt: skip
ALIASES = {"zh-cn": "zh", "zh-tw": "zh"}  # langdetect tells scripts of Chinese apart
LONGEST = 20_000  # characters that are read: more of them change nothing


def written_in(text: str, code: str) -> bool:
    """Whether `text` is most likely in the language of this ISO 639-1 code; a text without letters is in none.

    Raises:
        NotInstalled: py3langid is not.
    """
    text = text[:LONGEST]
    return any(map(str.isalpha, text)) and _identifier().classify(text)[0] == ALIASES.get(code, code)


def demand() -> None:
    """Check that languages can be told.

    Raises:
        NotInstalled: they cannot.
    """
    if importlib.util.find_spec("py3langid") is None:
        raise NotInstalled("languages cannot be told without py3langid: pip install 'agentgym[instruct]'")


@functools.cache
def _identifier():  # type: ignore[no-untyped-def]  # it has no types
    demand()
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(CODES)
    return identifier
