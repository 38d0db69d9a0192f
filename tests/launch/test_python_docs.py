"""docs/python.md: every block runs, in its order, in one session."""

import re
from pathlib import Path

import torch

from pretrain.config import LossConfig
from pretrain.encoder import Encoder, build, describe_encoder
from sharding.config import RecordConfig
from sharding.tokens import Tokenizers
from tests.finetune.conftest import TINY

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_every_block_runs(tmp_path, monkeypatch):
    torch.manual_seed(7)
    tokenizers, record = Tokenizers.load(), RecordConfig()
    about = describe_encoder(TINY, LossConfig(), record, tokenizers, {"run": "none: random weights"})
    Encoder(build(about, tokenizers), tokenizers, record, about).save(tmp_path / "runs" / "encoder")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 6
    session: dict = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), session)
    assert str(session["graphs"][0]) == (
        "Data(x=[2, 39], edge_index=[2, 2], edge_attr=[2, 10], smiles='CO', row=0, y=[1, 1])"
    )
