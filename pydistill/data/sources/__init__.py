"""The kinds of source a data set can come from, one file each, in the order they are asked."""

from pydistill.data.sources.arrays import Arrays, Npz
from pydistill.data.sources.base import Options, Raw, Source
from pydistill.data.sources.cifar_binary import CifarBinary
from pydistill.data.sources.coco import CocoFolder
from pydistill.data.sources.digits import Digits
from pydistill.data.sources.folders import ImageFolder
from pydistill.data.sources.hub import HubName, LoadedDataset, SavedTables
from pydistill.data.sources.idx import IdxFolder
from pydistill.data.sources.mask_folders import MaskFolder
from pydistill.data.sources.matlab import MatlabFiles
from pydistill.data.sources.parquet import LocalParquet
from pydistill.data.sources.refused import BoxesNotRead, NotRead
from pydistill.data.sources.tabular import Frame, TableFile, TableFolder
from pydistill.data.sources.torch_dataset import TorchDataset

SOURCES: tuple[Source, ...] = (
    Digits(),
    LoadedDataset(),
    TorchDataset(),
    Frame(),
    Arrays(),
    Npz(),
    TableFile(),
    IdxFolder(),
    CifarBinary(),
    SavedTables(),
    LocalParquet(),
    MatlabFiles(),
    CocoFolder(),
    MaskFolder(),
    BoxesNotRead(),
    ImageFolder(),
    TableFolder(),
    NotRead(),
    HubName(),
)

__all__ = ["SOURCES", "Options", "Raw", "Source"]
