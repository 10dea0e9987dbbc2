from dataclasses import replace

import pytest
import torch

from pydistill import distill
from pydistill.data import DistilledData
from pydistill.data.short import shortage
from pydistill.tasks.base import Groups


def test_shortage_names_every_class_with_what_it_has():
    assert shortage({}, 10, 1) == ""
    assert shortage({"x": 3}, 10, 1) == "class 'x' has 3 of 10 images"
    assert shortage({"x": 3, "y": 5}, 10, 1) == "class 'x' has 3 of 10 images, class 'y' 5 of 10"
    assert shortage({"x": 9}, 3, 2) == "class 'x' has 9 of 12 training images, 4 to a stored one"


def test_a_refusal_names_every_class_that_is_too_small():
    groups = Groups(("a", "b", "c"), tuple(torch.arange(size) for size in (3, 9, 5)))
    with pytest.raises(
        ValueError, match=r"'a' \(3\), 'c' \(5\) have fewer .* at most 3, .*--short-classes"
    ):
        groups.require([6] * 3)
    with pytest.raises(ValueError, match="class 'a' has only 3 training images: ask for at most 3"):
        groups.require([4] * 3)
    with pytest.raises(ValueError, match=r"packed of 4 real ones, .* ask for a smaller factor"):
        groups.require([1] * 3, 4)
    groups.require([3] * 3)
    assert groups.stored([4] * 3) == [3, 4, 4]
    assert groups.stored([4] * 3, packed=4) == [1, 3, 2]


def test_what_is_short_is_kept_with_the_set(tiny, tmp_path):
    members = tiny.task.groups(tiny.train.targets).members
    kept = torch.cat([members[0], members[1][:2], members[2]])
    made = distill(replace(tiny, train=tiny.train.take(kept)), "random", ipc=3, short_classes="keep")
    made.save(tmp_path)
    assert DistilledData.load(tmp_path).provenance == made.provenance
    assert made.provenance.short_classes == {"1": 2}
    assert not distill(tiny, "random", ipc=3, short_classes="keep").provenance.short_classes
