r"""Two tokenizers in Hugging Face form: SMILES by the symbol, descriptions by the word piece.

    list of strings  ->  ids (all tokens, flat), lengths (one a string); end markers included

SMILES: word level over the regular expression below, so a token is an atom, a bond, a ring number or a
branch, never half a bracket atom (a byte-level BPE merges across atoms). Text: BPE, pre-split at words and
punctuation, so a merge never crosses a word. A tokenizer is a folder with `tokenizer.json` and
`tokenizer_config.json`, opened by `AutoTokenizer` too; its identity is the SHA-256 of `tokenizer.json`.

The expression follows the lexical grammar of OpenSMILES (section 3); that of Schwaller et al. (2018) is the
same idea, this one also takes %(nnn) ring numbers and the aromatic two-letter symbols.
"""

import hashlib
import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from sharding.errors import UserError

SMILES_SYMBOL = r"\[[^\]]*\]|Br|Cl|se|as|te|si|@@|%\(\d+\)|%\d\d|\d|[A-Za-z*.=#$:/\\()@+\-~>]"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PADDING, UNKNOWN, START, END, MASK = range(5)
DEFAULT = Path(__file__).parent / "tokenizers"
PROBES = 64
"""Strings on which looking up pieces is compared with the library, before it is trusted."""
split_smiles = re.compile(SMILES_SYMBOL).findall


@dataclass(frozen=True)
class Tokens:
    """ids (t,), lengths (k,); how many strings were cut, how many tokens are outside the vocabulary."""

    ids: NDArray[np.uint16]
    lengths: NDArray[np.uint16]
    cut: int
    unknown: int


class _Pieces(dict[str, list[int]]):
    """Ids of the words or symbols that a string falls into; each is encoded once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, piece: str) -> list[int]:
        if len(self) > 1_000_000:  # bounds the memory of a task, not its result
            self.clear()
        self[piece] = ids = self._tokenizer.encode(piece, add_special_tokens=False).ids
        return ids


class TokenizerFolder:
    """One tokenizer and the folder that it lives in.

    `split` cuts a string into pieces that the tokenizer treats one by one: then a look-up a piece gives the
    library's ids several times faster. The first strings are encoded both ways; a tokenizer that does not
    treat pieces one by one is left to the library.
    """

    def __init__(self, folder: Path, split: Callable[[str], list[str]]) -> None:
        file = folder / "tokenizer.json"
        if not file.is_file():
            raise UserError(f"{folder} holds no tokenizer.json. Give a tokenizer folder, or 'default'.")
        self.folder = folder
        self.sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library has no narrower one
            raise UserError(
                f"{file} is no tokenizer ({error}). Give a tokenizer folder, or 'default'."
            ) from error
        self._split, self._pieces = split, _Pieces(self._tokenizer)
        self._by_pieces: bool | None = None
        found = [self._tokenizer.token_to_id(token) for token in SPECIAL]
        if found != list(range(len(SPECIAL))):
            raise UserError(f"{file} does not begin with {' '.join(SPECIAL)}. Train it with this project.")
        if self.size > 65536:
            raise UserError(f"{file} has {self.size:,} tokens; shards keep ids in 16 bits: at most 65,536.")

    @property
    def size(self) -> int:
        """Tokens in the vocabulary, the special ones included."""
        return self._tokenizer.get_vocab_size()

    def encode(self, strings: Sequence[str], most: int) -> Tokens:
        """Ids with both end markers, at most `most` a string; a cut string keeps its end marker."""
        cut, rows = 0, []
        for ids in self._ids(strings):
            if len(ids) > most:
                cut += 1
                ids = [*ids[: most - 1], END]
            rows.append(ids)
        flat = np.fromiter((token for ids in rows for token in ids), np.uint16)
        lengths = np.fromiter(map(len, rows), np.uint16, len(rows))
        return Tokens(flat, lengths, cut, int((flat == UNKNOWN).sum()))

    def _ids(self, strings: Sequence[str]) -> list[list[int]]:
        if self._by_pieces is None:
            probe = list(strings[:PROBES])
            self._by_pieces = self._join(probe) == self._library(probe)
        return self._join(strings) if self._by_pieces else self._library(strings)

    def _library(self, strings: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(strings))]

    def _join(self, strings: Sequence[str]) -> list[list[int]]:
        pieces, split, chain = self._pieces, self._split, itertools.chain.from_iterable
        return [[START, *chain([pieces[piece] for piece in split(string)]), END] for string in strings]

    def save(self, folder: Path) -> None:
        """Copy the tokenizer into another folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(self.folder / name, folder / name)


