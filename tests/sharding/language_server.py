"""A server that speaks the protocol and misbehaves by script, and a tiny random model in a folder."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rdkit import Chem

from sharding.config import LanguageModelConfig
from sharding.text.describe import Description, describe
from sharding.text.language_model import TextWriter
from sharding.text.language_model import endpoint as endpoint_module
from sharding.text.language_model.prompt import conversation
from sharding.text.validate import FIELDS

ROOT = Path(__file__).parents[2]
MOLECULES = ["CCO", "CCOC(=O)c1ccc(NC(=O)c2ccncc2)cc1", "CC(=O)Nc1ccc(O)cc1", "c1ccc2[nH]ccc2c1", "C1CCNCC1"]
KEY = "sk-very-secret-0123456789"


def fields_of(smiles: str) -> dict[str, str]:
    """A good answer: the describer's own sentences, which the validator passes."""
    made = describe(Chem.MolFromSmiles(smiles), smiles + "another seed")
    return {name: f"{getattr(made, name)} That is all." for name in FIELDS}


def text_of(smiles: str) -> str:
    return Description(**fields_of(smiles)).text


def asked_of(body: dict) -> str:
    """The SMILES in the prompt."""
    content = body["messages"][0]["content"]
    return content.split("SMILES: ")[1].split("\n")[0]


def completion(content: object) -> dict:
    return {"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]}


class Reply:
    """What the server does with a request: status, body, headers, or something worse."""

    def __init__(self, status=200, body=b"", kind="application/json", headers=(), act=None):
        self.status, self.kind, self.headers, self.act = status, kind, headers, act
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()


def good(body: dict) -> Reply:
    return Reply(body=completion(json.dumps(fields_of(asked_of(body)))))


def says(content: object) -> Callable[[dict], Reply]:
    return lambda body: Reply(body=completion(content))


def says_of_each(change: Callable[[dict[str, str]], object]) -> Callable[[dict], Reply]:
    """The good answer, changed, as a string or as JSON."""

    def reply(body: dict) -> Reply:
        changed = change(fields_of(asked_of(body)))
        return Reply(body=completion(changed if isinstance(changed, str) else json.dumps(changed)))

    return reply


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Close with RST, in the middle of a status line."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


class Server:
    """Speaks the protocol; `script(body, nth)` decides, n counting the requests for that molecule from 0."""

    def __init__(self) -> None:
        self.script: Callable[[dict, int], Reply] = lambda body, nth: good(body)
        self.bodies: list[dict] = []
        self.keys: list[str | None] = []
        self.models: Reply = Reply(body={"data": [{"id": "tiny-mistral"}]})
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def _handler(server) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *arguments):
                pass

            def do_GET(self):
                server.keys.append(self.headers.get("Authorization"))
                known = self.path == "/v1/models"
                self.answer(server.models if known else Reply(404, b"no", "text/plain"))

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server.lock:
                    nth = sum(asked_of(body) == asked_of(other) for other in server.bodies)
                    server.bodies.append(body)
                    server.keys.append(self.headers.get("Authorization"))
                    server.at_once += 1
                    server.most_at_once = max(server.most_at_once, server.at_once)
                try:
                    self.answer(server.script(body, nth))
                except (BrokenPipeError, ConnectionResetError):  # the client gave up first, as it should
                    self.close_connection = True
                finally:
                    with server.lock:
                        server.at_once -= 1

            def answer(self, reply: Reply):
                if reply.act:
                    self.close_connection = True
                    reply.act(self)
                    return
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.kind)
                self.send_header("Content-Length", str(len(reply.body)))
                for name, value in reply.headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)

        return Handler


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setattr(endpoint_module, "PAUSE_S", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    running = Server()
    yield running
    running.close()


def configured(server: Server, **options) -> LanguageModelConfig:
    return LanguageModelConfig(
        **{
            "model": "tiny-mistral",
            "endpoint": server.url,
            "api_key_variable": "MOLPARALLAX_TEST_KEY",
            "batch": 4,
            "retries": 1,
            "timeout_s": 5.0,
        }
        | options
    )


def write(config: LanguageModelConfig, cache: Path, smiles: list[str] = MOLECULES):
    molecules = [Chem.MolFromSmiles(line) for line in smiles]
    canonical = [Chem.MolToSmiles(molecule) for molecule in molecules]
    described = [describe(molecule, line) for molecule, line in zip(molecules, canonical, strict=True)]
    texts, counts = TextWriter(config, cache).write(molecules, canonical, described)
    assert counts.total() == len(texts) == len(smiles)
    return texts, dict(counts)


def stand_ins(smiles: list[str] = MOLECULES) -> list[str]:
    return [describe(Chem.MolFromSmiles(s), Chem.CanonSmiles(s)).text for s in smiles]


def expected(smiles: list[str] = MOLECULES) -> list[str]:
    return [text_of(Chem.CanonSmiles(s)) for s in smiles]


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A Llama of 20 thousand random weights, with a tokenizer trained on the prompt's own words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = Tokenizer(models.BPE(unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words.train_from_iterator([conversation(s, text_of(s))[0]["content"] for s in MOLECULES], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=400, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=2048, bos_token_id=1, eos_token_id=2,
            initializer_range=0.5,  # wide, so that the answer depends on the prompt
        )
    )  # fmt: skip
    path = tmp_path_factory.mktemp("tiny")
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def local(folder: Path, **options) -> LanguageModelConfig:
    return LanguageModelConfig(
        **{"model": str(folder), "batch": 2, "retries": 1, "max_new_tokens": 12} | options
    )


def segments(folder: Path) -> list[Path]:
    return sorted(folder.rglob("segment-*.jsonl"))
