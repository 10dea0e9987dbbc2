"""Tables of methods side by side: on the console and as text, with what was published beside it.

    python -m benchmarks.methods.equal_table NAME [NAME ...]

prints one table of the results of these names in ``benchmarks/results/equal_time``.
"""

import argparse
import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import measure
from pydistill.data import RealData
from pydistill.evaluate.statistics import Summary, difference, summarise
from pydistill.method import Method, methods

WHOLE = "whole"
"""The row of networks trained on all real images."""

RESULTS = measure.ROOT / "benchmarks" / "results" / "equal_time"
PUBLISHED = measure.ROOT / "benchmarks" / "published.json"


def options(row: str) -> dict[str, Any]:
    """``dm factor=2 learning_rate=3`` to the options after the name."""
    found: dict[str, Any] = {}
    for part in row.split()[1:]:
        name, _, value = part.partition("=")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def kind(row: str) -> type[Method]:
    """The method of a row; all real images go with a random selection, which says for how many steps."""
    return methods()["random" if row == WHOLE else row.split()[0]]


def baseline(row: str) -> bool:
    """Whether nothing is distilled in a row."""
    return row == WHOLE or row.startswith("random")


def factor(row: str) -> int:
    """Views along each side of a row's stored images: as given, else its method's own default."""
    own = getattr(kind(row)(), "factor", 1)
    return int(options(row).get("factor", own))


