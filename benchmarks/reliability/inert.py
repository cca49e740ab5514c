"""Whether a page of HTML can do anything but what its own one script does."""

import base64
import hashlib
import html.parser
import json
import re

ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "div", "table", "thead", "tbody", "tr", "th", "td"),
    *(
        "button",
        "b",
        "code",
        "ul",
        "li",
        "figure",
        "img",
        "figcaption",
        "details",
        "summary",
        "pre",
        "label",
        "select",
        "script",
    ),
}
"""Tags of our own pages."""


class _Reader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.policy, self._open = "", False

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self._open = tag == "script"
        if self._open:
            self.scripts.append((given, ""))
        if tag not in ALLOWED:
            self.found.append(f"<{tag}>")
        self.found += [
            f"{name} of <{tag}>" for name in given if name.startswith("on") or name in ("href", "style", "srcdoc")
        ]
        if "src" in given and not re.match("data:image/png;base64,[A-Za-z0-9+/=]*$", given["src"] or ""):
            self.found.append(f"src of <{tag}>")
        if tag == "meta" and "http-equiv" in given:
            self.policy = given.get("content") or ""
            if given["http-equiv"] != "Content-Security-Policy":
                self.found.append(f"<meta {given['http-equiv']}>")

    def handle_endtag(self, tag):
        self._open = self._open and tag != "script"

    def handle_data(self, data):
        if self._open:
            given, text = self.scripts[-1]
            self.scripts[-1] = (given, text + data)


def wrong(page: str) -> list[str]:
    """What a page has that ours have not: tags, handlers, links, scripts; or a policy that lets another script run."""
    reader = _Reader()
    reader.feed(page)
    found = list(reader.found)
    own = [text for given, text in reader.scripts if given.get("type") != "application/json"]
    data = [text for given, text in reader.scripts if given.get("type") == "application/json"]
    if len(own) != 1 or len(data) > 1:
        found.append(f"{len(own)} scripts, {len(data)} of data")
    for text in data:
        json.loads(text)
        if "<" in text:
            found.append("a < among the data")
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in own]
    if "default-src 'none'" not in reader.policy or [f"script-src 'sha256-{one}'" for one in hashes] != [
        part.strip() for part in reader.policy.split(";") if "script-src" in part
    ]:
        found.append(f"policy {reader.policy!r}")
    return found
