"""Sources: every kind of file, cut anywhere, reads as Python's own readers read it; every mistake is one line."""

import collections
import csv
import functools
import gzip
import hashlib
import http.server
import io
import itertools
import json
import os
import threading
import tracemalloc
import zipfile
from dataclasses import asdict

import fsspec
import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sharding.errors import UserError
from sharding.sources import Columns, Mark, Row, Source, Survey, find, read, same, stream, survey, tables

COLUMNS = Columns("smiles", "id")
SMALL = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def oracle(kind: str, data: bytes) -> tuple[int, list[Row]]:
    """Number of records and the rows, by Python's text layer and csv module."""
    data = data.replace(b"\0", rb"\x00")
    stream = io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", errors="backslashreplace", newline=None)
    if kind == ".smi":
        lines = list(stream)
        words = [(number, line.split(maxsplit=1)) for number, line in enumerate(lines, 1)]
        return len(lines), [Row(n, w[0], "".join(w[1:]).strip()) for n, w in words if w]
    reader = csv.reader(stream, delimiter="," if kind == ".csv" else "\t")
    header = next(reader)
    rows, count = [], 0
    for count, fields in enumerate(reader, 1):  # noqa: B007
        if fields:
            smiles, name = (
                fields[i].strip() if i < len(fields) else "" for i in map(header.index, ("smiles", "id"))
            )
            rows.append(Row(reader.line_num, smiles, name))
    return count, rows


def compressed(data: bytes, compression: str, members: int) -> bytes:
    """The data in one or more gzip members or zstd frames, one after the other."""
    compress = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}[compression]
    step = -(-len(data) // members) or 1
    return b"".join(compress(data[i : i + step]) for i in range(0, len(data), step)) or compress(b"")


def surveyed(file, data: bytes, columns: Columns = COLUMNS, mark_every: int = 4) -> tuple[Source, Survey]:
    file.write_bytes(data)
    (source,) = find(str(file))
    return source, survey(source, columns, mark_every)


def in_ranges(source: Source, known: Survey, cuts: list[int]) -> list[Row]:
    edges = [0, *sorted(cut % (known.rows + 1) for cut in cuts), known.rows]
    return [row for a, b in itertools.pairwise(edges) for row in read(source, known, a, b - a, COLUMNS)]


WORD = st.sampled_from(
    [
        b"CCO",
        b"c1ccccc1",
        b" ",
        b"\t",
        b"name 7",
        b"",
        b"\xff",
        b"\0",
        b"\xc3\xa9",
        b"\xe2\x82",
        b"\x0b",
        b"\x1c",
    ]
)
PLAIN = [b"CCO", b"C", b"", b" x ", b"\xff", b"\0", b"\xe2\x82\xac", b"\xc2\x85", b'5" nail']
QUOTED = [b'"q"', b'"a,b\tc"', b'"a\nb"', b'"a\r\nb"', b'"a\rb"', b'"a""b"', b'"x"y', b'""', b'"open']
FIELD = st.sampled_from(PLAIN + QUOTED)
ENDS = st.sampled_from([[b"\n"], [b"\r\n"], [b"\r"], [b"\n", b"\r\n", b"\r"]])


@st.composite
def text_files(draw):
    """Kind, content: lines of every sort, mixed line ends, perhaps a byte-order mark, perhaps no last end."""
    kind = draw(st.sampled_from([".smi", ".csv", ".tsv"]))
    ends = draw(ENDS)
    delimiter = b"\t" if kind == ".tsv" else b","
    if kind == ".smi":
        lines = draw(st.lists(st.lists(WORD, max_size=3).map(b"".join), min_size=1, max_size=30))
    else:
        fields = FIELD if draw(st.booleans()) else st.sampled_from([b"CCO", b"", b"N"])
        lines = draw(st.lists(st.lists(fields, max_size=4).map(delimiter.join), max_size=30))
        lines.insert(0, delimiter.join(draw(st.permutations([b"id", b"smiles", b"x"]))))
    data = b"".join(line + draw(st.sampled_from(ends)) for line in lines)
    data += draw(st.sampled_from([b"", b"C", b"\r"]))
    return kind, draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + data


@SMALL
@given(
    text_files(),
    st.sampled_from(["", ".gz", ".zst"]),
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(1, 40),
    st.lists(st.integers(0, 40), max_size=5),
)
def test_any_cut_of_any_text_reads_as_pythons_readers_do(
    tmp_path, written, compression, members, mark_every, piece_bytes, cuts
):
    kind, data = written
    raw = compressed(data, compression, members)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "PIECE_BYTES", piece_bytes)
        source, known = surveyed(tmp_path / f"x{kind}{compression}", raw, mark_every=mark_every)
        count, rows = oracle(kind, data)
        assert (known.rows, known.bytes) == (count, len(raw))
        assert known.sha256 == hashlib.sha256(raw).hexdigest()
        assert [mark.row for mark in known.marks] == list(range(0, count, mark_every))
        assert in_ranges(source, known, cuts) == rows
        assert in_ranges(source, known, []) == rows


