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
from benchmarks.methods.equal_scores import BESIDE, CLASSES, STORED, accuracies, all_of
from pydistill.data import RealData
from pydistill.engine.method import Method, methods
from pydistill.evaluation.statistics import Summary, difference, summarise

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
        sets = row["sets"]
        if not sets:
            continue
        facts: dict[str, Any] = {"row": name, **accuracy_of(all_of(sets))}
        facts["sets"] = len(sets)
        for key in ("iterations", "distilling seconds"):
            facts[key] = sorted(each[key] for each in sets)[len(sets) // 2]
        against = {"random": f"random factor={factor(name)}", "dm": "dm"}
        for label, other in against.items():
            theirs = kept.get(other, {}).get("sets", [])
            if other != name and not baseline(name):
                facts[f"less {label}"] = gap(all_of(sets), all_of(theirs))
        stored = (
            None if baseline(name) else as_stored(sets, kept.get(against["random"], {}).get("sets", []))
        )
        facts["as stored"] = stored
        own = STORED if stored else CLASSES
        inside = [value for each in sets for value in accuracies(each, own, "values in features") or []]
        facts["mean in features"] = summarise(inside).mean if inside else None
        facts["as learned"] = {use: used(sets, use) for use in sets[0]["as learned"]}
        found.append(facts)
    return found


def accuracy_of(sets: list[list[float]]) -> dict[str, Any]:
    """Mean, spread and number of all values; None where there is none."""
    if not sets:
        return {"mean": None, "std": None, "n": 0, "networks a set": 0}
    mean = summarise([value for values in sets for value in values])
    return {"mean": mean.mean, "std": spread(mean), "n": mean.n, "networks a set": len(sets[0])}


def gap(ours: list[list[float]], theirs: list[list[float]]) -> dict[str, Any] | None:
    """A difference, its interval and what doubt there is; None where a side was not measured."""
    return difference(ours, theirs).record() if ours and theirs else None


def as_stored(sets: list[dict[str, Any]], random: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Sets as they are stored, and random selections in the same use; None where that is class labels."""
    own = all_of(sets, STORED)
    if not own:
        return None
    facts = sets[0].get("regimes", {}).get(STORED, {})
    beside = facts.get(BESIDE)
    theirs: list[list[float]] = []
    if isinstance(beside, list):
        theirs = [[value] for each in sets for value in each["regimes"][STORED][BESIDE]]
    elif beside is not None:
        theirs = all_of(random, beside)
    return {
        **accuracy_of(own),
        "targets": facts.get("targets", "learned targets"),
        "loss": facts.get("loss"),
        "random": accuracy_of(theirs),
        "less random": gap(own, theirs),
    }


def used(sets: list[dict[str, Any]], use: str) -> dict[str, Any]:
    """Sets in one use, and how far they are from random selections in the same use."""
    own = [each["as learned"][use]["distilled"] for each in sets]
    drawn = [[value] for each in sets for value in each["as learned"][use]["random"]]
    mean = summarise([value for values in own for value in values])
    random = summarise([value for values in drawn for value in values])
    return {
        "mean": mean.mean,
        "std": spread(mean),
        "n": mean.n,
        "random": random.mean,
        "random std": spread(random),
        "less random": difference(own, drawn).record(),
    }


def use_text(item: tuple[str, dict[str, Any]]) -> str:
    """One use of a row's sets, in words."""
    use, found = item
    own, random = ((found[mean], found[std]) for mean, std in (("mean", "std"), ("random", "random std")))
    return f"{use}: {percent(*own)}, random {percent(*random)}"


def percent(mean: float | None, std: float | None) -> str:
    """A mean with what it varies by, where there is more than one value; a dash where there is none."""
    if mean is None:
        return "-"
    return f"{100 * mean:.1f}" + ("" if std is None else f" ± {100 * std:.1f}")


def spread(summary: Summary) -> float | None:
    """The standard deviation; None of a single value."""
    return summary.std if summary.n > 1 else None


def stored_text(found: dict[str, Any] | None) -> tuple[str, str]:
    """Accuracy as stored, and the distance to random selections in that use."""
    if found is None:
        return "-", "-"
    random = found["random"]
    drawn = "" if random["mean"] is None else f" (random {percent(random['mean'], random['std'])})"
    told = found["targets"] + ("" if found["loss"] is None else f", {found['loss']}")
    return f"{percent(found['mean'], found['std'])}; {told}", gap_text(found["less random"]) + drawn


def show(content: dict[str, Any], console: Console) -> None:
    """The table, on the console."""
    columns = ("method", *USES, "in features", "as learned", "steps", "s", "n")
    console.print(head(content))
    shown = Table(*columns)
    for facts in table(content):
        shown.add_row(
            facts["row"],
            *uses(facts),
            "-" if facts["mean in features"] is None else f"{100 * facts['mean in features']:.1f}",
            "\n".join(map(use_text, facts["as learned"].items())) or "-",
            str(facts["iterations"]),
            f"{facts['distilling seconds']:.0f}",
            f"{facts['sets']} x {facts['networks a set']}",
        )
    console.print(shown)


USES = ("with class labels", "less random", "less dm", "as stored", "less random in that use")
"""Columns: every row under the same labels and loss first, then each set in its own use."""


def uses(facts: dict[str, Any]) -> tuple[str, ...]:
    """A row's cells under :data:`USES`."""
    return (
        percent(facts["mean"], facts["std"]),
        gap_text(facts.get("less random")),
        gap_text(facts.get("less dm")),
        *stored_text(facts["as stored"]),
    )


def head(content: dict[str, Any]) -> str:
    """On what the rows were made: the processor's level, and whether it multiplies bfloat16."""
    made: dict[str, int] = {}
    for row in content["rows"].values():
        for each in row["sets"]:
            found = each.get("processor")
            name = f"{found['level']}, bfloat16 {found['bfloat16']}" if found else "a level not recorded"
            made[name] = made.get(name, 0) + 1
    told = "; ".join(f"{name} ({count} sets)" for name, count in made.items())
    mixed = " Rows of several levels do not compare in time." if len(made) > 1 else ""
    return f"Processor: {told}.{mixed}"


# ---- beside what was published ------------------------------------------------------------------------


def markdown(content: dict[str, Any], data: RealData, ipc: int, network: str) -> str:
    """The table as text, rows from the best down, random selection last."""
    lines = [
        head(content),
        "",
        "| method | with class labels | less random | less `dm` | as stored | less random in that use "
        "| as learned | before the first step, s | steps | published | what differs there |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for facts in sorted(table(content), key=rank):
        sets = content["rows"][facts["row"]]["sets"]
        prepared = sorted(each.get("preparing seconds", 0.0) for each in sets)[len(sets) // 2]
        known = published(data, ipc, facts["row"])
        cells = [
            label(facts["row"]),
            *accuracy(facts),
            gap_text(facts.get("less dm")),
            *stored_text(facts["as stored"]),
            "; ".join(map(use_text, facts["as learned"].items())) or "-",
            f"{prepared:.0f}",
            f"{facts['iterations']:,}",
            "-" if known is None else f"{known['value']:.1f} [{known['source']}]",
            "-" if known is None else differing(known, sets[0], data, network),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def beside(contents: Mapping[str, dict[str, Any]]) -> str:
    """Several results in one table: accuracy with class labels, and how far from random selection."""
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
    return facts["row"].startswith("random"), -(facts["mean"] or 0.0)


def label(row: str) -> str:
    """A row's name; of a random selection without the factor that it has unless told."""
    return f"`{row.removesuffix(' factor=1') if baseline(row) else row}`"


def accuracy(facts: dict[str, Any] | None) -> tuple[str, str]:
    """Accuracy and distance to random selection, as text; dashes where a result lacks the row."""
    if facts is None or facts["mean"] is None:
        return "-", "-"
    return f"{percent(facts['mean'], facts['std'])} ({facts['n']})", gap_text(facts.get("less random"))


def gap_text(found: dict[str, Any] | None) -> str:
    """A difference's interval, in points; too few networks give none worth the name."""
    if found is None:
        return "-"
    interval = f"{100 * found['low']:+.1f} to {100 * found['high']:+.1f}"
    few = found["doubt"] if found["doubt"] and "too few" in found["doubt"] else None
    return f"{interval}, {few}" if few else interval


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
