r"""A strip of pictures: one image of each class, real ones above what methods learned.

    python -m benchmarks.methods.strip PATH/TO/fashion-mnist --kept runs/kept/fashion_mnist_ipc10 --row dm \
      --row mmd --row rfad --out docs/images/strip.png

Sets are those that ``equal_time --keep`` left, the first seed of each row; the real images are the first of
each class that a random selection draws.
"""

import argparse
from pathlib import Path

from torch import Tensor

from benchmarks.methods.equal_time import slug
from pydistill.data import DistilledData, load_data
from pydistill.data.pictures import grid, write_picture
from pydistill.engine.run import distill


def one_of_each(made: DistilledData) -> Tensor:
    """(K, C, H, W) pixels: the first stored image of each class."""
    pixels, classes = made.pixels(), made.classes
    return pixels[[int((classes == at).nonzero()[0]) for at in range(made.task.outputs)]]


def main() -> None:
    """Gather, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", help="as load_data takes it")
    parser.add_argument("--kept", type=Path, required=True, help="a result's folder of kept sets")
    parser.add_argument("--row", action="append", required=True, help="a row of the result; repeatable")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    data = load_data(arguments.data)
    rows = [("real", one_of_each(distill(data, "random", ipc=1)))]
    for row in arguments.row:
        made = DistilledData.load(arguments.kept / slug(row) / "0" / "made")
        rows.append((row, one_of_each(made)))
    picture = grid(rows, columns=data.task.outputs)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_picture(picture, arguments.out)


if __name__ == "__main__":
    main()
