"""All files of a report, from what runs left in their folders alone."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from flaxmask import foreign
from flaxmask.names import Refused
from flaxmask.reporting import counts, figures, kinds, quality, results
from flaxmask.reporting.page import page
from flaxmask.reporting.table import Table
from flaxmask.reporting.tables import make_csv, make_tables

FIGURES = (
    *("real_tokens_per_second", "real_token_fraction", "per", "accuracy", "finetuned_accuracy", "span_f1"),
    *("tokenised_bleu", "bleu", "chrf", "packing_efficiency"),
)
"""Metrics that are drawn where a table shows them; at most `figures.PANELS` of them."""


ROWS = 14
"""Of which quality is drawn by length; more could not be told apart."""


class Found(NamedTuple):
    """A run, or several of the same settings: rows or seeds that were computed in different places.

    Attributes:
      settings: of `config.json`.
      lines: of `results.jsonl`.
      kept: for each line, where the other files of its cell lie.
      folder: the end of its first folder's path that tells it from other runs of the experiment; "" where it need not.
    """

    settings: dict[str, Any]
    lines: list[dict[str, Any]]
    kept: list[results.Kept]
    folder: str = ""

    @property
    def name(self) -> str:
        """Among several runs."""
        return f"{self.settings['experiment']}{self.folder and f' ({self.folder})'}"

    @property
    def first(self) -> Iterator[results.Kept]:
        """The first seed of each row."""
        seeds = {kept.row: kept for kept in sorted(self.kept, key=lambda kept: -kept.seed)}
        return (seeds[row] for row in self.settings["rows"] if row in seeds)


def write(directory: Path) -> list[Table]:
    """Write `table.md`, `table.tex`, `table.csv`, `figures/` and `report.html` of a run; return the tables.

    Raises:
      Refused: the folder holds no run.
    """
    return write_joined([directory], directory)


def write_joined(directories: Sequence[Path], out: Path) -> list[Table]:
    """The same of several runs together; cells of equal settings stand in one table.

    Raises:
      Refused: a folder that holds no run, or what no run leaves; a cell that two of them hold with other results; or a
        run where the report is to be written.
    """
    if out not in directories and (out / results.SETTINGS).exists():
        raise Refused(f"{out} holds a run of its own: name another folder for the report with --workdir")
    for directory in dict.fromkeys([*directories, out]):
        results.contain(directory)
    found = join(directories)
    filled, pictures = [table for run in found for table in tables(run)], {}
    for run in found:
        which = [run.settings["experiment"], *run.folder.split("/")] if len(found) > 1 else []
        for name, (said, figure) in _figures(run).items():
            path = out / "figures" / f"{'_'.join(filter(None, [*which, name]))}.png"
            figures.save(figure, path)
            pictures[f"{run.name}: {said}" if len(found) > 1 else said] = path
    results.write_whole(out / "table.md", "\n".join(table.markdown() for table in filled))
    results.write_whole(out / "table.tex", "\n".join(table.latex() for table in filled))
    results.write_whole(out / "table.csv", make_csv([(run.settings, run.lines, run.folder) for run in found]))
    results.write_whole(out / "report.html", _page(found, filled, pictures))
    return filled


def tables(run: Found) -> list[Table]:
    """The tables of a run, with their tests."""
    counted = {(k.row, k.seed): counts.read(k.counts) for k in run.kept}
    made = make_tables(run.settings, run.lines, {cell: of for cell, of in counted.items() if of})
    return [dataclasses.replace(one, title=f"{one.title} ({run.folder})") if run.folder else one for one in made]


def join(directories: Sequence[Path]) -> list[Found]:
    """Runs in the order given, those of equal settings together."""
    found: list[Found] = []
    folders: list[Path] = []
    for directory in directories:
        settings, lines = results.read_settings(directory, kinds.Shown), results.read(directory, kinds.Reported)
        kinds.check_settings(settings, directory / results.SETTINGS)
        computed = {key: settings.get(key) for key in results.COMPUTED}
        same = [run for run in found if {key: run.settings.get(key) for key in results.COMPUTED} == computed]
        if not same:
            found.append(Found(settings, [], []))
            folders.append(directory.resolve())
        run = same[0] if same else found[-1]
        for line in lines:
            twice = [i for i, old in enumerate(run.lines) if (old["row"], old["seed"]) == (line["row"], line["seed"])]
            if twice and run.lines[twice[0]] != line:
                raise Refused(
                    f"{line['row']}, seed {line['seed']} has results in {run.kept[twice[0]].directory} and others in "
                    f"{directory}: leave one of these folders out"
                )
            if not twice:
                run.lines.append(line)
                run.kept.append(results.Kept(directory, line["row"], line["seed"]))
    whose = [run.settings["experiment"] for run in found]
    alike = lambda name: [folder for folder, of in zip(folders, whose, strict=True) if of == name]
    apart = [_apart(folder, alike(name)) for folder, name in zip(folders, whose, strict=True)]
    return [run._replace(folder=folder) for run, folder in zip(found, apart, strict=True)]


def _apart(folder: Path, folders: Sequence[Path]) -> str:
    """The shortest end of a folder's path that no other of the folders has; "" where there is no other.

    >>> a, b, c = Path("/a/one"), Path("/a/two"), Path("/b/two")
    >>> _apart(a, [a]), _apart(a, [a, b]), _apart(b, [b, c])
    ('', 'one', 'a/two')
    """
    end = lambda path, length: path.parts[-length:]
    others = [path for path in folders if path != folder]
    length = 1
    while others and any(end(other, length) == end(folder, length) for other in others):
        length += 1
    return "/".join(end(folder, length)) if others else ""


def _figures(run: Found) -> dict[str, tuple[str, Figure]]:
    """Names, captions and figures."""
    found: dict[str, tuple[str, Figure]] = {}
    parts = run.settings["parts"]
    for number, part in enumerate(parts, start=1):
        own = [line for line in run.lines if line["row"] in part["rows"]]
        shown = [name for name in FIGURES if name in part["columns"] and any(name in line["metrics"] for line in own)]
        shown = shown[: figures.PANELS]
        which = f"table_{number}_" if len(parts) > 1 else ""
        if any(figures.complete(line, shown) for line in own if shown):
            drawn = figures.bars(part["rows"], own, shown)
            found[f"{which}{'_and_'.join(shown)}"] = (part["title"], drawn)
        if by_length := _by_length(run, part):
            found[f"{which}by_length"] = by_length
        if part.get("front") and any(figures.complete(line, part["front"]) for line in own):
            drawn = quality.front(part["rows"], own, *part["front"])
            said = f"{part['title']}; joined: rows that no other beats in both"
            found[f"{which}front_of_{'_and_'.join(part['front'])}"] = (said, drawn)
    curves = {(k.row, k.seed): points for k in run.kept if (points := kinds.read(k.curve, kinds.Points))}
    if all(figures.shared(curves)):
        found["learning_curves"] = ("Learning curves; bands are one deviation over seeds", figures.curves(curves))
    of = lambda name, kind: {k.row: found for k in run.first if (found := kinds.read(getattr(k, name), kind))}
    if rows := of("lengths", kinds.Lengths):
        found["lengths"] = ("What examples of each length cost in one epoch", figures.lengths(rows))
    if rows := of("attention", kinds.Attended):
        formulas = {row: run.settings["rows"][row].get("mask", {}) for row in rows}
        found["masks"] = (
            "What the masks let one example see, blue; each mask once, with the rows that have it",
            figures.masks(rows, formulas),
        )
        said = "Attention of the trained models, first head; hatched: hidden by the mask"
        found["attention"] = (said, figures.heat_maps(rows))
    return found


def _by_length(run: Found, part: dict[str, Any]) -> tuple[str, Figure] | None:
    """The first score that a table shows, by the length of the examples; of at most `ROWS` rows."""
    counted = {(k.row, k.seed): counts.read(k.counts) for k in run.kept if k.row in part["rows"]}
    known = {cell: of for cell, of in counted.items() if "length" in of}
    fits = lambda name: all(name in of and len(of[name]) == len(of["length"]) for of in known.values())
    names = [name for name in quality.BY_LENGTH if name in part["columns"] and fits(name)]
    rows = [row for row in part["rows"] if any(row == other for other, _ in known)][:ROWS]
    if not names or not rows:
        return None
    longest = {run.settings["rows"][row].get("data", {}).get("train_longest") for row in rows}
    of_rows = {row: [of for (other, _), of in known.items() if other == row] for row in rows}
    drawn = quality.by_length(of_rows, names[0], longest.pop() if len(longest) == 1 else None)
    said = f"{part['title']}: by length; bands are one deviation over seeds, or over the examples of one"
    return said, drawn


def _page(found: Sequence[Found], filled: Sequence[Table], pictures: dict[str, Path]) -> str:
    several = len(found) > 1
    name = lambda run, row: f"{run.name}: {row}" if several else row
    attended, audits = {}, {}
    for run in found:
        attended |= {name(run, k.row): of for k in run.first if (of := kinds.read(k.attention, kinds.Attended))}
        for k in run.kept:
            text, drawn = (k.audit.with_name(k.audit.name + ending) for ending in (".txt", ".png"))
            if text.exists():
                picture = drawn if drawn.exists() and k in run.first else None
                audits[f"{name(run, k.row)}, seed {k.seed}"] = (foreign.read_text(text), picture)
    return page(
        "; ".join(dict.fromkeys(run.settings["title"] for run in found)),
        filled,
        pictures,
        attended,
        audits,
        [line | {"row": name(run, line["row"])} for run in found for line in run.lines],
        {name(run, row): config for run in found for row, config in run.settings["rows"].items()},
    )
