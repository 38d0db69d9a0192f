"""Texts by a language model, each checked, and the describer's where it fails.

    molecules, canonical SMILES, descriptions (k each)  ->  k texts in order, counts
    counts: written, from_cache, fallback.<reason>; they add up to k

    question -> cache? -> ask -> JSON? -> validator? -> text
                            ^______ refused: hotter, `retries` times ______|-> describer, reason counted

LGM-CL (arXiv 2601.22610), its text stream; there an answer that does not parse is a hole, here no molecule
goes without a text. What the validator passed and what it refused to the end are both cached, so a rerun has
the same bytes; failures on the way to a server are not, so a rerun mends them.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from rdkit import Chem

from sharding.config import LanguageModelConfig
from sharding.errors import UserError
from sharding.text.describe import Description
from sharding.text.language_model.answers import Answer, Failure, Question
from sharding.text.language_model.cache import TextCache
from sharding.text.language_model.prompt import PROMPT_VERSION, Refused, conversation, extract
from sharding.text.validate import FIELDS, VALIDATOR_VERSION, validate


class Backend(Protocol):
    """Who answers: a model loaded here, or a server."""

    def answers(self, questions: Sequence[Question], attempt: int) -> Iterator[tuple[Question, Answer]]: ...


def check(config: LanguageModelConfig) -> None:
    """`UserError` for whatever would fail on every molecule; before any work, once a job."""
    _check_values(config)
    if config.endpoint:
        from sharding.text.language_model.endpoint import check_endpoint

        check_endpoint(config)
    else:
        from sharding.text.language_model.local import check_folder

        check_folder(config)


def _check_values(config: LanguageModelConfig) -> None:
    if not config.model:
        raise UserError(
            "record.text=llm needs record.language_model.model: a folder, or with an endpoint the served name."
        )
    bounds = {"batch": (1, 4096), "max_new_tokens": (1, 8192), "temperature": (0, 2), "retries": (0, 20)}
    for name, (least, most) in bounds.items():
        if not least <= getattr(config, name) <= most:
            raise UserError(f"language_model.{name}={getattr(config, name)}: give {least} to {most}.")
    if not config.timeout_s > 0:
        raise UserError(f"language_model.timeout_s={config.timeout_s}: give seconds above 0.")
    if config.endpoint:
        parts = urlsplit(config.endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"language_model.endpoint={config.endpoint!r}: expected http://host:8000/v1.")
        if parts.username or parts.password or parts.query:  # the configuration is written to the manifest
            raise UserError(
                "language_model.endpoint holds credentials or a query. Give the bare base URL; the key belongs "
                f"in the environment variable {config.api_key_variable}."
            )


def identity(config: LanguageModelConfig) -> dict[str, Any]:
    """All that a text depends on besides its molecule. Neither the server's address nor the folder's path."""
    if config.endpoint:
        model = {"served_model": config.model}
    else:
        from sharding.text.language_model.local import fingerprint

        model = {"model": Path(config.model).resolve().name, "model_sha256": fingerprint(config.model)}
    return model | {
        "prompt_version": PROMPT_VERSION,
        "validator_version": VALIDATOR_VERSION,
        "temperature": float(config.temperature),
        "max_new_tokens": config.max_new_tokens,
        "retries": config.retries,
    }


class TextWriter:
    """One for a task. Opens nothing that would have to be closed."""

    def __init__(self, config: LanguageModelConfig, cache_folder: Path) -> None:
        _check_values(config)
        self.config = config
        self.identity = json.dumps(identity(config), sort_keys=True)
        # one folder for each identity: a run never reads the answers of another model
        self.cache = TextCache(Path(cache_folder) / _digest(self.identity)[:16])
        self.backend = _backend(config)

    def write(
        self,
        molecules: Sequence[Chem.Mol],
        canonical: Sequence[str],
        described: Sequence[Description | str],
    ) -> tuple[list[str], Counter[str]]:
        """`described` gives the facts for the prompt and stands in where the model fails."""
        facts = [text if isinstance(text, str) else text.text for text in described]
        questions = [self._question(*pair) for pair in zip(canonical, facts, strict=True)]
        outcomes = {question.key: self.cache.get(question.key) for question in questions}
        open_questions = {
            question.key: (question, molecule)
            for question, molecule in zip(questions, molecules, strict=True)
            if outcomes[question.key] is None
        }
        outcomes |= self._ask(open_questions)
        texts, counts = [], Counter[str]()
        for question, fact in zip(questions, facts, strict=True):
            text, reason = _text(outcomes[question.key])
            texts.append(text or fact)
            source = "written" if question.key in open_questions else "from_cache"
            counts[source if text else f"fallback.{reason}"] += 1
        return texts, counts

    def _question(self, smiles: str, facts: str) -> Question:
        asked = conversation(smiles, facts)
        return Question(_digest(self.identity + json.dumps(asked)), asked)

    def _ask(self, open_questions: Mapping[str, tuple[Question, Chem.Mol]]) -> dict[str, Any]:
        """Rounds over what is still refused, each hotter than the one before."""
        outcomes: dict[str, Any] = {}
        pending = [question for question, _ in open_questions.values()]
        for attempt in range(1 + self.config.retries):
            if not pending:
                break  # before the backend is touched: a run answered by the cache loads no weights
            unsaved: dict[str, Any] = {}
            again: set[str] = set()
            try:
                for question, answer in self.backend.answers(pending, attempt):
                    key = question.key
                    outcomes[key] = judge(answer, open_questions[key][1])
                    if outcomes[key].get("again") and attempt < self.config.retries:
                        again.add(key)
                    elif not outcomes[key].get("transient"):
                        unsaved[key] = outcomes[key]
                    if len(unsaved) >= self.config.batch:
                        self.cache.put(unsaved)
                        unsaved = {}
            finally:
                self.cache.put(unsaved)
            pending = [question for question in pending if question.key in again]
        return outcomes


def judge(answer: Answer, molecule: Chem.Mol) -> dict[str, Any]:
    """The cache's entry for an answer: `fields`, or why it is `refused`.

    `again`: another answer may do better. `transient`: of the way to the server, not of the molecule.
    """
    if isinstance(answer, Failure):
        return {"refused": answer.reason} | ({} if answer.final else {"transient": True})
    try:
        fields = extract(answer)
    except Refused as refusal:
        return {"refused": refusal.reason, "again": True}
    problems = validate(fields, molecule)
    if problems:
        return {"refused": problems[0].reason, "again": True}
    return {"fields": {name: " ".join(str(fields[name]).split()) for name in FIELDS}}


def _text(outcome: Mapping[str, Any] | None) -> tuple[str, str]:
    """(text, "") or ("", reason). An entry of the cache may be of any shape."""
    fields = (outcome or {}).get("fields")
    if isinstance(fields, dict) and all(isinstance(fields.get(name), str) for name in FIELDS):
        return Description(**{name: fields[name] for name in FIELDS}).text, ""
    return "", str((outcome or {}).get("refused", "unknown"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _backend(config: LanguageModelConfig) -> Backend:
    if config.endpoint:
        from sharding.text.language_model.endpoint import Endpoint

        return Endpoint(config)
    from sharding.text.language_model.local import LocalModel

    return LocalModel(config)
