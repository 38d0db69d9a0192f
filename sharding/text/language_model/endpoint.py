"""Any server that speaks OpenAI's chat completions: vLLM, llama.cpp, a hosted one.

    questions  ->  answers, in the order of their coming, `batch` requests at a time
A request that fails on its way (no connection, reset, timeout, 429, 5xx, an answer that is no chat completion)
is sent again after a pause; one that fails to the end is a `Failure`. A server that refuses *us* (401, 403,
404) or that has stopped answering altogether ends the job by a `UserError`: a silent million of stand-ins
would be worse. What the server sends is data, at most `MAX_BYTES` of it, and is never shown: it could echo
the key.

In the place of the Mistral-7B-Instruct of LGM-CL (arXiv 2601.22610).
"""

import json
import os
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import httpx

from sharding.config import LanguageModelConfig
from sharding.errors import UserError, did_you_mean
from sharding.text.language_model.answers import Answer, Failure, Question, temperature
from sharding.text.language_model.prompt import SCHEMA

MAX_BYTES = 1 << 20
PAUSE_S = 1.0
"""Before the second try; doubled for each further one."""
LONGEST_PAUSE_S = 60.0
DEAD_AFTER = 4
"""So many batches of failures in a row, each tried to the end, are a server that is gone."""
BY_STATUS = {413: "too_large", 429: "rate_limited"}
FORMATS: tuple[dict[str, Any], ...] = (
    {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "description", "strict": True, "schema": SCHEMA},
        }
    },
    {"response_format": {"type": "json_object"}},
    {},
)
"""From the strictest on: a server that does not know one answers 400 or 422, and is asked the next way."""


class Endpoint:
    """One server and one model of it. Holds no connection between two calls."""

    def __init__(self, config: LanguageModelConfig) -> None:
        self.config = config
        self.url = config.endpoint.rstrip("/")
        self._format = 0
        self._failures_in_a_row = 0

    def answers(self, questions: Sequence[Question], attempt: int) -> Iterator[tuple[Question, Answer]]:
        """Leaving the iterator early drops what has not been sent."""
        stop = threading.Event()
        with _client(self.config) as client, ThreadPoolExecutor(self.config.batch) as pool:
            asked = {
                pool.submit(self._ask, client, stop, question, attempt): question for question in questions
            }
            try:
                for future in as_completed(asked):
                    answer = future.result()
                    self._note(answer)
                    yield asked[future], answer
            finally:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)

    def _note(self, answer: Answer) -> None:
        if not isinstance(answer, Failure):
            self._failures_in_a_row = 0
            return
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= DEAD_AFTER * self.config.batch:
            raise UserError(
                f"{self.url} has stopped answering: {self._failures_in_a_row} requests in a row failed, the last "
                f"by {answer.reason}. Run the same command again when it is up; finished texts are kept."
            )

    def _ask(self, client: httpx.Client, stop: threading.Event, question: Question, attempt: int) -> Answer:
        answer: Answer = Failure("endpoint_error")
        pause = 0.0
        for trial in range(1 + self.config.retries):
            if stop.wait(min(pause, LONGEST_PAUSE_S)):
                break
            answer, asked_to_wait = self._try_formats(client, question, attempt)
            if not isinstance(answer, Failure):
                break
            pause = max(PAUSE_S * 2**trial, asked_to_wait)
        return answer

    def _try_formats(self, client: httpx.Client, question: Question, attempt: int) -> tuple[Answer, float]:
        """The answer, and how many seconds the server wants us to wait."""
        for level in range(self._format, len(FORMATS)):
            body = self._body(question, attempt, level)
            try:
                status, content, asked_to_wait = _exchange(
                    client, "POST", f"{self.url}/chat/completions", self.config.timeout_s, body
                )
            except httpx.TimeoutException:
                return Failure("timeout"), 0.0
            except httpx.HTTPError:
                return Failure("endpoint_error"), 0.0
            if status not in (400, 422):
                break
        else:
            return Failure("bad_request"), 0.0
        if status in (401, 403, 404):
            raise UserError(_refusal(self.config, status))
        if status == 200:
            self._format = level
            return _content(content), 0.0
        return Failure(BY_STATUS.get(status, "endpoint_error")), asked_to_wait

    def _body(self, question: Question, attempt: int, level: int) -> dict[str, Any]:
        body = {
            "model": self.config.model,
            "messages": question.conversation,
            "max_tokens": self.config.max_new_tokens,
            "temperature": temperature(self.config, attempt),
            **FORMATS[level],
        }
        if level < len(FORMATS) - 1:  # the last way is for servers that know the bare protocol only
            body["seed"] = zlib.crc32(question.key.encode(), attempt) >> 1
        return body


