"""Texts by a language model: a real tiny model, a real server that misbehaves by script, a real cache."""

import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from sharding.config import LanguageModelConfig
from sharding.errors import UserError
from sharding.text.describe import Description, describe
from sharding.text.language_model import TextWriter, check, identity
from sharding.text.language_model import endpoint as endpoint_module
from sharding.text.language_model.cache import TextCache
from sharding.text.language_model.prompt import Refused, conversation, extract
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


# -- a server that behaves


def test_texts_come_in_order_and_the_second_run_asks_nothing(server, tmp_path):
    config = configured(server)
    check(config)
    assert write(config, tmp_path) == (expected(), {"written": 5})
    asked = len(server.bodies)
    assert asked == 5
    assert write(config, tmp_path) == (expected(), {"from_cache": 5})
    assert len(server.bodies) == asked
    assert write(config, tmp_path, MOLECULES[::-1]) == (expected()[::-1], {"from_cache": 5})


def test_what_is_sent(server, tmp_path):
    write(configured(server, max_new_tokens=99), tmp_path, ["CCO", "CCO"])
    (body,) = server.bodies  # a molecule given twice is asked for once
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("tiny-mistral", 99, 0.0)
    assert body["response_format"]["json_schema"]["schema"]["required"] == list(FIELDS)
    assert isinstance(body["seed"], int)
    prompt = body["messages"][0]["content"]
    assert "CCO" in prompt and stand_ins(["CCO"])[0] in prompt
    assert all(name in prompt for name in FIELDS)


def test_requests_go_out_batch_at_a_time(server, tmp_path):
    def slowly(body, nth):
        time.sleep(0.1)
        return good(body)

    server.script = slowly
    smiles = ["C" * n + "O" for n in range(1, 13)]
    assert write(configured(server, batch=4), tmp_path, smiles)[1] == {"written": 12}
    assert 2 <= server.most_at_once <= 4


def test_plain_strings_may_stand_for_descriptions(server, tmp_path):
    server.script = lambda body, nth: says("no")(body)
    writer = TextWriter(configured(server, retries=0), tmp_path)
    texts, counts = writer.write([Chem.MolFromSmiles("CCO")], ["CCO"], ["An alcohol."])
    assert (texts, counts) == (["An alcohol."], {"fallback.not_json": 1})


# -- answers that are refused


