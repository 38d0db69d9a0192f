"""What of a text is secret, and what only looks like it."""

import json

from omegaconf import OmegaConf

from pretrain.config import Negatives
from pretrain.redact import MASK, redact, secrets


def test_secret_is_what_the_environment_says():
    found = secrets(
        {
            "OPENAI_API_KEY": "canary-one",
            "MY_TOKEN": "canary-one-and-more",
            "dbPassword": "p@ss/word",
            "PRIVATE_KEY": "-----BEGIN A KEY-----\nMIIEcanarycanarycanary\nshort\n-----END",
            "TOKENIZERS_PARALLELISM": "no-secret",
            "SECRET_MODE": "offline",
            "A_KEY": "1",
            "PATH": "/usr/bin",
        }
    )
    assert found.index("canary-one-and-more") < found.index("canary-one")  # one may be part of another
    assert {"p@ss/word", "p%40ss%2Fword", "MIIEcanarycanarycanary"} <= set(found)
    assert not {"no-secret", "offline", "1", "/usr/bin", "short"} & set(found)


def test_everywhere_in_a_tree_and_nothing_else():
    tree = {"run": ["a canary-one b", 3, None, True, 0.5], "canary-one": {"negatives": Negatives.everyone}}
    made = redact(tree, ["canary-one", "everyone"])
    assert made == {"run": [f"a {MASK} b", 3, None, True, 0.5], MASK: {"negatives": Negatives.everyone}}
    assert tree["run"][0] == "a canary-one b"
    assert OmegaConf.create(json.loads(json.dumps(made)))[MASK].negatives == "everyone"


def test_addresses():
    assert redact("s3://me:pa:ss@host/x", []) == f"s3://{MASK}@host/x"
    assert (
        redact("https://host/x?a=1&access_token=abc&b=2", []) == f"https://host/x?a=1&access_token={MASK}&b=2"
    )
    for plain in ("https://host:80/x@y?monkeys", "git@host:x/y.git", "s3://bucket/a", "train.batch=256"):
        assert redact(plain, []) == plain
