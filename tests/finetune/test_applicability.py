"""The domain of a model: its own molecules are inside, strange ones are not, and the numbers are RDKit's."""

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

from finetune.applicability import Domain, drawn, morgan
from finetune.split.groups import murcko_scaffolds
from sharding.errors import UserError
from sharding.molecule import canonicalise

STRANGE = ["[Na+].[Cl-]", "C" * 60, "F[P-](F)(F)(F)(F)F"]
UNUSUAL = [*STRANGE, "[2H]C([2H])O", "[H][H]", "C[N+](=O)[O-]", "c1ccc2c(c1)[nH]c1ccccc12", "[CH2]C", "O=c1cc[nH]cc1",
           "C/C=C/C", "C[C@H](N)C(=O)O", "[Cu+2]", "OB(O)c1ccccc1", "[O-]c1cc[n+](C)cc1"]  # fmt: skip


def test_fingerprints_are_rdkits(zinc):
    """Bit by bit, though the canonical SMILES is not sanitised again."""
    smiles = [canonicalise(text, max_atoms=100, max_characters=400) for text in [*zinc[300:600], *UNUSUAL]]
    generator = GetMorganGenerator(radius=2, fpSize=2048)
    bits = np.unpackbits(morgan(smiles), axis=1, bitorder="little")
    for text, row in zip(smiles, bits, strict=True):
        assert np.flatnonzero(row).tolist() == list(
            generator.GetFingerprint(Chem.MolFromSmiles(text)).GetOnBits()
        )


def test_the_drawn_ones_are_bounded_each_once_and_always_the_same(zinc):
    twice = [*zinc[:50], *zinc[:70]]
    assert drawn(twice).tolist() == [*range(50), *range(100, 120)]
    some = drawn(twice, 30)
    assert len(set(some.tolist())) == 30
    assert some.tolist() == sorted(some.tolist())
    assert set(some.tolist()) <= set(drawn(twice).tolist())
    np.testing.assert_array_equal(some, drawn(twice, 30))


@pytest.mark.parametrize("with_vectors", [True, False])
def test_it_is_stored_whole(domain, zinc, tmp_path, with_vectors):
    file = tmp_path / "domain.safetensors"
    made = domain if with_vectors else Domain.fit(zinc[:100], None)
    made.save(file)
    found = Domain.load(file, 8 if with_vectors else 0)
    vectors = domain.vectors[5:15] if with_vectors else None
    for before, after in zip(
        made.nearness(zinc[300:310], vectors), found.nearness(zinc[300:310], vectors), strict=True
    ):
        np.testing.assert_array_equal(before, after)
    with pytest.raises(UserError, match=r"domain.safetensors is not what .* Fine-tune again"):
        Domain.load(file, 9)


def test_one_training_molecule_is_near_to_itself_only():
    alone = Domain.fit(["CCO"], np.ones((1, 3), np.float32))
    assert alone.nearness(["CCO", "CCN"], np.ones((2, 3), np.float32)).inside.tolist() == [True, False]


@pytest.fixture(scope="module")
def domain(zinc):
    vectors = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32) * np.arange(
        1, 9, dtype=np.float32
    )
    return Domain.fit(zinc[:300], vectors)


def test_similarity_is_rdkits(domain, zinc):
    generator = GetMorganGenerator(radius=2, fpSize=2048)
    known = [generator.GetFingerprint(Chem.MolFromSmiles(text)) for text in zinc[:300]]
    found = domain.nearness(zinc[290:310], None)
    expected = [
        max(DataStructs.BulkTanimotoSimilarity(generator.GetFingerprint(Chem.MolFromSmiles(text)), known))
        for text in zinc[290:310]
    ]
    np.testing.assert_allclose(found.similarity, expected)
    assert (found.similarity[:10] == 1).all()
    assert found.distance is None


def test_training_molecules_are_inside_and_strange_ones_are_not(domain, zinc):
    assert len(set(murcko_scaffolds(zinc[:300]))) > 100
    same = domain.nearness(zinc[:300], domain.vectors)
    assert same.inside.mean() >= 0.95
    strange = domain.nearness(STRANGE, domain.vectors[:3])
    assert not strange.inside.any()


def test_distance_is_the_mean_of_the_nearest_in_units_of_training(domain):
    scale = domain.vectors.std(0)
    new = domain.vectors[:4] + np.float32(0.5)
    by_hand = np.sort(np.linalg.norm((new[:, None] - domain.vectors[None]) / scale, axis=2), axis=1)[
        :, :5
    ].mean(1)
    found = domain.nearness(["CCO"] * 4, new)
    np.testing.assert_allclose(found.distance, by_hand / domain.usual_distance, rtol=1e-4)
    far = domain.nearness(["CCO"] * 4, domain.vectors[:4] + np.float32(1000))
    assert (far.distance > 1).all()
    assert not far.inside.any()
