"""Which molecules are the same: published values of the hash, and skeletons that InChI says are one."""

import numpy as np
import pytest
from rdkit import Chem

from sharding import block
from sharding.archive import BrokenBlock, pack_arrays, pack_lines
from sharding.block import strings
from sharding.config import RecordConfig, ShardConfig
from sharding.errors import UserError
from sharding.featurize import featurize_strings
from sharding.identity import hash_lines, hash_names, skeletons
from sharding.job import shard
from sharding.plan import make_plan
from sharding.read import Lanes, Reader, Shards
from sharding.tokens import Tokenizers

ONE_SKELETON = [
    "C[C@H](N)C(=O)O",
    "C[C@@H](N)C(=O)O",
    "CC(N)C(=O)O",
    "C[C@H]([NH3+])C(=O)[O-]",
    "[2H]C(N)(C)C(=O)O",
]


def _skeletons(smiles):
    return skeletons([Chem.MolFromSmiles(one) for one in smiles], smiles).tolist()


@pytest.mark.parametrize(
    ("name", "expected"),
    # test vectors of RFC 9923: FNV-1a, 64 bits
    [("", 0xCBF29CE484222325), ("a", 0xAF63DC4C8601EC8C), ("foobar", 0x85944171F73967E8)],
)
def test_the_hash_is_fnv_1a(name, expected):
    assert hash_names([name]).view(np.uint64).tolist() == [expected]


@pytest.mark.parametrize("lines", [b"", b"C\n", b"C\nCC\nCCC\n", b"C\nCC\n" * 5000])
def test_other_names_than_rows_are_a_broken_block(lines):
    with pytest.raises(BrokenBlock, match="names of other molecules"):
        hash_lines(lines, 2)


def test_distinct_molecules_have_distinct_ids(zinc):
    assert len(np.unique(hash_names(sorted(set(zinc))))) == len(set(zinc))


def test_a_skeleton_is_connectivity():
    """Mirror images, no stereo, the zwitterion and a deuterated one share it; a constitutional isomer does not."""
    first, *others, isomer = _skeletons([*ONE_SKELETON, "NCCC(=O)O"])
    assert set(others) == {first}
    assert isomer != first


def test_a_molecule_without_an_inchi_is_the_same_as_itself_only():
    one, other, again = _skeletons(["*C", "*CC", "*C"])
    assert one == again != other


@pytest.fixture(scope="module")
def kept(zinc, tmp_path_factory):
    """Shards that keep skeletons, and the same without."""
    folder = tmp_path_factory.mktemp("skeletons")
    (folder / "in.smi").write_text("\n".join([*zinc[:60], *ONE_SKELETON]) + "\n")
    for name, skeleton in (("with", True), ("without", False)):
        record = RecordConfig(skeleton=skeleton)
        shard(ShardConfig(input=f"{folder}/in.smi", output=str(folder / name), record=record))
    return folder


@pytest.mark.parametrize("with_skeletons", [True, False])
def test_ids_stand_beside_their_molecules(kept, with_skeletons):
    """Through the reader, in its order: of each row's SMILES, or of the skeleton of each row's SMILES."""
    shards = Shards(kept / "with", skeletons=with_skeletons)
    named = {}
    for ref in shards.blocks:
        smiles = shards.smiles(ref)
        named |= zip(shards.read(ref).line.tolist(), smiles, strict=True)
    plan = Lanes(blocks=shards.blocks, batch=8, lanes=2, seed=1)
    batches = [
        molecules for _, (_, _, molecules) in zip(range(plan.steps), Reader(shards, plan)(0, 0), strict=False)
    ]
    lines, ids = (np.concatenate([getattr(part, name) for part in batches]) for name in ("line", "ids"))
    smiles = [named[line] for line in lines.tolist()]
    assert ids.tolist() == (_skeletons(smiles) if with_skeletons else hash_names(smiles).tolist())


def test_the_five_of_one_skeleton_share_an_id(kept):
    shards = Shards(kept / "with", skeletons=True)
    ids = np.concatenate([shards.read(ref).ids for ref in shards.blocks])
    assert sorted(np.unique(ids, return_counts=True)[1].tolist())[-2:] == [1, 5]


def test_skeletons_that_were_not_kept_are_asked_for_in_one_line(kept):
    with pytest.raises(
        UserError, match=r"record\.skeleton=true, or use loss\.same_molecule=smiles"
    ) as caught:
        Shards(kept / "without", skeletons=True)
    assert "\n" not in str(caught.value)


def test_without_the_option_nothing_changes(kept, zinc):
    """Other members' bytes, and the settings of a job from before the option existed."""
    with_them, without = (
        {strings(members["smiles.txt.gz"])[0]: members for members in map(shards.members, shards.blocks)}
        for shards in (Shards(kept / "with"), Shards(kept / "without"))
    )
    assert with_them.keys() == without.keys()
    for first, members in without.items():
        assert "key.npz" not in members
        assert {name: data for name, data in with_them[first].items() if name != "key.npz"} == members
    (kept / "one.smi").write_text(zinc[0] + "\n")
    plan = make_plan(ShardConfig(input=f"{kept}/one.smi", output=str(kept / "planned")))
    assert "skeleton" not in plan.settings["record"]


def test_keys_that_are_no_skeletons_are_a_broken_block(zinc):
    made, _ = featurize_strings(zinc[:20], Tokenizers.load(), RecordConfig(skeleton=True))
    members = block.encode(made.molecules, made.smiles, made.texts, skeletons=made.skeletons)
    rows = np.argsort(made.molecules.line)
    whole = block.decode(members, skeletons=True)
    assert whole.ids[np.argsort(whole.line)].tolist() == made.skeletons[rows].tolist()
    for wrong in (
        made.skeletons[:-1],
        made.skeletons.astype(np.int32),
        made.skeletons[None],
        made.skeletons[:0],
    ):
        with pytest.raises(BrokenBlock):
            block.decode(members | {"key.npz": pack_arrays({"skeleton": wrong})}, skeletons=True)
    for damage in ({"key.npz": b"<html>"}, {"key.npz": pack_arrays({"other": made.skeletons})}):
        with pytest.raises(BrokenBlock):
            block.decode(members | damage, skeletons=True)
    with pytest.raises(BrokenBlock):
        block.decode(members | {"smiles.txt.gz": pack_lines(made.smiles[:-1])})
