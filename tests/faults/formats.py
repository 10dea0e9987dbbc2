"""One small intact file of every format that is read, and how it is read."""

import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from scipy.io import savemat

from pydistill.data import DistilledData, load_data
from pydistill.data.sources.pixels import decode
from tests.data.conftest import make_distilled
from tests.data.test_idx import idx
from tests.storage import test_records

LABELS = np.arange(20) % 2


@dataclass(frozen=True)
class Format:
    """A file and its reader.

    Attributes:
        path: The file that is damaged.
        read: Reads the set or record that it belongs to.
    """

    path: Path
    read: Callable[[], object]


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _idx(folder: Path, part: str, zipped: bool) -> Format:
    end = ".gz" if zipped else ""
    paths = {}
    for split in ("train", "t10k"):
        for name, array in (("images-idx3", pixels(20, 5, 6)), ("labels-idx1", LABELS)):
            paths[split, name] = folder / f"{split}-{name}-ubyte{end}"
            paths[split, name].write_bytes(gzip.compress(idx(array)) if zipped else idx(array))
    return Format(paths["train", part], lambda: load_data(folder))


def idx_images(folder: Path) -> Format:
    return _idx(folder, "images-idx3", False)


def idx_labels(folder: Path) -> Format:
    return _idx(folder, "labels-idx1", False)


def idx_gz(folder: Path) -> Format:
    return _idx(folder, "images-idx3", True)


def npz(folder: Path) -> Format:
    path = folder / "set.npz"
    np.savez(path, x=pixels(20, 4, 5, 3), y=LABELS)
    return Format(path, lambda: load_data(path))


def npz_deflated(folder: Path) -> Format:
    path = folder / "set.npz"
    np.savez_compressed(path, x=pixels(20, 4, 5, 3), y=np.array(["ant", "bee"])[LABELS])
    return Format(path, lambda: load_data(path))


def _picture(folder: Path, array: np.ndarray, ending: str, **options: object) -> Format:
    path = folder / f"picture.{ending}"
    Image.fromarray(array).save(path, **options)
    return Format(path, lambda: decode([(str(path), path.read_bytes())], (6, 6)))


def png(folder: Path) -> Format:
    return _picture(folder, pixels(12, 10, 3), "png")


def png_16(folder: Path) -> Format:
    return _picture(folder, pixels(12, 10).astype(np.uint16) * 257, "png")


def png_palette(folder: Path) -> Format:
    path = folder / "picture.png"
    Image.fromarray(pixels(12, 10)).convert("P").save(path, transparency=3)
    return Format(path, lambda: decode([(str(path), path.read_bytes())], None))


def jpeg(folder: Path) -> Format:
    exif = Image.Exif()
    exif[0x0112] = 3
    return _picture(folder, pixels(24, 20, 3), "jpg", exif=exif)


def gif(folder: Path) -> Format:
    return _picture(folder, pixels(12, 10), "gif")


def bmp(folder: Path) -> Format:
    return _picture(folder, pixels(12, 10, 3), "bmp")


def tiff(folder: Path) -> Format:
    return _picture(folder, pixels(12, 10, 3), "tif", compression="tiff_lzw")


def webp(folder: Path) -> Format:
    return _picture(folder, pixels(12, 10, 3), "webp")


def ppm(folder: Path) -> Format:
    return _picture(folder, pixels(12, 10, 3), "ppm")


def exported_parquet(folder: Path) -> Format:
    path = folder / "set.parquet"
    make_distilled(soft=True).export_parquet(path)
    return Format(path, lambda: DistilledData.from_parquet(path))


def parquet_set(folder: Path) -> Format:
    """Read by the library ``datasets``, which is slow."""
    table = pa.table({"image": [{"bytes": png_bytes(), "path": None}] * 20, "label": list(LABELS)})
    kinds = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["a", "b"]}}
    path = folder / "set.parquet"
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": kinds}})})
    pq.write_table(table, path)
    return Format(path, lambda: load_data(path, cache=folder / "cache"))


def png_bytes() -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels(6, 6)).save(out, "PNG")
    return out.getvalue()


def _listing(folder: Path, name: str, line: str, head: str = "") -> Format:
    """Pictures in a folder and a table beside them."""
    for at in range(8):
        Image.fromarray(pixels(6, 6)).save(folder / f"{at}.png")
    path = folder / name
    path.write_text(head + "".join(line.format(at, "ab"[at % 2]) for at in range(8)))
    return Format(path, lambda: load_data(folder))


def metadata_csv(folder: Path) -> Format:
    return _listing(folder, "metadata.csv", "{}.png,{}\n", "file_name,label\n")


def metadata_jsonl(folder: Path) -> Format:
    return _listing(folder, "metadata.jsonl", '{{"file_name": "{}.png", "label": "{}"}}\n')


def pixel_csv(folder: Path) -> Format:
    path = folder / "pixels.csv"
    rows = [f"{at % 2}," + ",".join(map(str, pixels(16) + at % 3)) for at in range(12)]
    path.write_text("\n".join(["label," + ",".join(f"pixel{at}" for at in range(16)), *rows]) + "\n")
    return Format(path, lambda: load_data(path))


def matlab(folder: Path) -> Format:
    path = folder / "train.mat"
    savemat(path, {"X": pixels(4, 4, 3, 20), "y": LABELS[:, None]})
    return Format(path, lambda: load_data(path))


def matlab_deflated(folder: Path) -> Format:
    path = folder / "train.mat"
    savemat(path, {"X": pixels(4, 4, 3, 20), "y": LABELS[:, None]}, do_compression=True)
    return Format(path, lambda: load_data(path))


def cifar_binary(folder: Path) -> Format:
    path = folder / "data_batch_1.bin"
    records = np.concatenate([LABELS[:, None].astype(np.uint8), pixels(20, 3072)], 1)
    path.write_bytes(records.tobytes())
    return Format(path, lambda: load_data(folder))


def saved_table(folder: Path) -> Format:
    """What ``save_to_disk`` writes."""
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = {"image": [{"bytes": png_bytes(), "path": None}] * 20, "label": list(LABELS)}
    datasets.Dataset.from_dict(rows, features=kinds).save_to_disk(folder / "table")
    return Format(next((folder / "table").glob("*.arrow")), lambda: load_data(folder / "table"))


def _exported(folder: Path, name: str) -> Format:
    out = folder / "out"
    make_distilled(soft=True).export_folder(out)
    return Format(next(out.rglob(name)), lambda: DistilledData.from_folder(out))


def exported_picture(folder: Path) -> Format:
    return _exported(folder, "00003.png")


def exported_facts(folder: Path) -> Format:
    return _exported(folder, "export.json")


def exported_rest(folder: Path) -> Format:
    return _exported(folder, "export.safetensors")


def _record(make: Callable[[Path], test_records.Case]) -> Callable[[Path], Format]:
    return lambda folder: Format(*make(folder))


FORMATS: dict[str, Callable[[Path], Format]] = {
    **{
        make.__name__: make
        for make in (
            idx_images,
            idx_labels,
            idx_gz,
            npz,
            npz_deflated,
            png,
            png_16,
            png_palette,
            jpeg,
            gif,
            bmp,
            tiff,
            webp,
            ppm,
            metadata_csv,
            metadata_jsonl,
            pixel_csv,
            exported_parquet,
            exported_picture,
            exported_facts,
            exported_rest,
            matlab,
            matlab_deflated,
            cifar_binary,
            saved_table,
            parquet_set,
        )
    },
    **{f"record_{make.__name__}": _record(make) for make in test_records.KINDS},
}
