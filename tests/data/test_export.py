import errno
import random
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pydistill.data import DistilledData, export
from pydistill.errors import DataError, FileFormatError, OutputError
from pydistill.storage import records
from tests.data.conftest import assert_equal, make_distilled


def test_parquet_comes_back_bit_for_bit(tmp_path: Path, distilled: DistilledData) -> None:
    distilled.export_parquet(tmp_path / "set.parquet")
    assert_equal(DistilledData.from_parquet(tmp_path / "set.parquet"), distilled)
    assert [path.name for path in tmp_path.iterdir()] == ["set.parquet"]


def test_parquet_keeps_a_packed_set_packed(tmp_path: Path, packed: DistilledData) -> None:
    packed.export_parquet(tmp_path / "set.parquet")
    found = DistilledData.from_parquet(tmp_path / "set.parquet")
    assert_equal(found, packed)
    assert found.factor == 2
    assert len(pd.read_parquet(tmp_path / "set.parquet")) == 6  # a row a stored image


def test_pandas_reads_the_parquet(tmp_path: Path) -> None:
    made = make_distilled(soft=True)
    made.export_parquet(tmp_path / "set.parquet")
    frame = pd.read_parquet(tmp_path / "set.parquet")
    assert frame["label"].tolist() == [0, 0, 1, 1, 2, 2]
    image = np.stack([np.stack(channel) for channel in frame["image"][3]])
    assert image.dtype == np.float32
    assert np.array_equal(image, made.images[3].numpy())
    assert np.array_equal(np.stack(frame["target"]), made.targets.numpy())


def test_datasets_reads_the_parquet(tmp_path: Path) -> None:
    made = make_distilled(soft=True)
    made.export_parquet(tmp_path / "set.parquet")
    found = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "set.parquet"), cache_dir=str(tmp_path / "cache")
    )["train"]
    assert found.features["label"].names == ["ant", "bee/wasp", "cat"]
    rows = found.with_format("torch")[:]
    assert torch.equal(rows["image"], made.images)
    assert torch.equal(rows["target"], made.targets)
    assert torch.equal(rows["label"], made.classes)


def test_a_large_preprocessing_lies_beside_the_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_LARGEST_INLINE", 10_000)
    big = make_distilled(zca=True)
    path = tmp_path / "set.parquet"
    big.export_parquet(path)
    (beside,) = tmp_path.glob("preprocess-*.safetensors")
    assert beside.stat().st_size > 10_000
    assert_equal(DistilledData.from_parquet(path), big)
    beside.write_bytes(beside.read_bytes()[:-1])
    with pytest.raises(FileFormatError, match="is not the file written with it"):
        DistilledData.from_parquet(path)
    beside.unlink()
    with pytest.raises(FileFormatError, match="which belongs to it, cannot be read"):
        DistilledData.from_parquet(path)


def test_a_parquet_of_other_make_or_altered_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    with pytest.raises(DataError, match="there is no file"):
        DistilledData.from_parquet(path)
    pd.DataFrame({"image": [1]}).to_parquet(path)
    with pytest.raises(FileFormatError, match="it does not describe a distilled set"):
        DistilledData.from_parquet(path)
    make_distilled().export_parquet(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(FileFormatError, match="cannot be read as parquet"):
        DistilledData.from_parquet(path)
    path.write_bytes(whole)
    table = pq.read_table(path)
    pq.write_table(table.take([1, 0, 2, 3, 4, 5]), path)
    with pytest.raises(FileFormatError, match="it holds no digest; export it again"):
        DistilledData.from_parquet(path)
    for change, words in (
        (table.take([1, 0, 2, 3, 4, 5]), "its rows are not those it was written with"),
        (table.drop_columns(["label"]), "label"),
        (table.replace_schema_metadata({}), "does not describe a distilled set"),
    ):
        with pq.ParquetWriter(path, change.schema) as writer:
            writer.write_table(change)
            writer.add_key_value_metadata({export._SEAL: records.ZEROS})
        records.stamp(path, export._place(path))
        with pytest.raises(FileFormatError, match=words):
            DistilledData.from_parquet(path)


def test_an_old_parquet_survives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "set.parquet"
    make_distilled().export_parquet(path)

    def full(where: Path, *_: object, **__: object) -> None:
        where.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pq, "ParquetWriter", full)
        with pytest.raises(OutputError, match="No space left"):
            make_distilled(seed=1).export_parquet(path)
    assert_equal(DistilledData.from_parquet(path), make_distilled())
    assert [each.name for each in tmp_path.iterdir()] == ["set.parquet"]


@pytest.mark.parametrize("soft", [False, True])
def test_every_flipped_bit_of_a_parquet_file_is_refused(tmp_path: Path, soft: bool) -> None:
    path = tmp_path / "set.parquet"
    make_distilled(soft=soft).export_parquet(path)
    whole, chance = path.read_bytes(), random.Random(0)
    for at in sorted(chance.sample(range(len(whole)), 150)):
        content = bytearray(whole)
        content[at] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=r"set\.parquet"):
            DistilledData.from_parquet(path)
    path.write_bytes(whole)
    assert_equal(DistilledData.from_parquet(path), make_distilled(soft=soft))


def test_columns_of_more_values_than_32_bits_count() -> None:
    wide = torch.zeros(2, 1, 1, 2**30 + 8, dtype=torch.uint8)  # pages of zeros that are never touched
    column = export._nested(wide)
    assert len(column) == 2
    assert pa.types.is_large_list(column.type)
    assert column.flatten().flatten().flatten().offset == 0
    assert len(column.flatten().flatten().flatten()) == wide.numel()
    small = export._nested(torch.zeros(2, 1, 1, 3))
    assert pa.types.is_list(small.type)


def test_large_lists_come_back(tmp_path: Path) -> None:
    values = torch.arange(24.0).reshape(2, 3, 2, 2)
    lists = pa.array(values.tolist(), pa.large_list(pa.large_list(pa.large_list(pa.float32()))))
    pq.write_table(pa.table({"image": lists}), tmp_path / "a.parquet", row_group_size=1)
    assert torch.equal(export._flat(pq.read_table(tmp_path / "a.parquet"), "image", [2, 3, 2, 2]), values)


def test_a_set_of_more_than_may_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "set.parquet"
    make_distilled().export_parquet(path)
    monkeypatch.setenv("PYDISTILL_MAX_BYTES", "1000")
    with pytest.raises(DataError, match=r"set\.parquet: 1,464 bytes .* 1,000 allowed"):
        DistilledData.from_parquet(path)
