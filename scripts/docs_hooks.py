"""What mkdocs is told beside mkdocs.yml: READMEs of other folders become pages, and links are followed as they are in the repository.

A link that leads nowhere in the repository is a warning, which `strict` makes an error. One that leads to a file that is no page loses its link and
keeps its text.
"""

import logging
import os
import pathlib
import posixpath
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[1]
LOG = logging.getLogger("mkdocs.hooks.docs")
# Where in the site a file of the repository is.
PARTS = {
    "charts/palisade/README.md": "parts/chart.md",
    "manifests/README.md": "parts/manifests.md",
    "operator/README.md": "parts/operator.md",
    "courier/README.md": "parts/courier.md",
    "gateway/README.md": "parts/gateway.md",
    "kube/README.md": "parts/kube.md",
    "e2e/README.md": "parts/e2e.md",
    "bench/README.md": "parts/bench.md",
    "CONTRIBUTING.md": "parts/contributing.md",
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
# What is no text: blocks and spans of code.
CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.M | re.S)


def on_files(files, config):
    for source, uri in PARTS.items():
        files.append(File.generated(config, uri, content=(ROOT / source).read_text()))
    return files


def source_of(uri: str) -> str:
    return next((source for source, part in PARTS.items() if part == uri), "docs/" + uri)


def page_of(source: str) -> str | None:
    if source in PARTS:
        return PARTS[source]
    if source == "README.md":
        return "index.md"
    return source.removeprefix("docs/") if source.startswith("docs/") else None


def followed(match: re.Match, uri: str) -> str:
    image, text, target = match.groups()
    if re.match(r"[a-z]+:|#", target):
        return match[0]
    path, hash_, anchor = target.partition("#")
    source = posixpath.normpath(posixpath.join(posixpath.dirname(source_of(uri)), path))
    if source.startswith("..") or not (ROOT / source).exists():
        LOG.warning("%s: the link %s leads nowhere", source_of(uri), target)
        return match[0]
    page = page_of(source)
    if page is None or (ROOT / source).is_dir():
        return text if text.startswith("`") or text == source else f"{text} (`{source}`)"
    return f"{image}[{text}]({os.path.relpath(page, posixpath.dirname(uri) or '.')}{hash_}{anchor})"


def on_page_markdown(markdown, page, config, files):
    uri = page.file.src_uri
    pieces = CODE.split(markdown)
    return "".join(piece if CODE.fullmatch(piece) else LINK.sub(lambda match: followed(match, uri), piece) for piece in pieces)


def on_page_content(html, page, config, files):
    # Tables may be wider than the text.
    return html.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")
