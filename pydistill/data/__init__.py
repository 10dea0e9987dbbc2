"""Data in and distilled data out: loading, preprocessing, the distilled set and its files."""

from pydistill.data.distilled import DistilledData
from pydistill.data.load import load_data
from pydistill.data.preprocess import PREPROCESSES, Preprocess, Standardise, Whiten
from pydistill.data.provenance import Provenance
from pydistill.data.real import RealData, Split

__all__ = [
    "PREPROCESSES",
    "DistilledData",
    "Preprocess",
    "Provenance",
    "RealData",
    "Split",
    "Standardise",
    "Whiten",
    "load_data",
]
