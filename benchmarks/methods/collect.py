"""Keep a finished run's figures and picture in benchmarks/results/.

    pydistill distill DATA --method METHOD ... --out FOLDER
    pydistill evaluate FOLDER ...
    python -m benchmarks.methods.collect FOLDER NAME --command "..." --command "..."

The figures are those of FOLDER/report.json, which holds protocol, seeds, every run, machine and versions;
what is added is the commit and the commands.
"""

import argparse
import json
import shutil
from pathlib import Path

from benchmarks import measure
from pydistill.storage.files import write_text

RESULTS = measure.ROOT / "benchmarks" / "results"


def main() -> None:
    """Copy report and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("name", help="of the result, for example dm_cifar10_ipc10")
    parser.add_argument("--command", action="append", required=True, help="what was run; once a command")
    parser.add_argument("--commit", default=measure.commit(), help="of the code that ran (default: now)")
    options = parser.parse_args()
    report = json.loads((options.folder / "report.json").read_text())
    facts = {"commands": options.command, "commit": options.commit}
    write_text(RESULTS / f"{options.name}.json", json.dumps(facts | report, indent=1) + "\n")
    shutil.copyfile(options.folder / "preview.png", RESULTS / f"{options.name}.png")


if __name__ == "__main__":
    main()
