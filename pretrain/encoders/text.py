"""DeBERTa, for SMILES and for descriptions: one architecture, two vocabularies, two sets of weights.

n strings of t tokens in all, w width.
    Strings  ->  tokens (t, w), strings (n, w)

After He et al. 2021 (arXiv 2006.03654): attention from content to content, content to position and position
to content; 4 layers as LGM-CL says (arXiv 2601.22610). The weights are those of transformers' second version of the
model, made from a configuration, never downloaded; so is every layer but attention, which is ours, see
`disentangled.py`. A string's vector is the mean of its tokens' states: with short pretraining it beats the first
token's, which starts as one state among many.
"""

from jaxtyping import Float
from torch import Tensor, nn
from transformers import DebertaV2Config, DebertaV2Model

from pretrain.batch import Strings
from pretrain.config import ModelConfig
from pretrain.encoders.disentangled import Attention
from sharding.tokens import PADDING

LONGEST = 512


class TextEncoder(nn.Module):
    """DeBERTa and the mean over a string's tokens."""

    def __init__(self, config: ModelConfig, vocabulary: int) -> None:
        super().__init__()
        self.transformer = DebertaV2Model(deberta_config(config, vocabulary))
        self.attention = Attention(self.transformer.config)

    def forward(self, strings: Strings) -> tuple[Float[Tensor, "t w"], Float[Tensor, "n w"]]:
        """States of all tokens, and one vector a string."""
        groups, embeddings = strings.groups, self.transformer.embeddings
        states = embeddings.dropout(embeddings.LayerNorm(embeddings.word_embeddings(strings.tokens)))
        attend = self.attention.over(groups, self.transformer.encoder, states.dtype)
        for layer in self.transformer.encoder.layer:
            states = layer.attention.output(attend(layer.attention.self, states), states)
            states = layer.output(layer.intermediate(states), states)
        return states, groups.mean(states)


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
