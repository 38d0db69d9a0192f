"""A corpus of molecules -> the pair of tokenizers, for chemistry that the default pair does not cover.

    SMILES file  ->  output/tokenizers/smiles, output/tokenizers/text
The SMILES tokenizer learns from canonical SMILES, the text tokenizer from their descriptions: what a shard
holds.
"""

from pathlib import Path

from rdkit import Chem, rdBase

from sharding.config import RecordConfig, TokenizerConfig
from sharding.errors import UserError
from sharding.molecule import Rejected, parse
from sharding.progress import ProgressLine
from sharding.sources import Columns, find, read, survey
from sharding.text.describe import describe
from sharding.tokens import Tokenizers, train_smiles, train_text


def train_tokenizers(config: TokenizerConfig) -> Tokenizers:
    """Read the corpus, train both, and return the saved pair."""
    output, limits, columns = Path(config.output), RecordConfig(), Columns(smiles=config.column, id="")
    sources = find(config.input)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"output {output} holds something. Give a new folder.")
    strings = []
    for source in sources:
        found = survey(source, columns)
        strings += [row.smiles for row in read(source, found, 0, found.rows, columns)]
    canonical, texts = [], []
    with rdBase.BlockLogs(), ProgressLine("describe", len(strings)) as line:
        for smiles in strings:
            line.advance(1)
            try:
                molecule = parse(
                    smiles, max_atoms=limits.max_atoms, max_characters=limits.max_smiles_characters
                )
            except Rejected:
                continue
            canonical.append(Chem.MolToSmiles(molecule))
            texts.append(describe(molecule, canonical[-1]).text)
    if not canonical:
        raise UserError(f"{config.input} holds no valid molecule. Expected one SMILES a line.")
    train_smiles(canonical, output / "tokenizers" / "smiles", min_count=config.min_count)
    train_text(texts, output / "tokenizers" / "text", size=config.text_size)
    return Tokenizers.beside(output)