def _client(config: LanguageModelConfig) -> httpx.Client:
    headers = {"Accept-Encoding": "identity"}
    key = os.environ.get(config.api_key_variable, "").strip()
    if not all("!" <= character <= "~" for character in key):  # httpx would show it in its complaint
        raise UserError(f"the key in {config.api_key_variable} holds characters that no HTTP header may.")
    if key:
        headers["Authorization"] = f"Bearer {key}"
    limits = httpx.Limits(max_connections=config.batch, max_keepalive_connections=config.batch)
    return httpx.Client(headers=headers, timeout=config.timeout_s, limits=limits, follow_redirects=False)


def _exchange(
    client: httpx.Client, method: str, url: str, timeout_s: float, body: dict[str, Any] | None = None
) -> tuple[int, bytes, float]:
    """Status, content and Retry-After. httpx bounds each wait; the deadline bounds their sum."""
    deadline = time.monotonic() + timeout_s
    content = bytearray()
    with client.stream(method, url, json=body) as response:
        for piece in response.iter_bytes():
            content += piece
            if len(content) > MAX_BYTES:
                return 413, b"", 0.0
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout("the answer came too slowly")
    wait = response.headers.get("retry-after", "")
    return response.status_code, bytes(content), float(wait) if wait.isdecimal() else 0.0


def _content(content: bytes) -> Answer:
    """The assistant's words in a chat completion."""
    try:
        text = json.loads(content)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return Failure("bad_response")
    return text if isinstance(text, str) else Failure("bad_response")


def _refusal(config: LanguageModelConfig, status: int) -> str:
    url = config.endpoint
    if status == 404:
        return (
            f"{url} knows no model {config.model!r}, or is no OpenAI-compatible base URL (404). Give the name "
            "the server lists under /models, and an endpoint such as http://host:8000/v1."
        )
    key = "was refused" if os.environ.get(config.api_key_variable) else "is unset or empty"
    return (
        f"{url} answered {status}, and the key in {config.api_key_variable} {key}. Export a valid key there, or "
        "name another variable in language_model.api_key_variable."
    )


def check_endpoint(config: LanguageModelConfig) -> None:
    """One request to /models: the server is there, takes the key, and knows the model."""
    url = f"{config.endpoint.rstrip('/')}/models"
    try:
        with _client(config) as client:
            status, content, _ = _exchange(client, "GET", url, config.timeout_s)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UserError(
            f"{config.endpoint} does not answer ({type(error).__name__}). Expected an OpenAI-compatible server, "
            "for example one started by `vllm serve`; is it up, and reachable from here?"
        ) from None
    if status in (401, 403):
        raise UserError(_refusal(config, status))
    try:
        known = [str(entry["id"]) for entry in json.loads(content)["data"]] if status == 200 else []
    except (ValueError, LookupError, TypeError, RecursionError):
        known = []
    if not known:
        raise UserError(
            f"{url} lists no model (status {status}). Expected the base URL of an OpenAI-compatible "
            "server, for example http://host:8000/v1."
        )
    if config.model not in known:
        shown = ", ".join(repr(name[:100]) for name in known[:8])
        raise UserError(
            f"language_model.model={config.model!r} is not served by {config.endpoint}."
            f"{did_you_mean(config.model, known)} It serves {shown}."
        )
