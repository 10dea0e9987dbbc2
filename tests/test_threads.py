"""What idle threads do, as it is told."""

import pytest

from pydistill import about, threads


@pytest.mark.parametrize(
    ("given", "found"), [(None, "spin"), ("ACTIVE", "spin"), ("PASSIVE", "sleep"), ("passive", "sleep")]
)
def test_what_idle_threads_do_is_told(monkeypatch, given, found):
    if given is None:
        monkeypatch.delenv(threads.VARIABLE, raising=False)
    else:
        monkeypatch.setenv(threads.VARIABLE, given)
    assert about.installation()["idle threads"] == found
