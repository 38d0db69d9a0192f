"""The words that local and served models share: a question, what may come back, how hot it is asked again."""

from dataclasses import dataclass

from sharding.config import LanguageModelConfig
from sharding.text.language_model.prompt import Conversation

HOTTER = 0.4
HOTTEST = 1.2


@dataclass(frozen=True, slots=True)
class Question:
    """A conversation under the key by which its answer is cached."""

    key: str
    conversation: Conversation


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer. `final`: asking again cannot help, whoever asks and whenever; only such a one is cached."""

    reason: str
    final: bool = False


Answer = str | Failure


def temperature(config: LanguageModelConfig, attempt: int) -> float:
    """A refused answer would come again at the same temperature."""
    return config.temperature if attempt == 0 else min(HOTTEST, config.temperature + HOTTER * attempt)
