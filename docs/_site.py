"""For the site alone: the README is its first page, published tables are pages, what is no page is not linked."""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\[([^\]]+)\]\(([^)#]+)(#[^)]*)?\)")


def on_files(files, config):
    """README and published tables, with their figures, beside the pages of this folder."""
    files.append(File.generated(config, "index.md", content=(ROOT / "README.md").read_text(encoding="utf-8")))
    for path in sorted((ROOT / "results" / "published").rglob("*")):
        if path.name == "table.md" or path.suffix == ".png":
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links as they are in the repository, made to fit the site."""
    del config
    folder = Path("docs") if page.file.src_uri.count("/") == 0 else Path(page.file.src_uri).parent
    here = Path() if page.file.src_uri == "index.md" else folder

    def fit(match: re.Match) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        if "://" in target:
            return match[0]
        name = (ROOT / here / target).resolve().relative_to(ROOT).as_posix()
        name = name.removeprefix("docs/")
        if files.get_file_from_path(name) is None:
            return text
        up = "../" * page.file.src_uri.count("/")
        return f"[{text}]({up}{name}{anchor})"

    return LINK.sub(fit, markdown)
