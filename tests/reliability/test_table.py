"""docs/reliability.md shows what was measured, and names tests that exist."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = (REPOSITORY / "docs" / "reliability.md").read_text()


def test_the_table_is_the_measured_one():
    measured = (REPOSITORY / "benchmarks" / "results" / "reliability.md").read_text()
    assert measured[measured.index("| fault |") :].strip() in DOCUMENT


def test_every_test_that_is_named_exists():
    file = None
    for path, name in re.findall(r"`([\w/]+\.py)?(?:::(\w+))?`", DOCUMENT):
        if path and (REPOSITORY / "tests" / path).is_file():
            file = (REPOSITORY / "tests" / path).read_text()
        else:
            assert (
                not path
                or (REPOSITORY / path).is_file()
                or (REPOSITORY / "benchmarks/reliability" / path).is_file()
            ), path
        if name:
            assert file is not None
            assert f"def {name}(" in file, name
