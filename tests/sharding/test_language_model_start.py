"""What stops a job with a language model before any work, or a refusal in mid work. Its key is shown nowhere."""

import json
import logging
from dataclasses import replace

import pytest

from sharding.errors import UserError
from sharding.text.language_model import check, identity
from sharding.text.language_model import endpoint as endpoint_module
from tests.sharding.language_server import KEY, Reply, configured, good, reset, server, write

__all__ = ["server"]  # fixtures


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
