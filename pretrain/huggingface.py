"""An encoder's text towers as models of transformers: `AutoModel` and `AutoTokenizer` open them, without our code.

    Encoder  ->  folder/smiles/ and folder/text/, each with
                 config.json (deberta-v2), model.safetensors (float32), tokenizer.json, tokenizer_config.json, README.md
    a view's vector (w,) = the mean of last_hidden_state over the tokens that attention_mask shows

Our own attention (docs/decisions/0016) runs over weights that are the library's already, so nothing is converted.
The tokenizer cuts where ours does (`record.max_*_tokens`). What it is given is our business still: `smiles` was
trained on RDKit's canonical SMILES, `text` on the descriptions of `sharding/text`.
"""

import json
from copy import deepcopy
from pathlib import Path

from safetensors.torch import save_file
from transformers import DebertaV2Model

from pretrain.encoder import Encoder
from pretrain.encoders.text import TextEncoder
from pretrain.model import STREAMS
from sharding.errors import UserError
from sharding.files import write_bytes, write_json

INPUT = {
    "smiles": 'canonical SMILES, as `Chem.MolToSmiles(Chem.MolFromSmiles("OCC"))` of RDKit writes them',
    "text": "descriptions in the words that it was pretrained on; molparallax writes them (`sharding/text`)",
}
EXAMPLE = {
    "smiles": '["CCO", "c1ccccc1"]',
    "text": '["The molecule has no ring.", "It has one benzene ring."]',
}


def save_huggingface(encoder: Encoder, folder: str | Path) -> list[str]:
    """Write one folder a text view; the views. Raises `UserError` where the encoder has none."""
    views = [view for view in encoder.model.widths if view in STREAMS["text"]]
    if not views:
        raise UserError(
            f"huggingface: this encoder has no text stream, only {', '.join(encoder.model.widths)}. Leave it out."
        )
    longest = {"smiles": encoder.record.max_smiles_tokens, "text": encoder.record.max_text_tokens}
    for view in views:
        tower = encoder.model.encoders[view]
        assert isinstance(tower, TextEncoder)
        own = Path(folder) / view
        getattr(encoder.tokenizers, view).save(own)
        _bound(own / "tokenizer_config.json", longest[view])
        _save_model(tower.transformer, own)
        write_bytes(own / "README.md", _card(view).encode())
    return views


def _save_model(model: DebertaV2Model, folder: Path) -> None:
    """As `save_pretrained` does, in float32 and without its progress bar; config.json last."""
    weights = {
        name: tensor.detach().float().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = deepcopy(model.config)
    config.architectures = [type(model).__name__]
    write_json(folder / "config.json", json.loads(config.to_json_string()))


def _bound(file: Path, longest: int) -> None:
    """`truncation=True` then cuts as ours: the end marker stays."""
    write_json(file, json.loads(file.read_text()) | {"model_max_length": longest})


def _card(view: str) -> str:
    return f"""# The {view} view of a molecular encoder

DeBERTa-v2 in transformers' form, made by molparallax; the encoder's folder says from what. It reads {INPUT[view]}.

```python
from transformers import AutoModel, AutoTokenizer

tokenizer, model = AutoTokenizer.from_pretrained("this/folder"), AutoModel.from_pretrained("this/folder").eval()
tokens = tokenizer({EXAMPLE[view]}, padding=True, truncation=True, return_tensors="pt")
shown = tokens["attention_mask"][..., None]
vectors = (model(**tokens).last_hidden_state * shown).sum(1) / shown.sum(1)
```
The last line is the pooling of pretraining: the mean over a string's own tokens, both end markers included.
"""