@SMALL
@given(
    st.lists(st.sampled_from(["CCO", None, " N ", "é", "a\0b"]), min_size=1, max_size=40),
    st.integers(1, 12),
    st.sampled_from([pyarrow.string(), pyarrow.large_string(), pyarrow.binary(), "dictionary"]),
    st.lists(st.integers(0, 40), max_size=5),
)
def test_any_cut_of_parquet_reads_all_rows(tmp_path, smiles, group_rows, form, cuts):
    text = pyarrow.array(smiles, pyarrow.string())
    column = text.dictionary_encode() if form == "dictionary" else text.cast(form)
    numbers = pyarrow.array([None if i % 5 == 0 else i for i in range(len(smiles))])
    table = pyarrow.table({"x": numbers, "smiles": column, "id": numbers})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet", row_group_size=group_rows)
    source, known = surveyed(tmp_path / "x.parquet", (tmp_path / "x.parquet").read_bytes())
    ids = ["" if i % 5 == 0 else str(i) for i in range(len(smiles))]
    shown = [(s or "").strip().replace("\0", r"\x00") for s in smiles]
    expected = [Row(n, s, i) for n, (s, i) in enumerate(zip(shown, ids, strict=True), 1)]
    assert in_ranges(source, known, cuts) == expected
    assert known.marks == tuple(Mark(r, g, r) for g, r in enumerate(range(0, len(smiles), group_rows)))
    assert [row.id for row in read(source, known, 0, len(smiles), Columns("smiles", ""))] == [""] * len(
        smiles
    )


def test_parquet_text_that_is_not_utf8_stays_visible(tmp_path):
    broken = pyarrow.array([b"CC", b"C\xff"]).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"smiles": broken, "id": broken}), tmp_path / "x.parquet")
    source, known = surveyed(tmp_path / "x.parquet", (tmp_path / "x.parquet").read_bytes())
    assert list(read(source, known, 1, 1, COLUMNS)) == [Row(2, r"C\xff", r"C\xff")]


def test_survey_and_source_pass_through_json(tmp_path):
    source, known = surveyed(tmp_path / "x.csv", b"smiles,id\nC,1\n")
    assert Source.from_dict(json.loads(json.dumps(asdict(source)))) == source
    assert Survey.from_dict(json.loads(json.dumps(asdict(known)))) == known
    assert known.header == ("smiles", "id")


def test_a_survey_holds_until_the_file_changes(tmp_path):
    file = tmp_path / "x.smi"
    source, known = surveyed(file, b"C\nCC\n")
    assert same(source, known)
    os.utime(file, (1, 1))
    assert not same(*find(str(file)), known)
    file.write_bytes(b"C\nCCC\n")
    with pytest.raises(UserError, match=r"has changed: 5 bytes when it was surveyed, 6 now"):
        list(read(source, known, 0, 2, COLUMNS))
    with pytest.raises(UserError, match="changes while it is read"):
        survey(source, COLUMNS)


@pytest.mark.parametrize("ending", [".smi.gz", ".smi.zst", ".parquet"])
@pytest.mark.parametrize("harm", ["cut", "flip", "junk"])
def test_a_damaged_file_is_named(tmp_path, zinc, ending, harm):
    file = tmp_path / f"x{ending}"
    if ending == ".parquet":
        pyarrow.parquet.write_table(pyarrow.table({"smiles": zinc, "id": zinc}), file, compression="snappy")
    else:
        lines = "\n".join(zinc).encode()
        zstd = zstandard.ZstdCompressor(write_checksum=True)
        file.write_bytes(gzip.compress(lines) if ending == ".smi.gz" else zstd.compress(lines))
    good = file.read_bytes()
    source, known = surveyed(file, good)
    middle = len(good) // 3
    flipped = good[:middle] + bytes(255 - byte for byte in good[middle : middle + 40]) + good[middle + 40 :]
    file.write_bytes({"cut": good[:-20], "flip": flipped, "junk": good + b"junk"}[harm])
    (found,) = find(str(file))
    with pytest.raises(UserError, match=r"x\.(smi|parquet).* is not a whole (gzip|zstd|Parquet) file"):
        survey(found, COLUMNS)
        list(read(found, known, 0, known.rows, COLUMNS))  # parquet: only now are the pages read
    if harm == "flip":
        with pytest.raises(UserError, match="is not a whole"):
            list(read(source, known, 0, known.rows, COLUMNS))