def table(content: dict[str, Any]) -> list[dict[str, Any]]:
    """A summary a row, with its difference to random selection at the same factor and to ``dm``."""
    found = []
    kept = content["rows"]
    for name, row in kept.items():
        sets = [each["values"] for each in row["sets"]]
        if not sets:
            continue
        mean = summarise([value for values in sets for value in values])
        facts: dict[str, Any] = {"row": name, "mean": mean.mean, "std": spread(mean), "n": mean.n}
        facts["sets"], facts["networks a set"] = len(sets), len(sets[0])
        for key in ("iterations", "distilling seconds"):
            facts[key] = sorted(each[key] for each in row["sets"])[len(sets) // 2]
        against = {"random": f"random factor={factor(name)}", "dm": "dm"}
        for label, other in against.items():
            theirs = [each["values"] for each in kept.get(other, {}).get("sets", [])]
            if other != name and theirs and not baseline(name):
                gap = difference(sets, theirs)
                facts[f"less {label}"] = [gap.mean, gap.low, gap.high]
        inside = [value for each in row["sets"] for value in each["values in features"]]
        facts["mean in features"] = summarise(inside).mean if inside else None
        facts["as learned"] = {use: used(row["sets"], use) for use in row["sets"][0]["as learned"]}
        found.append(facts)
    return found


def used(sets: list[dict[str, Any]], use: str) -> dict[str, Any]:
    """Sets in one use, and how far they are from random selections in the same use."""
    own = [each["as learned"][use]["distilled"] for each in sets]
    drawn = [[value] for each in sets for value in each["as learned"][use]["random"]]
    mean = summarise([value for values in own for value in values])
    gap = difference(own, drawn)
    random = summarise([value for values in drawn for value in values])
    return {
        "mean": mean.mean,
        "std": spread(mean),
        "n": mean.n,
        "random": random.mean,
        "random std": spread(random),
        "less random": [gap.mean, gap.low, gap.high],
    }


def use_text(item: tuple[str, dict[str, Any]]) -> str:
    """One use of a row's sets, in words."""
    use, found = item
    own, random = ((found[mean], found[std]) for mean, std in (("mean", "std"), ("random", "random std")))
    return f"{use}: {percent(*own)}, random {percent(*random)}"


def percent(mean: float, std: float | None) -> str:
    """A mean with what it varies by, where there is more than one value."""
    return f"{100 * mean:.1f}" + ("" if std is None else f" ± {100 * std:.1f}")


def spread(summary: Summary) -> float | None:
    """The standard deviation; None of a single value."""
    return summary.std if summary.n > 1 else None


def show(content: dict[str, Any], console: Console) -> None:
    """The table, on the console."""
    columns = (
        "method",
        "accuracy",
        "less random",
        "less dm",
        "in features",
        "as learned",
        "steps",
        "s",
        "n",
    )
    shown = Table(*columns)
    for facts in table(content):
        gaps = [
            f"{100 * gap[0]:+.1f} ({100 * gap[1]:+.1f}..{100 * gap[2]:+.1f})" if gap else "-"
            for gap in (facts.get("less random"), facts.get("less dm"))
        ]
        shown.add_row(
            facts["row"],
            percent(facts["mean"], facts["std"]),
            *gaps,
            "-" if facts["mean in features"] is None else f"{100 * facts['mean in features']:.1f}",
            "\n".join(map(use_text, facts["as learned"].items())) or "-",
            str(facts["iterations"]),
            f"{facts['distilling seconds']:.0f}",
            f"{facts['sets']} x {facts['networks a set']}",
        )
    console.print(shown)


# ---- beside what was published ------------------------------------------------------------------------


def markdown(content: dict[str, Any], data: RealData, ipc: int, network: str) -> str:
    """The table as text, rows from the best down, random selection last."""
    lines = [
        "| method | accuracy | less random | less `dm` | as learned | before the first step, s | steps "
        "| published | what differs there |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for facts in sorted(table(content), key=rank):
        sets = content["rows"][facts["row"]]["sets"]
        prepared = sorted(each.get("preparing seconds", 0.0) for each in sets)[len(sets) // 2]
        known = published(data, ipc, facts["row"])
        cells = [
            label(facts["row"]),
            *accuracy(facts),
            gap_text(facts.get("less dm")),
            "; ".join(map(use_text, facts["as learned"].items())) or "-",
            f"{prepared:.0f}",
            f"{facts['iterations']:,}",
            "-" if known is None else f"{known['value']:.1f} [{known['source']}]",
            "-" if known is None else differing(known, sets[0], data, network),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def beside(contents: Mapping[str, dict[str, Any]]) -> str:
    """Several results in one table, in the first's order: accuracy, and how far from random selection."""
    tables = {
        name: {facts["row"]: facts for facts in sorted(table(each), key=rank)}
        for name, each in contents.items()
    }
    order = sorted(
        dict.fromkeys(row for rows in tables.values() for row in rows),
        key=lambda row: row.startswith("random"),
    )
    lines = [
        f"| method | {' | '.join(f'{name} | less random' for name in tables)} |",
        f"|{'---|' * (1 + 2 * len(tables))}",
    ]
    for row in order:
        cells = [cell for rows in tables.values() for cell in accuracy(rows.get(row))]
        lines.append(f"| {' | '.join([label(row), *cells])} |")
    return "\n".join(lines) + "\n"


def rank(facts: dict[str, Any]) -> tuple[bool, float]:
    """What rows are sorted by: from the best down, random selection last."""
    return facts["row"].startswith("random"), -facts["mean"]


def label(row: str) -> str:
    """A row's name; of a random selection without the factor that it has unless told."""
    return f"`{row.removesuffix(' factor=1') if baseline(row) else row}`"


def accuracy(facts: dict[str, Any] | None) -> tuple[str, str]:
    """Accuracy and distance to random selection, as text; dashes where a result lacks the row."""
    if facts is None:
        return "-", "-"
    return f"{percent(facts['mean'], facts['std'])} ({facts['n']})", gap_text(facts.get("less random"))


def gap_text(gap: list[float] | None) -> str:
    """A difference's interval, in points."""
    return "-" if gap is None else f"{100 * gap[1]:+.1f} to {100 * gap[2]:+.1f}"


def published(data: RealData, ipc: int, row: str) -> dict[str, Any] | None:
    """What is published of a row's method on data of this name, for so many images a class."""
    everything = json.loads(PUBLISHED.read_text())["figures"]
    name = row.split()[0]
    for figure in everything:
        fits = figure["data"] in data.name.replace("_", "-") and figure["ipc"] == ipc
        if fits and figure["method"] == name and figure["factor"] == factor(row):
            found: dict[str, Any] = figure
            return found
    return None


def differing(known: dict[str, Any], done: dict[str, Any], data: RealData, network: str) -> str:
    """In what the published figure's making differs from ours."""
    ours = {"network": network, "preprocess": data.preprocess.name, "steps": done["iterations"]}
    told = [
        f"{key} {known[key]:,}" if isinstance(known[key], int) else f"{key} {known[key]}"
        for key, value in ours.items()
        if key in known and known[key] != value
    ]
    return "; ".join([*told, *known.get("differs", [])]) or "nothing known"


def main() -> None:
    """Print one table of several results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", nargs="+", help="of a result")
    names = parser.parse_args().name
    print(beside({name: json.loads((RESULTS / f"{name}.json").read_text()) for name in names}), end="")


if __name__ == "__main__":
    main()