REFUSED = {
    "prose only": (says("I cannot help with that."), "not_json"),
    "an empty string": (says(""), "not_json"),
    "truncated": (says_of_each(lambda fields: json.dumps(fields)[:-40]), "not_json"),
    "a list": (says("[1, 2]"), "not_json"),
    "an extra key": (says_of_each(lambda fields: fields | {"logp": "high"}), "wrong_keys"),
    "a missing key": (says_of_each(lambda fields: {"core_scaffold": fields["core_scaffold"]}), "wrong_keys"),
    "a key twice": (
        says_of_each(lambda fields: '{"core_scaffold": "x",' + json.dumps(fields)[1:]),
        "wrong_keys",
    ),
    "a list for a sentence": (
        says_of_each(lambda fields: fields | {"functional_groups": ["alcohol"]}),
        "not_text",
    ),
    "a number": (
        says_of_each(lambda fields: fields | {"physicochemical_profile": "Weighs 350 Da."}),
        "invented_number",
    ),
    "a banned word": (
        says_of_each(lambda fields: fields | {"physicochemical_profile": "Small and toxic."}),
        "banned_word",
    ),
    "an absent group": (
        says_of_each(lambda fields: fields | {"functional_groups": "It bears one sulfone."}),
        "absent_group",
    ),
    "an absent ring": (
        says_of_each(lambda fields: fields | {"core_scaffold": "An acridine."}),
        "absent_ring",
    ),
    "a wrong count": (
        says_of_each(lambda fields: fields | {"physicochemical_profile": "Seventy rotatable bonds."}),
        "wrong_count",
    ),
    "a surrogate": (
        says_of_each(lambda fields: json.dumps(fields).replace("That", "\\ud800")),
        "unprintable",
    ),
    "braces without end": (says("{" * 20_000), "not_json"),
    "deep nesting": (says('{"a":' * 5_000), "not_json"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_answers_fall_back_and_stay_refused(server, tmp_path, case):
    reply, reason = REFUSED[case]
    server.script = lambda body, nth: reply(body)
    once = write(configured(server), tmp_path)
    assert once == (stand_ins(), {f"fallback.{reason}": 5})
    assert len(server.bodies) == 10  # each asked twice: retries=1
    server.script = lambda body, nth: good(body)
    assert write(configured(server), tmp_path) == once  # the same bytes, and no request
    assert len(server.bodies) == 10


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_answer_is_asked_for_again_hotter_and_with_another_seed(server, tmp_path, case):
    reply, _ = REFUSED[case]
    server.script = lambda body, nth: good(body) if nth else reply(body)
    assert write(configured(server), tmp_path, MOLECULES[1:3]) == (expected(MOLECULES[1:3]), {"written": 2})
    by_molecule: dict[str, list[dict]] = {}
    for body in server.bodies:
        by_molecule.setdefault(asked_of(body), []).append(body)
    for first, second in by_molecule.values():
        assert first["temperature"] < second["temperature"]
        assert first["seed"] != second["seed"]


@pytest.mark.parametrize(
    "around",
    ["{}", "```json\n{}\n```", "Sure! Here it is:\n{}\nLet me know.", 'I use {{braces}} and {{"a": 1}}. {}'],
)
def test_fences_and_prose_are_no_harm(server, tmp_path, around):
    server.script = lambda body, nth: says_of_each(lambda fields: around.format(json.dumps(fields)))(body)
    assert write(configured(server), tmp_path) == (expected(), {"written": 5})


# -- failures on the way


def sleep_long(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(1.0)


def drip(handler: BaseHTTPRequestHandler) -> None:
    """Never silent for long enough to time out by itself; the sum is what counts."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    for _ in range(30):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


FAILING = {
    "slow": (lambda body: Reply(act=sleep_long), "timeout"),
    "dripping": (lambda body: Reply(act=drip), "timeout"),
    "500": (lambda body: Reply(500, b"oops", "text/plain"), "endpoint_error"),
    "503": (lambda body: Reply(503, b"later", "text/plain"), "endpoint_error"),
    "429": (lambda body: Reply(429, {"error": "slow down"}), "rate_limited"),
    "reset": (lambda body: Reply(act=reset), "endpoint_error"),
    "html": (lambda body: Reply(200, b"<html>captive portal</html>", "text/html"), "bad_response"),
    "no choices": (lambda body: Reply(200, {"choices": []}), "bad_response"),
    "no content": (says(None), "bad_response"),
    "half a body": (lambda body: Reply(200, b'{"choices": [{"mess'), "bad_response"),
    "redirect": (
        lambda body: Reply(302, b"", headers=[("Location", "http://127.0.0.1:1/")]),
        "endpoint_error",
    ),
    "huge": (lambda body: Reply(200, b" " * (endpoint_module.MAX_BYTES + 1)), "too_large"),
    "refuses all forms": (lambda body: Reply(400, {"error": "too long"}), "bad_request"),
}


@pytest.mark.parametrize("case", FAILING)
def test_failures_fall_back_and_are_mended_by_a_rerun(server, tmp_path, case):
    reply, reason = FAILING[case]
    server.script = lambda body, nth: reply(body)
    config = configured(server, timeout_s=0.4)
    assert write(config, tmp_path) == (stand_ins(), {f"fallback.{reason}": 5})
    server.script = lambda body, nth: good(body)
    assert write(configured(server), tmp_path) == (expected(), {"written": 5})


@pytest.mark.parametrize("case", FAILING)
def test_failures_are_tried_again(server, tmp_path, case):
    reply, _ = FAILING[case]
    sent = 3 if case == "refuses all forms" else 1  # one for each form of asking for JSON
    server.script = lambda body, nth: good(body) if nth >= sent else reply(body)
    assert write(configured(server, timeout_s=0.4), tmp_path) == (expected(), {"written": 5})


def test_a_server_that_asks_to_wait_is_given_time(server, tmp_path):
    server.script = lambda body, nth: good(body) if nth else Reply(429, {}, headers=[("Retry-After", "1")])
    begun = time.monotonic()
    assert write(configured(server), tmp_path, ["CCO"])[1] == {"written": 1}
    assert time.monotonic() - begun >= 1


def test_a_server_without_json_schema_is_asked_another_way(server, tmp_path):
    def picky(body, nth):
        return Reply(422, {}) if "response_format" in body or "seed" in body else good(body)

    server.script = picky
    assert write(configured(server, batch=1), tmp_path) == (expected(), {"written": 5})
    assert len(server.bodies) == 5 + 2  # what it does not know is learnt once


def test_some_fail_and_the_others_do_not_wait_for_them(server, tmp_path):
    server.script = lambda body, nth: Reply(500, b"") if asked_of(body) == "CCO" else good(body)
    texts, counts = write(configured(server), tmp_path)
    assert counts == {"written": 4, "fallback.endpoint_error": 1}
    assert texts == [stand_ins()[0], *expected()[1:]]


def test_a_server_that_dies_stops_the_job_and_keeps_what_is_done(server, tmp_path):
    smiles = ["C" * n + "O" for n in range(1, 41)]
    answered = set()

    def dying(body, nth):
        if len(answered) < 8:
            answered.add(asked_of(body))
            return good(body)
        return Reply(act=reset)

    server.script = dying
    with pytest.raises(UserError, match="has stopped answering"):
        write(configured(server, retries=0, batch=2), tmp_path, smiles)
    server.script = lambda body, nth: good(body)
    texts, counts = write(configured(server, retries=0, batch=2), tmp_path, smiles)
    assert counts["from_cache"] >= 7 and counts["from_cache"] + counts["written"] == 40
    assert texts == expected(smiles)


# -- what stops before any work


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": ""}, "needs record.language_model.model"),
        ({"model": "tiny-mistrall"}, "Did you mean 'tiny-mistral'"),
        ({"endpoint": "http://127.0.0.1:1/v1"}, "does not answer"),
        ({"endpoint": "127.0.0.1:8000"}, "expected http://"),
        ({"endpoint": "http://user:word@host/v1"}, "credentials"),
        ({"batch": 0}, "batch=0"),
        ({"temperature": -1.0}, "temperature"),
        ({"timeout_s": 0.0}, "timeout_s"),
        ({"retries": -1}, "retries"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
    ],
)
def test_mistakes_stop_at_the_start(server, change, message):
    with pytest.raises(UserError, match=message) as caught:
        check(configured(server, **change))
    assert "\n" not in str(caught.value) and "word" not in str(caught.value)
    assert server.bodies == []


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(401, {"error": f"bad key {KEY}"}), "MOLPARALLAX_TEST_KEY was refused"),
        (Reply(403, b""), "MOLPARALLAX_TEST_KEY was refused"),
        (Reply(404, b""), "lists no model"),
        (Reply(200, b"<html>", "text/html"), "lists no model"),
        (Reply(200, {"data": [3]}), "lists no model"),
        (Reply(200, b" " * (endpoint_module.MAX_BYTES + 1)), "lists no model"),
        (Reply(act=reset), "does not answer"),
    ],
)
def test_a_server_that_is_none_stops_at_the_start(server, monkeypatch, reply, message):
    monkeypatch.setenv("MOLPARALLAX_TEST_KEY", KEY)
    server.models = reply
    with pytest.raises(UserError, match=message) as caught:
        check(configured(server))
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_in_mid_work_stops_too(server, tmp_path, status):
    server.script = lambda body, nth: Reply(status, b"")
    with pytest.raises(UserError):
        write(configured(server), tmp_path)


def test_the_key_is_sent_and_shown_nowhere(server, tmp_path, monkeypatch, caplog, capfd):
    monkeypatch.setenv("MOLPARALLAX_TEST_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    server.script = lambda body, nth: Reply(500, KEY.encode()) if nth == 0 else good(body)
    config = configured(server)
    check(config)
    write(config, tmp_path)
    server.script = lambda body, nth: Reply(401, KEY.encode())
    with pytest.raises(UserError) as caught:
        write(replace(config, temperature=0.5), tmp_path)
    assert set(server.keys) == {f"Bearer {KEY}"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    seen = [path.read_text() for path in files] + [str(caught.value), caplog.text, *capfd.readouterr()]
    assert not [text for text in [*seen, json.dumps(identity(config))] if KEY in text]


def test_a_key_that_no_header_may_hold_is_refused_unseen(server, monkeypatch):
    monkeypatch.setenv("MOLPARALLAX_TEST_KEY", f"{KEY}\nX: y")
    with pytest.raises(UserError, match="MOLPARALLAX_TEST_KEY") as caught:
        check(configured(server))
    assert KEY not in str(caught.value)


# -- the cache


def segments(folder: Path) -> list[Path]:
    return sorted(folder.rglob("segment-*.jsonl"))


def test_a_torn_line_costs_that_line(server, tmp_path):
    config = configured(server)
    write(config, tmp_path)
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-30])
    assert write(config, tmp_path) == (expected(), {"from_cache": 4, "written": 1})
    assert len(segments(tmp_path)) == 2  # nobody writes behind a torn line
    assert write(config, tmp_path) == (expected(), {"from_cache": 5})


@pytest.mark.parametrize(
    "damage", [b"\x00" * 5000, b"not json\n", b"[]\n", b'{"key": 1}\n' * 3, b"x" * 200_000]
)
def test_foreign_bytes_are_ignored(server, tmp_path, damage):
    config = configured(server)
    write(config, tmp_path)
    (segment,) = segments(tmp_path)
    segment.with_name("segment-foreign.jsonl").write_bytes(damage)
    segment.with_name("segment-folder.jsonl").mkdir()
    segment.write_bytes(damage + b"\n" + segment.read_bytes())
    assert write(config, tmp_path) == (expected(), {"from_cache": 5})


def test_an_altered_line_is_not_believed(server, tmp_path):
    config = configured(server)
    write(config, tmp_path, ["CCO"])
    (segment,) = segments(tmp_path)
    segment.write_bytes(segment.read_bytes().replace(b"alcohol", b"ketones"))
    assert write(config, tmp_path, ["CCO"]) == (expected(["CCO"]), {"written": 1})


def test_another_identity_is_another_text(server, tmp_path):
    config = configured(server)
    write(config, tmp_path, ["CCO"])
    for change in ({"temperature": 0.7}, {"max_new_tokens": 100}, {"model": "other"}, {"retries": 2}):
        assert identity(replace(config, **change)) != identity(config)
        assert write(replace(config, **change), tmp_path, ["CCO"])[1] == {"written": 1}
    for same in ({"batch": 9}, {"timeout_s": 9.0}, {"api_key_variable": "OTHER"}):
        assert identity(replace(config, **same)) == identity(config)
        assert write(replace(config, **same), tmp_path, ["CCO"])[1] == {"from_cache": 1}


WRITER = """
import json, sys
from pathlib import Path
from rdkit import Chem
from sharding.config import LanguageModelConfig
from sharding.text.language_model import TextWriter
from sharding.text.language_model import endpoint
endpoint.PAUSE_S = 0.01
url, folder, *smiles = sys.argv[1:]
config = LanguageModelConfig(model="tiny-mistral", endpoint=url, batch=4, retries=1, timeout_s=5.0)
molecules = [Chem.MolFromSmiles(line) for line in smiles]
canonical = [Chem.MolToSmiles(molecule) for molecule in molecules]
print(json.dumps(TextWriter(config, Path(folder)).write(molecules, canonical, canonical)[1]))
"""


def start_writer(server: Server, folder: Path, smiles: list[str]) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, server.url, str(folder), *smiles],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_killed_writer_leaves_what_it_had_finished(server, tmp_path):
    smiles = ["C" * n + "O" for n in range(1, 25)]

    def stuck_after_twelve(body, nth):
        if asked_of(body).count("C") > 12:
            time.sleep(4)
        return good(body)

    server.script = stuck_after_twelve
    process = start_writer(server, tmp_path, smiles)
    deadline = time.monotonic() + 30
    while sum(path.read_bytes().count(b"\n") for path in segments(tmp_path)) < 8:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    server.script = lambda body, nth: good(body)
    second = start_writer(server, tmp_path, smiles)
    counts = json.loads(second.communicate(timeout=60)[0])
    assert counts["from_cache"] >= 8
    assert counts["from_cache"] + counts["written"] == 24


def test_two_writers_at_once_share_a_folder(server, tmp_path):
    smiles = ["C" * n + "O" for n in range(1, 31)]
    both = [start_writer(server, tmp_path, part) for part in (smiles[:20], smiles[10:])]
    for process in both:
        process.communicate(timeout=60)
        assert process.returncode == 0
    third = start_writer(server, tmp_path, smiles)
    assert json.loads(third.communicate(timeout=60)[0]) == {"from_cache": 30}


def test_the_cache_keeps_the_first_entry(tmp_path):
    cache = TextCache(tmp_path)
    cache.put({"a" * 64: {"refused": "not_json"}})
    cache.put({"a" * 64: {"refused": "other"}, "b" * 64: {"fields": {"x": "é\n"}}})
    for reader in (cache, TextCache(tmp_path)):
        assert reader.get("a" * 64) == {"refused": "not_json"}
        assert reader.get("b" * 64) == {"fields": {"x": "é\n"}}
        assert reader.get("c" * 64) is None
        assert len(reader) == 2


# -- JSON


SENTENCES = st.fixed_dictionaries({name: st.text(max_size=80) for name in FIELDS})


@given(SENTENCES, st.text(alphabet='ab \n`.:[]}"', max_size=40), st.text(max_size=40), st.booleans())
@settings(deadline=None)
def test_an_object_is_found_whatever_surrounds_it(fields, before, after, pretty):
    written = json.dumps(fields, indent=2 if pretty else None)
    assert extract(f"{before}{written}{after}") == fields


@given(SENTENCES, st.integers(1, 400))
@settings(deadline=None)
def test_a_cut_object_is_no_object(fields, cut):
    written = json.dumps(fields)
    with pytest.raises(Refused):
        extract(written[: max(0, len(written) - cut)])


@given(
    st.dictionaries(
        st.sampled_from([*FIELDS, "scaffold", "Core_Scaffold"]),
        st.one_of(
            st.text(max_size=9), st.integers(), st.none(), st.dictionaries(st.sampled_from(FIELDS), st.text())
        ),
    )
)
@settings(deadline=None)
def test_keys_are_exact(value):
    written = json.dumps(value)
    if set(value) == set(FIELDS):
        assert extract(written).keys() == value.keys()
    else:
        with pytest.raises(Refused, match="wrong_keys"):
            extract(written)


@given(st.text(alphabet='{}[]":, \\ntruefals0', max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_answer_is_read_or_refused(answer):
    with pytest.raises(Refused):
        extract(answer)


# -- a model in a folder


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


def test_a_random_model_writes_no_json_and_the_describer_stands_in(folder, tmp_path):
    config = local(folder)
    check(config)
    once = write(config, tmp_path)
    assert once == (stand_ins(), {"fallback.not_json": 5})
    assert write(config, tmp_path) == once
    lines = [line for path in segments(tmp_path) for line in path.read_text().splitlines()]
    assert len(lines) == 5  # refusals are kept: the second writer asked for nothing


def answers(config: LanguageModelConfig, smiles: list[str], attempt: int = 0) -> list[str]:
    from sharding.text.language_model.answers import Question
    from sharding.text.language_model.local import LocalModel

    questions = [Question(str(n), conversation(line, text_of(line))) for n, line in enumerate(smiles)]
    found = {question.key: answer for question, answer in LocalModel(config).answers(questions, attempt)}
    return [found[str(n)] for n in range(len(smiles))]


def test_padding_changes_no_answer(folder):
    """Long and short prompts in one batch: on the left, under the mask, padding is not read."""
    together = answers(local(folder, batch=5), MOLECULES)
    assert together == answers(local(folder, batch=1), MOLECULES)
    assert len(set(together)) > 1


def test_sampling_repeats_itself_and_attempts_differ(folder):
    hot = local(folder, temperature=1.0)
    assert answers(hot, MOLECULES) == answers(hot, MOLECULES)
    assert answers(hot, MOLECULES, attempt=1) != answers(hot, MOLECULES, attempt=2)
    assert answers(local(folder), MOLECULES) != answers(local(folder), MOLECULES, attempt=1)


def test_the_chat_template_is_used_where_there_is_one(folder, tmp_path):
    from sharding.text.language_model.answers import Question
    from sharding.text.language_model.local import _prompt, _tokenizer

    question = Question("0", conversation("CCO", "An alcohol."))
    tokenizer = _tokenizer(str(folder))
    assert _prompt(tokenizer, question).startswith("<s>You are")
    tokenizer.chat_template = "{{ bos_token }}[INST] {{ messages[0]['content'] }} [/INST]"
    tokenizer.save_pretrained(tmp_path)
    assert _prompt(_tokenizer(str(tmp_path)), question).startswith("<s>[INST] You are")
    assert tokenizer.padding_side == "left"


def test_a_prompt_beyond_the_model_is_not_cut_but_told(folder, tmp_path):
    texts, counts = write(local(folder, max_new_tokens=2000), tmp_path, ["CCO"])
    assert (texts, counts) == (stand_ins(["CCO"]), {"fallback.prompt_too_long": 1})


def copied(folder: Path, target: Path, leave_out: str = "") -> Path:
    target.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.name != leave_out:
            (target / path.name).write_bytes(path.read_bytes())
    return target


def test_the_identity_follows_the_weights_and_not_the_place(folder, tmp_path):
    def hashed(path: Path) -> str:
        return identity(local(path))["model_sha256"]

    assert hashed(copied(folder, tmp_path / "copy")) == hashed(folder)
    changed = copied(folder, tmp_path / "changed") / "model.safetensors"
    data = bytearray(changed.read_bytes())
    data[-100] ^= 1
    changed.write_bytes(data)
    assert hashed(changed.parent) != hashed(folder)
    reworded = copied(folder, tmp_path / "reworded")
    (reworded / "chat_template.jinja").write_text("{{ messages }}")
    assert hashed(reworded) != hashed(folder)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_an_incomplete_folder_stops_at_the_start(folder, tmp_path, missing):
    with pytest.raises(UserError, match="Expected a folder") as caught:
        check(local(copied(folder, tmp_path / "cut", leave_out=missing)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "not json",
        '{"model_type": "bert", "architectures": ["BertForMaskedLM"]}',
        '{"model_type": "nonsense"}',
    ],
)
def test_a_folder_of_something_else_stops_at_the_start(folder, tmp_path, content):
    wrong = copied(folder, tmp_path / "wrong")
    (wrong / "config.json").write_text(content)
    with pytest.raises(UserError, match="Expected a folder"):
        check(local(wrong))


def test_a_folder_that_is_none_stops_at_the_start(tmp_path):
    with pytest.raises(UserError, match=r"config\.json"):
        check(local(tmp_path / "mistralai" / "Mistral-7B-Instruct-v0.3"))


def test_nothing_heavy_is_imported_for_the_module():
    program = (
        "import sys, sharding.text.language_model, sharding.text.validate;"
        "print([name for name in ('torch', 'transformers', 'httpx') if name in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