def test_zeros_behind_a_gzip_file_are_padding(tmp_path):
    source, known = surveyed(tmp_path / "x.smi.gz", gzip.compress(b"C\nN") + bytes(600))
    assert [row.smiles for row in read(source, known, 0, 2, COLUMNS)] == ["C", "N"]


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        (
            b"smiles,id\n",
            Columns("smile", ""),
            r"column 'smile' is not in .*x.csv. Did you mean 'smiles'\? It has: ",
        ),
        (b"smiles,id\n", Columns("smiles", "idd"), r"column 'idd' is not in .* Did you mean 'id'\?"),
        (b"smiles,id,smiles\nC,C,C\n", COLUMNS, r"column 'smiles' is in .*x.csv 2 times"),
        (b"CC(=O)O,7\nCCC,8\n", COLUMNS, r"first row has a molecule, 'CC\(=O\)O'"),
        (b"smiles;id\nC;1\n", COLUMNS, r"columns look separated by ';'"),
        (b"\xef\xbb\xbf", COLUMNS, "has no header"),
        (b"\n\nsmiles\n", COLUMNS, "has no header"),
        ("smiles,id\nC,1\n".encode("utf-16"), COLUMNS, "is UTF-16 text. Save it as UTF-8"),
    ],
)
def test_a_header_that_cannot_serve(tmp_path, content, columns, message):
    with pytest.raises(UserError, match=message):
        surveyed(tmp_path / "x.csv", content, columns)


def test_duplicates_of_columns_that_nobody_wants_are_no_mistake(tmp_path):
    source, known = surveyed(tmp_path / "x.csv", b"smiles,,,id\nC,a,b,1\n")
    assert list(read(source, known, 0, 1, COLUMNS)) == [Row(2, "C", "1")]


def test_a_wide_field_is_read_and_an_endless_one_is_a_mistake(tmp_path, monkeypatch):
    wide = b"C" * 300_000
    source, known = surveyed(tmp_path / "x.csv", b'smiles,id\nN,"' + wide + b'\nx"\nO,2\n')
    assert [(row.line, len(row.id)) for row in read(source, known, 0, 2, COLUMNS)] == [(3, 300_002), (4, 1)]
    monkeypatch.setattr(tables, "LONGEST_BYTES", 1 << 20)
    with pytest.raises(UserError, match=r"quotation mark not closed in the line that begins with N,\"open"):
        surveyed(tmp_path / "y.csv", b'smiles,id\nN,"open\n' + b"C,1\n" * 800_000)


def test_a_file_without_lines_is_a_mistake(tmp_path):
    with pytest.raises(UserError, match=r"has a line longer than 16 MiB\. Is it a text file"):
        surveyed(tmp_path / "x.smi", b"C" * (18 << 20))


@pytest.mark.parametrize("ending", [".smi", ".smi.gz", ".csv.zst"])
def test_memory_is_flat(tmp_path, zinc, ending):
    lines = "\n".join(["smiles,id", *(f"{one},{number}" for number, one in enumerate(zinc * 25))]).encode()
    raw = compressed(lines, ending[4:], 1)
    tracemalloc.start()
    try:
        source, known = surveyed(tmp_path / f"x{ending}", raw, mark_every=10_000)
        collections.deque(read(source, known, 95_000, 20_000, COLUMNS), maxlen=0)
        assert tracemalloc.get_traced_memory()[1] < 5 << 20 < len(lines)
    finally:
        tracemalloc.stop()


def _write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"C\n")


def test_names_globs_and_folders(tmp_path, monkeypatch):
    _write(
        tmp_path,
        "b.smi",
        "a.SMI.gz",
        "c/d.csv",
        "c/e/f.tsv.zst",
        "notes.md",
        ".hidden.smi",
        "x[1].txt",
        "1,2.smi",
    )

    def names(patterns):
        return [source.url.removeprefix(f"{tmp_path}/") for source in find(patterns)]

    assert names(str(tmp_path)) == ["1,2.smi", "a.SMI.gz", "b.smi", "x[1].txt"]
    assert names(f"{tmp_path}/*.smi") == ["1,2.smi", "b.smi"]
    assert names(f"{tmp_path}/c/**") == ["c/d.csv", "c/e/f.tsv.zst"]
    assert names([f"{tmp_path}/b.smi", f"file://{tmp_path}/?.s*", f"{tmp_path}/c/"]) == ["b.smi", "c/d.csv"]
    assert names(f"{tmp_path}/.h*") == names(f"{tmp_path}/.hidden.smi") == [".hidden.smi"]
    assert names(f"{tmp_path}/x[1].txt") == ["x[1].txt"]
    monkeypatch.chdir(tmp_path)
    assert names("1,2.smi") == ["1,2.smi"]
    kinds = [(source.kind, source.compression) for source in find([f"{tmp_path}/a*", f"{tmp_path}/c/**"])]
    assert kinds == [("words", "gzip"), ("commas", ""), ("tabs", "zstd")]


