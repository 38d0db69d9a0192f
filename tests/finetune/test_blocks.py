"""Attention between the parts of a molecule: against a loop over molecules, and padding that nobody reads."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from finetune.blocks.cross_attention import CrossAttention, WordAttention
from finetune.blocks.fingerprint import FingerprintWords, scaled
from finetune.blocks.fusion import Concatenation, Sum
from finetune.inputs import States, apart, beside, ragged

WIDTH, HEADS, WORDS = 8, 2, 3
SIZES = np.array([1, 4, 2, 7, 3])
OTHERS = np.array([6, 1, 5, 2, 2])


def _states(sizes: np.ndarray, seed: int = 0) -> States:
    torch.manual_seed(seed)
    return ragged(torch.randn(int(sizes.sum()), WIDTH), sizes)


def _many(count: int, seed: int) -> tuple[States, np.ndarray]:
    """Enough molecules for several groups."""
    sizes = np.random.default_rng(seed).integers(1, 12, count)
    return _states(sizes, seed), sizes


def by_hand(block: CrossAttention, x: Tensor, y: Tensor, side: int) -> Tensor:
    """Equation (1) for one molecule and one direction, head by head and row by row."""
    weights = [each.weight for each in block.query_key_value]
    query, key, value = weights[side].chunk(3)[0], *weights[1 - side].chunk(3)[1:]
    x, y = block.norms[side](x), block.norms[1 - side](y)
    rows = []
    for row in x:
        heads = []
        for part in torch.arange(WIDTH).chunk(HEADS):
            scores = torch.stack([(query @ row)[part] @ (key @ other)[part] for other in y])
            shares = (scores / math.sqrt(WIDTH / HEADS)).softmax(0)
            heads.append(sum(share * (value @ other)[part] for share, other in zip(shares, y, strict=True)))
        rows.append(block.outputs[side](torch.cat(heads)))
    return torch.stack(rows)


def test_cross_attention_is_its_equation():
    x, y = _states(SIZES), _states(OTHERS, 1)
    block = CrossAttention(WIDTH, HEADS)
    of_x, of_y = block(x, y)
    pairs = zip(x.rows.split(SIZES.tolist()), y.rows.split(OTHERS.tolist()), strict=True)
    expected = [(by_hand(block, one, other, 0), by_hand(block, other, one, 1)) for one, other in pairs]
    torch.testing.assert_close(of_x, torch.cat([first for first, _ in expected]))
    torch.testing.assert_close(of_y, torch.cat([second for _, second in expected]))


def test_words_are_read_as_any_states():
    """The quick form equals the plain one with the same weights, gradients too."""
    (x, sizes), words = _many(40, 2), torch.randn(40, WORDS, WIDTH)
    plain, quick = CrossAttention(WIDTH, HEADS), WordAttention(WIDTH, HEADS)
    quick.load_state_dict(plain.state_dict())
    gradients = []
    for block, middle in ((plain, ragged(words.flatten(0, 1), np.full(40, WORDS))), (quick, words)):
        of_rows, of_words = block(x, middle)
        (of_rows.square().sum() + of_words.square().sum()).backward()
        gradients.append([of_rows, of_words.reshape(-1, WIDTH), *(p.grad for p in block.parameters())])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert sizes.sum() == len(of_rows)


@pytest.mark.parametrize("kind", [CrossAttention, WordAttention])
def test_a_molecule_reads_nobody_else(kind: type[CrossAttention]):
    """Groups, padding and neighbours change nothing: alone it is as among others; the rest may even be NaN."""
    (x, sizes), (y, others), words = _many(50, 3), _many(50, 4), torch.randn(50, WORDS, WIDTH)
    block = kind(WIDTH, HEADS)

    def read(places: list[int], poison: bool = False) -> list[Tensor]:
        rows = x.rows.clone()
        if poison:
            rows[x.owner != places[0]] = torch.nan
            places = [*range(50)]
        chosen = ragged(_of(x.become(rows), places), sizes[places])
        other = words[places] if kind is WordAttention else ragged(_of(y, places), others[places])
        found = block(chosen, other)
        return [found[0], found[1].flatten(0, 1) if kind is WordAttention else found[1]]

    whole = read([*range(50)])
    for place in (0, 17, 49):
        alone, poisoned = read([place]), read([place], poison=True)
        lengths = (sizes, np.full(50, WORDS) if kind is WordAttention else others)
        for side, length in enumerate(lengths):
            begin = int(length[:place].sum())
            here = slice(begin, begin + int(length[place]))
            torch.testing.assert_close(whole[side][here], alone[side])
            torch.testing.assert_close(poisoned[side][here], alone[side])


def _of(states: States, places: list[int]) -> Tensor:
    return torch.cat([states.rows[states.owner == place] for place in places])


def test_states_go_to_matrices_and_back():
    states, sizes = _many(70, 5)
    assert len(states.groups) > 2
    assert torch.equal(states.rows_of(states.matrix(states.rows)), states.rows)
    assert torch.equal(states.pack(states.pad(states.rows)), states.rows)
    for matrix, group in zip(states.pad(states.rows), states.groups, strict=True):
        assert not matrix[~group.present].any()
    assert torch.equal(states.whole.present.sum(1), torch.from_numpy(sizes))
    means = torch.stack([part.mean(0) for part in states.rows.split(sizes.tolist())])
    torch.testing.assert_close(states.mean(), means)


def test_sets_stand_beside_each_other():
    (first, sizes), (second, others) = _many(40, 6), _many(40, 7)
    both = beside([first, second])
    matrix = both.matrix(both.rows)
    for molecule in range(40):
        together = torch.cat([_of(first, [molecule]), _of(second, [molecule])])
        assert torch.equal(matrix[molecule][both.whole.present[molecule]], together)
    assert torch.equal(both.pack(both.pad(both.rows)), both.rows)
    for part, back in zip((first, second), apart(both.rows, [first, second]), strict=True):
        assert torch.equal(part.rows, back.rows)
    assert (both.whole.present.sum(1).numpy() == sizes + others).all()


def test_fingerprints_become_words():
    words = FingerprintWords({"maccs": 5, "erg": 4}, hidden=6, width=WIDTH, dropout=0.0)
    given = {"erg": torch.tensor([[0.0, 3.0, 10.0, 990.0]]), "maccs": torch.ones(1, 5)}
    made = words(given)
    assert made.shape == (1, 2, WIDTH)
    torch.testing.assert_close(made[:, 0], words.words["maccs"](given["maccs"]))
    torch.testing.assert_close(scaled("erg", given["erg"]).expm1(), torch.tensor([[0, 0.3, 1, 99]]))
    changed = words({**given, "erg": 7 * given["erg"]})
    assert torch.equal(changed[:, 0], made[:, 0]) and not torch.equal(changed[:, 1], made[:, 1])


def test_fusions_read_by_name():
    widths, vectors = (
        {"a": 4, "b": 3},
        {"b": torch.randn(5, 3), "c": torch.randn(5, 9), "a": torch.randn(5, 4)},
    )
    side_by_side, added = Concatenation(widths), Sum(widths, 6)
    made = side_by_side(vectors)
    assert made.shape == (5, 7) and added(vectors).shape == (5, 6)
    torch.testing.assert_close(made[:, :4], torch.nn.functional.layer_norm(vectors["a"], (4,)))
    torch.testing.assert_close(added(vectors), added.maps["a"](vectors["a"]) + added.maps["b"](vectors["b"]))
    louder = {name: 7 * values + 3 for name, values in vectors.items()}
    torch.testing.assert_close(side_by_side(louder), made, atol=1e-3, rtol=1e-3)
