"""All files of a run's report, from `config.json` and `results.jsonl` alone."""

import base64
import html
import json
from pathlib import Path

from flaxmask.reporting import counts, figures, results
from flaxmask.reporting.table import Table
from flaxmask.reporting.tables import make_csv, make_tables

FIGURES = (
    *("real_tokens_per_second", "per", "accuracy", "finetuned_accuracy", "span_f1", "bleu", "chrf"),
    "packing_efficiency",
)
"""Metrics that are drawn where a table shows them."""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
table {{ border-collapse: collapse }}
th, td {{ padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #ccc }}
th:first-child, td:first-child {{ text-align: left }}
img {{ max-width: 100% }}
pre {{ overflow: auto; background: #f6f6f6; padding: 1rem }}
</style></head><body>
<h1>{title}</h1>
{tables}
{images}
<h2>Configuration</h2><pre>{config}</pre>
<h2>Provenance</h2><pre>{provenance}</pre>
</body></html>
"""


def write(directory: Path) -> list[Table]:
    """Write `table.md`, `table.tex`, `table.csv`, `figures/*.png` and `report.html`; return the tables.

    Raises:
      Refused: the folder holds no run.
    """
    settings = results.read_settings(directory)
    lines = results.read(directory)
    kept = [results.Kept(directory, line["row"], line["seed"]) for line in lines]
    counted = {(k.row, k.seed): counts.read(k.counts) for k in kept}
    tables = make_tables(settings, lines, {cell: of for cell, of in counted.items() if of})
    results.write_whole(directory / "table.md", "\n".join(table.markdown() for table in tables))
    results.write_whole(directory / "table.tex", "\n".join(table.latex() for table in tables))
    results.write_whole(directory / "table.csv", make_csv(settings, lines))
    pictures = []
    for number, part in enumerate(settings["parts"], start=1):
        own = [line for line in lines if line["row"] in part["rows"]]
        shown = [name for name in FIGURES if name in part["columns"] and any(name in line["metrics"] for line in own)]
        if shown:
            which = f"table_{number}_" if len(tables) > 1 else ""
            pictures.append(directory / "figures" / f"{which}{'_and_'.join(shown)}.png")
            figures.save(figures.bars(part["rows"], own, shown), pictures[-1])
    curves = {(k.row, k.seed): json.loads(k.curve.read_text()) for k in kept if k.curve.exists()}
    if curves:
        pictures.append(directory / "figures" / "learning_curves.png")
        figures.save(figures.curves(curves), pictures[-1])
    results.write_whole(directory / "report.html", _page(tables, settings, lines, pictures))
    return tables


def _page(tables: list[Table], settings: dict, lines: list[dict], pictures: list[Path]) -> str:
    """One file that opens from disk, with the figures inside."""
    code = lambda value: html.escape(json.dumps(value, indent=1))
    image = lambda path: base64.b64encode(path.read_bytes()).decode()
    shown = [f"<h2>{html.escape(table.title)}</h2>\n{table.html()}" for table in tables]
    return _PAGE.format(
        title=html.escape(settings["title"]),
        tables="".join(shown),
        images="".join(f'<img alt="{path.stem}" src="data:image/png;base64,{image(path)}">' for path in pictures),
        config=code(settings["rows"]),
        provenance=code([{key: line[key] for key in ("row", "seed", "provenance")} for line in lines]),
    )