class Where(NamedTuple):
    """Folders of a pair of tokenizers. The hash is there to be compared: a folder may get others."""

    smiles: str
    text: str
    sha256: str


@lru_cache(maxsize=2)
def opened(where: Where) -> "Tokenizers":
    """The pair, opened once a process."""
    return Tokenizers.load(where.smiles, where.text)


@dataclass(frozen=True)
class Tokenizers:
    """The pair that a record's two token columns were made with."""

    smiles: TokenizerFolder
    text: TokenizerFolder

    @classmethod
    def load(cls, smiles: str = "default", text: str = "default") -> "Tokenizers":
        """By folder; `default` is the pair that ships with the project."""
        return cls(
            TokenizerFolder(DEFAULT / "smiles" if smiles == "default" else Path(smiles), split_smiles),
            TokenizerFolder(DEFAULT / "text" if text == "default" else Path(text), str.split),
        )

    @property
    def where(self) -> Where:
        """Enough to open the same pair in another process."""
        return Where(str(self.smiles.folder), str(self.text.folder), self.smiles.sha256 + self.text.sha256)

    @classmethod
    def beside(cls, folder: Path) -> "Tokenizers":
        """The pair saved under `folder/tokenizers`."""
        pair = folder / "tokenizers"
        return cls.load(str(pair / "smiles"), str(pair / "text"))

    def save(self, folder: Path) -> None:
        """Write the pair under `folder/tokenizers`."""
        self.smiles.save(folder / "tokenizers" / "smiles")
        self.text.save(folder / "tokenizers" / "text")

    @property
    def sha256(self) -> dict[str, str]:
        """The identity of each."""
        return {"smiles": self.smiles.sha256, "text": self.text.sha256}


def train_smiles(corpus: Iterable[str], folder: Path, *, min_count: int = 2) -> None:
    """Word-level vocabulary of the SMILES symbols that stand at least `min_count` times in the corpus."""
    tokenizer = Tokenizer(models.WordLevel(unk_token=SPECIAL[UNKNOWN]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(SMILES_SYMBOL), behavior="isolated")
    trainer = trainers.WordLevelTrainer(
        special_tokens=list(SPECIAL), min_frequency=min_count, show_progress=False
    )
    _train(tokenizer, trainer, corpus, folder)


def train_text(corpus: Iterable[str], folder: Path, *, size: int = 2048) -> None:
    """BPE vocabulary of at most `size` word pieces, lower case."""
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL[UNKNOWN]))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    # a hyphen joins: `hydrogen-bond` and `twenty-one` are words, and two tokens fewer each
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Split(Regex(r"[^\w\-\u2581]"), behavior="isolated")]
    )
    trainer = trainers.BpeTrainer(
        special_tokens=list(SPECIAL),
        vocab_size=size,
        initial_alphabet=[chr(code) for code in range(33, 127) if not chr(code).isupper()] + ["\u2581"],
        show_progress=False,
    )
    _train(tokenizer, trainer, corpus, folder)


def _train(tokenizer: Tokenizer, trainer: trainers.Trainer, corpus: Iterable[str], folder: Path) -> None:
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{SPECIAL[START]} $A {SPECIAL[END]}",
        special_tokens=[(SPECIAL[START], START), (SPECIAL[END], END)],
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"} | dict(zip(names, SPECIAL, strict=True))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
