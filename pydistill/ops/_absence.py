"""Why the extension is not in use, and what mends it: from its build's record and from what is here now."""

import importlib.metadata
import json
import shlex
import sysconfig
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pydistill
from pydistill import toolchain

SLOWER = "plain torch is used, about half as fast"


def not_built() -> str:
    """Why there is no extension, in a sentence that ends with the commands that build it."""
    here = "" if toolchain.missing_for_cpu() else "everything needed is here now: "
    return f"the extension is not built: {_cause(build_record())}; {here}{_mend()} ({SLOWER})"


def not_loading(torch: str, error: ImportError) -> str:
    """What to say of an extension that is there but fails to load under this version of torch."""
    built = (build_record() or {}).get("torch")
    against = f" (it was built against torch {built})" if built and built != torch else ""
    return (
        f"the extension is there but does not load under torch {torch}{against}: {error}; "
        f"rebuild it: {_mend()} ({SLOWER})"
    )


def not_for(device: str, backends: tuple[str, ...]) -> str:
    """What to say of an extension that has no kernels for a type of device."""
    missing = toolchain.missing_for_cuda() if device == "cuda" else []
    mend = (
        f"to build them this is missing: {'; '.join(missing)}"
        if missing
        else f"rebuild it: {_mend('PYDISTILL_BUILD=cuda ')}"
    )
    return f"the extension has kernels for {' and '.join(backends)}, none for {device}; {mend} ({SLOWER})"


def build_record() -> dict[str, Any] | None:
    """What ``setup.py`` kept of the build; None where nothing was built, or it cannot be read."""
    try:
        found = json.loads((_package() / "_build.json").read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _cause(record: dict[str, Any] | None) -> str:
    if record is None:
        return "these sources have not been built"
    if record.get("built"):
        found, expected = record.get("suffix"), sysconfig.get_config_var("EXT_SUFFIX")
        if found == expected:
            return f"_C{expected} was built and is gone"
        return f"it was built for another Python (_C{found}; this one looks for _C{expected})"
    if record.get("asked") == "none":
        return "it was left out as asked for (PYDISTILL_BUILD=none)"
    return (
        f"when pydistill was installed this was missing: {'; '.join(record.get('missing') or ['nothing'])}"
    )


def _mend(setting: str = "") -> str:
    """What is still to be installed, then the build, under an environment variable's ``setting``."""
    missing = toolchain.missing_for_cpu()
    packages = toolchain.missing_packages()
    system = [each for each in missing if each not in packages]
    parts = []
    if system:
        compiler = f", for example {toolchain.INSTALL_COMPILER}" if toolchain.compiler() is None else ""
        parts.append(f"install {'; '.join(system)}{compiler}")
    if packages:
        parts.append(f"`{toolchain.INSTALL_REQUIREMENTS}` (missing: {', '.join(packages)})")
    parts.append(f"`{setting}pip install --no-build-isolation {_source()}`")
    return ", then ".join(parts)


def _source() -> str:
    """What to give to pip: what this was installed from where that is still there, else the name."""
    try:
        text = importlib.metadata.distribution("pydistill").read_text("direct_url.json")
        origin = json.loads(text or "{}")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        origin = {}
    checkout = _package().parent
    if (checkout / "setup.py").is_file():
        return f"--editable {shlex.quote(str(checkout))}"
    path = Path(unquote(urlparse(str(origin.get("url", ""))).path))
    again = "--force-reinstall --no-deps"
    if origin and path.suffix != ".whl" and path.exists():
        return f"{again} {shlex.quote(str(path))}"
    return f"{again} --no-binary pydistill pydistill"


def _package() -> Path:
    return Path(pydistill.__path__[0])
