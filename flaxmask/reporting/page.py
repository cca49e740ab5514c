"""`report.html`: one file that opens from disk and asks no network for anything."""

import base64
import hashlib
import html
import json
import re
import string
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from flaxmask.reporting.table import Table

_EXPLORER = """<h2>What the trained models attend to</h2>
<div id="choices">
<label>row <select id="cell"></select></label>
<label>example <select id="example"></select></label>
<label>attention <select id="map"></select></label>
<label>head <select id="head"></select></label>
</div>
<div id="said"></div>
<div class="wide"><table id="weights"><thead></thead><tbody></tbody></table></div>
<script type="application/json" id="attended">{data}</script>
"""


def page(
    title: str,
    tables: Sequence[Table],
    pictures: Mapping[str, Path],
    attended: Mapping[str, Any],
    audits: Mapping[str, tuple[str, Path | None]],
    lines: Sequence[dict[str, Any]],
    config: Mapping[str, Any],
) -> str:
    """The whole page.

    Args:
      title: of the run.
      tables: in their order.
      pictures: PNGs by what they show.
      attended: by row, see `attended.attended`.
      audits: by row and seed, what the audit says and its picture.
      lines: of `results.jsonl`.
      config: of every row.
    """
    template = string.Template(resources.files("flaxmask.reporting").joinpath("page.html").read_text(encoding="utf-8"))
    origins = [line["provenance"] for line in lines]
    return template.substitute(
        policy=_policy(template),
        title=html.escape(title),
        heading=_text(title),
        tables="".join(_table(table) for table in tables),
        figures="".join(_figure(said, path) for said, path in pictures.items()),
        explorer=_EXPLORER.format(data=_json(attended)) if attended else "",
        audits=_audits(audits),
        commands=html.escape("\n".join(dict.fromkeys(f"python {of['command']}" for of in origins))),
        provenance=_provenance(lines),
        config=html.escape(json.dumps(config, indent=1)),
    )


def _policy(template: string.Template) -> str:
    """What a browser may do for the page: run its one script, whose hash this is, and ask for nothing."""
    script = string.Template(template.template.split("<script>")[1].split("</script>")[0]).substitute()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def _table(table: Table) -> str:
    notes = "".join(f"<li>{_text(note)}</li>\n" for note in table.notes)
    return f'<h2>{_text(table.title)}</h2>\n{_grid(table)}<ul class="notes">{notes}</ul>\n'


def _text(said: str) -> str:
    """Escaped, with what stands between backticks as code.

    >>> _text("`a < b` & `c")
    '<code>a &lt; b</code> &amp; `c'
    """
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(said))


def _grid(table: Table) -> str:
    plain = lambda cell: f"<td>{html.escape(cell)}</td>"
    bold = lambda cell: f"<td><b>{html.escape(cell)}</b></td>"
    head = "".join(f'<th scope="col"><button>{html.escape(cell)}</button></th>' for cell in table.head)
    body = "".join(f"<tr>{''.join(row)}</tr>\n" for row in table.marked(plain, bold))
    whole = f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody>"
    return f'<div class="wide"><table class="results">{whole}</table></div>\n'


def _figure(said: str, path: Path) -> str:
    source = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    alt, caption = html.escape(said), _text(said)
    return f'<figure><img alt="{alt}" src="{source}"><figcaption>{caption}</figcaption></figure>\n'


def _audits(audits: Mapping[str, tuple[str, Path | None]]) -> str:
    shown = ""
    for name, (text, picture) in audits.items():
        drawn = _figure(f"audit of {name}, scores made flat", picture) if picture else ""
        shown += f"<details><summary>{html.escape(name)}</summary><pre>{html.escape(text)}</pre>{drawn}</details>\n"
    return f"<h2>What the audit found</h2>\n{shown}" if shown else ""


def _provenance(lines: Sequence[dict[str, Any]]) -> str:
    head = ("row", "seed", "commit", "started", "seconds", "devices", "versions")
    rows = []
    for line in lines:
        of = line["provenance"]
        versions = ", ".join(f"{name} {version}" for name, version in of["versions"].items())
        commit = f"{of['git'][:12] or 'unknown'}{' with changes' if of['dirty'] else ''}"
        cells = [line["row"], line["seed"], commit, of.get("started", ""), f"{of.get('seconds', 0):.0f}"]
        rows.append([str(cell) for cell in (*cells, "; ".join(of["devices"]), versions)])
    return _grid(Table("", head, tuple(map(tuple, rows))))


def _json(value: Any) -> str:
    """As the text of a script element, which `</script>` would end, and `<!--<script>` would make endless."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
