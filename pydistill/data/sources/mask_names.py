"""Files beside masks that name their values."""

import json
import re
from pathlib import Path

from pydistill.data.sources.inside import own_folder, read_inside
from pydistill.errors import DataError

_LISTS = ("classes.txt", "class_names.txt", "labels.txt", "label_names.txt", "names.txt")
_MAPPINGS = ("id2label.json", "labels.json", "classes.json")
_MOST = 65_536
_NUMBERED = re.compile(r"(\d+)\s*[:,;\t ]\s*(\S.*)")


def names_beside(folder: Path | None) -> tuple[dict[int, str] | None, tuple[str, ...]]:
    """Names of mask values from a file in ``folder``, and a note that says which; None where there is none.

    ``id2label.json`` holds an object of value to name; ``classes.txt`` a name a line, which may begin with
    its value.

    Raises:
        DataError: Such a file cannot be understood.
    """
    for name in (*_MAPPINGS, *_LISTS) if folder is not None else ():
        assert folder is not None
        path = folder / name
        if path.is_file():
            content = read_inside(path.absolute(), [own_folder(folder)])
            found = _mapping(content, path) if name in _MAPPINGS else _list(content, path)
            if found:
                return found, (f"class names are those of {name!r}",)
    return None, ()


def _mapping(content: bytes, path: Path) -> dict[int, str] | None:
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    if isinstance(whole, list) and all(isinstance(each, str) for each in whole):
        return dict(enumerate(whole))
    if not isinstance(whole, dict) or not all(isinstance(name, str) for name in whole.values()):
        return None
    if not all(value.isdecimal() and int(value) < _MOST for value in whole):
        return None
    return {int(value): name for value, name in whole.items()}


def _list(content: bytes, path: Path) -> dict[int, str] | None:
    try:
        lines = [line.strip() for line in content.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read as text: {error}") from error
    lines = [line for line in lines if line]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if lines and all(numbered):
        return {int(match[1]): match[2] for match in numbered if match is not None}
    return dict(enumerate(lines)) if len(set(lines)) == len(lines) else None
