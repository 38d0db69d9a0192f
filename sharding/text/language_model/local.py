"""A Hugging Face causal language model from a folder, loaded here.

    conversations (n)  ->  answers (n), `batch` at a time, padded on the left
The folder holds config.json, a tokenizer and safetensors. Nothing in it is executed: no remote code, no
pickled weights; a chat template runs in the sandbox that transformers gives it. A tokenizer without one gets
the bare words.

As in LGM-CL (arXiv 2601.22610), whose model is Mistral-7B-Instruct; any other will do. Sampling is seeded by
the batch's own words, so the same molecules in the same order get the same answers.
"""

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from sharding.config import LanguageModelConfig
from sharding.errors import UserError
from sharding.text.language_model.answers import Answer, Failure, Question, temperature

SAMPLES, SAMPLE_BYTES = 64, 1 << 16
TOO_LONG = Failure("prompt_too_long", final=True)


class LocalModel:
    """The weights come with the first question: a run answered by the cache never loads them."""

    def __init__(self, config: LanguageModelConfig) -> None:
        self.config = config

    def answers(self, questions: Sequence[Question], attempt: int) -> Iterator[tuple[Question, Answer]]:
        tokenizer, model = _load(self.config.model)
        room = getattr(model.config, "max_position_embeddings", 1 << 30) - self.config.max_new_tokens
        fitting = []
        for question in questions:
            prompt = _prompt(tokenizer, question)
            if len(tokenizer(prompt, add_special_tokens=False)["input_ids"]) > room:
                yield question, TOO_LONG
            else:
                fitting.append((question, prompt))
        for start in range(0, len(fitting), self.config.batch):
            group = fitting[start : start + self.config.batch]
            texts = self._generate(tokenizer, model, [prompt for _, prompt in group], attempt)
            yield from zip((question for question, _ in group), texts, strict=True)

    def _generate(self, tokenizer: Any, model: Any, prompts: list[str], attempt: int) -> list[str]:
        import torch
        from transformers import GenerationConfig

        heat = temperature(self.config, attempt)
        sampling = {"do_sample": True, "temperature": heat, "top_k": 0} if heat else {"do_sample": False}
        options = GenerationConfig(
            max_new_tokens=self.config.max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=model.generation_config.eos_token_id,
            **sampling,
        )
        encoded = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        encoded = {name: encoded[name].to(model.device) for name in ("input_ids", "attention_mask")}
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.inference_mode(), torch.random.fork_rng(devices):
            torch.manual_seed(zlib.crc32("".join(prompts).encode(), attempt))
            written = model.generate(**encoded, generation_config=options)
        new = written[:, encoded["input_ids"].shape[1] :]
        return tokenizer.batch_decode(new, skip_special_tokens=True)


def _prompt(tokenizer: Any, question: Question) -> str:
    if tokenizer.chat_template:
        return tokenizer.apply_chat_template(
            question.conversation, tokenize=False, add_generation_prompt=True
        )
    return f"{tokenizer.bos_token or ''}{question.conversation[0]['content']}\n\n"


@lru_cache(maxsize=1)
def _load(folder: str) -> tuple[Any, Any]:
    """Tokenizer and model, kept for the process: its next task needs them again."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = _tokenizer(folder)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", local_files_only=True, trust_remote_code=False, use_safetensors=True
    )
    return tokenizer, model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _tokenizer(folder: str) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, padding_side="left"
    )
    if tokenizer.pad_token is None:  # Llama and Mistral have none; the mask hides whatever stands there
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def check_folder(config: LanguageModelConfig) -> None:
    """Everything but the weights is read, so that a wrong folder stops before the first molecule."""
    folder = Path(config.model)
    expected = "Expected a folder with config.json, a tokenizer and *.safetensors of a causal language model."
    if not (folder / "config.json").is_file():
        raise UserError(f"language_model.model={config.model!r} has no config.json. {expected}")
    if not any(folder.glob("*.safetensors")):
        raise UserError(f"language_model.model={config.model!r} has no *.safetensors. {expected}")
    try:
        from transformers import AutoConfig
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

        kind = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        saved_as = kind.architectures or ["CausalLM"]  # BERT has a causal class; a BERT folder is none
        known = type(kind) in MODEL_FOR_CAUSAL_LM_MAPPING and saved_as[0].endswith(
            ("CausalLM", "LMHeadModel")
        )
        padded = _tokenizer(config.model).pad_token is not None
    except Exception as error:  # transformers raises of every kind, and the folder is at fault
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"language_model.model={config.model!r} cannot be loaded: {first[:200]} {expected}"
        ) from error
    if not known or not padded:
        missing = "a causal language model" if not known else "a tokenizer with an end token"
        raise UserError(f"language_model.model={config.model!r} is not {missing}. {expected}")


@lru_cache(maxsize=8)
def fingerprint(folder: str) -> str:
    """SHA-256 over the folder's small files, and of each weight file its size and 64 pieces spread over it.

    Whole weights would cost every process a minute; a fine-tune leaves no piece of 64 KiB as it was.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(folder).glob("*")):
        if path.suffix == ".safetensors":
            digest.update(f"{path.name}:{path.stat().st_size}:".encode())
            with path.open("rb") as stream:
                for sample in range(SAMPLES):
                    stream.seek(path.stat().st_size * sample // SAMPLES)
                    digest.update(stream.read(SAMPLE_BYTES))
        elif path.suffix in (".json", ".model", ".jinja", ".txt"):
            digest.update(f"{path.name}:".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
