"""The domain of a model: its own molecules are inside, strange ones are not, and the numbers are RDKit's."""

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

from finetune.applicability import Domain
from finetune.split.groups import murcko_scaffolds

STRANGE = ["[Na+].[Cl-]", "C" * 60, "F[P-](F)(F)(F)(F)F"]


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
