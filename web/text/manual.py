"""The documentation, which comes with the dashboard: its Markdown as HTML, and what helps at each page."""

from __future__ import annotations

import posixpath
import re
from functools import lru_cache, partial
from pathlib import Path

from nicegui.elements.markdown import prepare_content

_PACKAGED = Path(__file__).parents[1] / "docs"
DOCS = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "docs"
"""In a wheel within `web`, in a checkout beside it."""

HELP = {
    "/": "how-to/your-own-data.md",
    "/datasets/{dataset_id}": "how-to/your-own-data.md#splits-that-you-can-trust",
    "/datasets/{dataset_id}/samples/{number}": "DASHBOARD.md",
    "/new": "how-to/your-own-data.md#which-fields-to-set",
    "/jobs": "DASHBOARD.md",
    "/compare": "DASHBOARD.md",
    "/jobs/{job_id}": "DASHBOARD.md",
    "/jobs/{job_id}/predictions": "how-to/command-line.md#many-images",
    "/jobs/{job_id}/report": "REPORT.md",
    "/jobs/{job_id}/image-answers": "REPORT.md#images-for-a-person-to-look-at",
    "/jobs/{job_id}/judge": "how-to/your-own-data.md#test-images-that-break-the-pattern",
    "/models": "how-to/your-own-weights.md",
    "/models/{model_id}": "ABSTENTION.md",
    "/reviews": "how-to/reviews.md",
    "/storage": "DASHBOARD.md",
    "/try": "ABSTENTION.md#what-a-certificate-means",
}
"""For each page of the dashboard the page of the documentation, and its section."""

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)[^)\s]*\)")
# Only `make docs` can draw directives, or fill pages from other files and from the code.
_DIRECTIVE = re.compile(r"^```\{.*?^```$", re.MULTILINE | re.DOTALL)
_FILLED = re.compile(r"^```\{include\}|^<!-- generated: ", re.MULTILINE)


@lru_cache
def _pages() -> dict[str, str]:
    """The Markdown of each page by its path, without those that `make docs` fills."""
    texts = {path.relative_to(DOCS).as_posix(): path.read_text("utf-8") for path in DOCS.rglob("*.md")}
    return {name: _DIRECTIVE.sub("", text) for name, text in texts.items() if not _FILLED.search(text)}


def manual_page(name: str) -> str:
    """The page as HTML; empty if there is none of this name."""
    text = _LINK.sub(partial(_link_to_page, name), _pages().get(name, ""))
    return text and prepare_content(text, "cuddled-lists fenced-code-blocks header-ids tables")


def _link_to_page(name: str, link: re.Match[str]) -> str:
    """A link of the page `name`; its words alone if it leads to a file that is no page."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), link[2]))
    return link[0] if target in _pages() or "://" in link[2] else link[1]
