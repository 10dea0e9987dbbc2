"""What the analysis tells of two data sets whose faults are known: CamVid and BCCD.

    python -m benchmarks.selection.known_faults --camvid PATH/TO/camvid --bccd PATH/TO/bccd

- CamVid: the sequence 0001TP is cut in two, its first half trained on, its second half tested on, and the
  validation images are frames of one film, nearly the same one after the other. Told are the stretches of
  film that two splits share, those in which nothing moves, and how many of each split's images they hold.
- BCCD: objects a class and their ratio. Its published annotations hold two boxes without area; the copy at
  hand has none, so two such boxes are added to the columns it is read from (``boxes planted``), and what is
  told of them is recorded.

No network is trained. Results go to ``benchmarks/results/selection/known_faults.json``.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
from rich.console import Console

from benchmarks import measure
from benchmarks.selection.side_by_side import RESULTS
from pydistill.analysis import Analysis, analyse
from pydistill.data import RealData, load_data

PLANTED = 2


def looked_at(data: RealData) -> Analysis:
    """The findings that need no network."""
    return analyse(data, findings=("broken", "classes", "duplicates"), device="cpu")


def camvid(source: Path) -> dict[str, Any]:
    """Film on both sides of a split, and film that stands still."""
    data = load_data(source)
    analysis = looked_at(data)
    found = analysis.findings["duplicates"]
    shared, still = found.values["shared stretches"], found.values["still stretches"]
    sizes = {name: len(getattr(data, name)) for name in ("train", "validation", "test")}
    return {
        "data": "camvid",
        "images": sizes,
        "summary": found.summary,
        "recommendation": found.recommendation,
        "shared stretches": shared,
        "still stretches": still,
        "test images of film that is trained on": held(shared, "test"),
        "validation images that stand still": held(still, "validation"),
        "seconds": analysis.facts["seconds"],
    }


def held(stretches: list[dict[str, Any]], split: str) -> int:
    """Images of a split within stretches."""
    return len(
        {
            at
            for each in stretches
            if each["split"] == split
            for at in range(each["first"], each["last"] + 1)
        }
    )


def bccd(source: Path) -> dict[str, Any]:
    """Objects a class; boxes without area that were added."""
    analysis = looked_at(load_data(source))
    classes = analysis.findings["classes"].values
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / source.name  # what is told begins with it
        folder.mkdir()
        planted_in(source, folder)
        told = looked_at(load_data(folder)).findings["broken"]
    return {
        "data": "bccd",
        "objects": dict(zip(classes["names"], classes["counts"], strict=True)),
        "ratio": classes["imbalance"],
        "summary": analysis.findings["classes"].summary,
        "boxes left out in reading": analysis.findings["broken"].values["left out in reading"],
        "boxes planted": PLANTED,
        "told of them": told.values["left out in reading"],
        "summary with them": told.summary,
        "seconds": analysis.facts["seconds"],
    }


def planted_in(source: Path, folder: Path) -> None:
    """A copy of the tables in which the first training images have one more box each, without area."""
    for path in sorted(source.glob("*.parquet")):
        table = parquet.read_table(path)
        rows = table.column("objects").to_pylist()
        if path.name.startswith("train"):
            for row in rows[:PLANTED]:
                x, y, *_ = row["bbox"][0]
                row["bbox"].append([x, y, 0.0, 0.0])
                for key in row.keys() - {"bbox"}:
                    row[key].append(row[key][0])
        at = table.schema.get_field_index("objects")
        field = table.schema.field(at)
        parquet.write_table(table.set_column(at, field, pa.array(rows, field.type)), folder / path.name)


def main() -> None:
    """Both data sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--camvid", type=Path, required=True)
    parser.add_argument("--bccd", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULTS / "known_faults.json")
    given = parser.parse_args()
    rows = [camvid(given.camvid), bccd(given.bccd)]
    Console(width=110).print(rows)
    measure.write(given.out, "known faults", rows)


if __name__ == "__main__":
    main()