def test_links_are_followed(tmp_path):
    _write(tmp_path, "real/a.smi")
    for name, target in {"linked.smi": "real/a.smi", "folder": "real", "old": "gone"}.items():
        (tmp_path / name).symlink_to(target)
    for pattern in ("linked.smi", "l*.smi", ""):
        (source,) = find(f"{tmp_path}/{pattern}")
        assert (source.url, source.bytes) == (f"{tmp_path}/linked.smi", 2)
    assert len(find(f"{tmp_path}/folder")) == 1
    (tmp_path / "gone.smi").symlink_to("gone")
    with pytest.raises(UserError, match=r"gone\.smi is a link to a file that does not exist"):
        find(str(tmp_path))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("zink.smi", r"input '.*zink.smi' does not exist. Did you mean 'zinc.smi'\?"),
        ("nowhere/x.smi", r"input '.*nowhere/x.smi' does not exist"),
        ("*.csv", r"it matches no file of molecules, but nothing"),
        ("notes", r"the folder has no file of molecules, but a.md. Expected .smi, "),
        ("empty.smi", "empty.smi is empty"),
        ("notes/a.md", "a.md: unknown kind of file '.md'. Expected .smi"),
        ("x.parquet.gz", "unknown kind of file"),
        ("pipe", "is no regular file"),
    ],
)
def test_names_that_mean_nothing(tmp_path, pattern, message):
    _write(tmp_path, "zinc.smi", "notes/a.md", "x.parquet.gz")
    (tmp_path / "empty.smi").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match=message) as caught:
        find(f"{tmp_path}/{pattern}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("pipe:cat x.smi", "would run a command"),
        ("simplecache::pipe://cat x.smi", "would run a command"),
        ("zcat x.smi.gz |", "would run a command"),
        ("memry://x.smi", r"protocol 'memry' is unknown. Did you mean 'memory'\?"),
        (
            "dropbox://bucket/x.smi",
            "dropbox://bucket/x.smi needs a package that is not installed: .*[Ii]nstall",
        ),
        ("memory://nothing/x.smi", "does not exist"),
        ("http://127.0.0.1:9/x.smi", r"http://127.0.0.1:9/x.smi cannot be read: .*onnect"),
        ("", "an input is empty"),
        ([], "no input is given"),
    ],
)
def test_addresses_that_cannot_be_read(pattern, message):
    with pytest.raises(UserError, match=message):
        find(pattern)


def test_memory_and_chained_addresses(zinc):
    system = fsspec.filesystem("memory")
    data = "\n".join(zinc[:100]).encode()
    system.pipe({"/pile/a.smi": data, "/pile/b.smi.gz": gzip.compress(data), "/pile/c.md": b"x"})
    sources = find("memory://pile")
    assert [source.url for source in sources] == ["memory://pile/a.smi", "memory://pile/b.smi.gz"]
    with system.open("/pile.zip", "wb") as stream, zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("in/a.smi", data)
    sources += find("zip://in/*.smi::memory://pile.zip")
    assert sources[-1].url == "zip://in/a.smi::memory://pile.zip"
    for source in sources:
        known = survey(source, COLUMNS, 8)
        assert same(source, known)
        assert [row.smiles for row in read(source, known, 30, 20, COLUMNS)] == zinc[30:50]


def test_a_web_address(tmp_path, zinc):
    (tmp_path / "z.smi").write_text("\n".join(zinc))
    handler = functools.partial(_Silent, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        (source,) = find(f"{address}/z.smi?download=1")
        known = survey(source, COLUMNS, 1000)
        assert known.bytes == (tmp_path / "z.smi").stat().st_size
        assert [row.smiles for row in read(source, known, 4000, 900, COLUMNS)] == zinc[4000:4900]
        with pytest.raises(UserError, match="cannot be read: 404"):
            find(f"{address}/y.smi")
        server.shutdown()


class _Silent(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without a word. It knows no ranges, as many servers do."""

    def log_message(self, *words):
        pass
