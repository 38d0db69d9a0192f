"""DeBERTa, for SMILES and for descriptions: one architecture, two vocabularies, two sets of weights.

n strings, L tokens (padded), w width.
    Strings  ->  tokens (n, L, w), strings (n, w)

After He et al. 2021 (arXiv 2006.03654): attention from content to content, content to position and position
to content; 4 layers as LGM-CL says (arXiv 2601.22610). transformers' second version of the model, from a
configuration, never downloaded. Positions are relative only and bucketed. A string's vector is the mean of
its tokens' states: with short pretraining it beats the first token's, which starts as one state among many.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import DebertaV2Config, DebertaV2Model

from pretrain.batch import Strings
from pretrain.config import ModelConfig
from sharding.tokens import PADDING

LONGEST = 512


class TextEncoder(nn.Module):
    """DeBERTa and the mean over what is not padding."""

    def __init__(self, config: ModelConfig, vocabulary: int) -> None:
        super().__init__()
        self.transformer = DebertaV2Model(deberta_config(config, vocabulary))

    def forward(self, strings: Strings) -> tuple[Float[Tensor, "n L w"], Float[Tensor, "n w"]]:
        """States of all tokens (zero where padding), and one vector a string; rows in the strings' order."""
        longest = max(ids.shape[1] for ids in strings.ids)
        states, vectors = [], []
        for ids, mask in zip(strings.ids, strings.masks, strict=True):
            found = self.transformer(input_ids=ids, attention_mask=mask.long()).last_hidden_state
            found = found * mask.unsqueeze(-1)
            vectors.append(found.sum(1) / mask.sum(1, keepdim=True))
            states.append(pad(found, (0, 0, 0, longest - ids.shape[1])))
        return torch.cat(states)[strings.place], torch.cat(vectors)[strings.place]


def deberta_config(config: ModelConfig, vocabulary: int) -> DebertaV2Config:
    """The library's configuration of our sizes."""
    return DebertaV2Config(
        vocab_size=vocabulary,
        hidden_size=config.text_hidden,
        num_hidden_layers=config.text_layers,
        num_attention_heads=config.text_heads,
        intermediate_size=config.text_feedforward,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout,
        max_position_embeddings=LONGEST,
        relative_attention=True,
        position_buckets=64,
        pos_att_type=["c2p", "p2c"],
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        type_vocab_size=0,
        pad_token_id=PADDING,
    )
