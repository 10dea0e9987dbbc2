"""Damaged files of every format: each is loaded, or refused by an error of the project, nothing else."""

from pathlib import Path

import pytest

from pydistill.errors import PydistillError
from tests.faults.formats import FORMATS
from tests.faults.mutations import KINDS, mutated

MUTATIONS, SLOW = 200, {"parquet_set": 30, "saved_table": 60}


@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_loaded_or_refused_by_an_error_of_the_project(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = FORMATS[name](tmp_path)
    whole = found.path.read_bytes()
    found.read()
    refused, unclear = 0, ()
    for seed in range(SLOW.get(name, MUTATIONS)):
        found.path.write_bytes(mutated(whole, seed))
        try:
            found.read()
        except PydistillError as error:
            refused += 1
            unclear = unclear or (seed, str(error)) if " at 0x" in str(error) else unclear
        except BaseException as error:  # reported with the seed that repeats it
            pytest.fail(f"{name}, seed {seed}: {error!r}")
    found.path.write_bytes(whole)
    found.read()
    assert refused
    assert not unclear  # an object by its address instead of what was found
    capfd.readouterr()  # what native libraries say of their own


def test_mutations_repeat_and_differ() -> None:
    whole = bytes(range(256)) * 4
    made = [mutated(whole, seed) for seed in range(100)]
    assert made == [mutated(whole, seed) for seed in range(100)]
    assert len(set(made)) > 90
    assert len(KINDS) >= 8
