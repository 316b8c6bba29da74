"""A Sphinx extension that replaces `<!-- generated: NAME -->` on reference pages with text from the code.

So a setting, a route, a command, a metric or a problem is documented where it is defined and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from docs.reference_pages.client import client
from docs.reference_pages.commands import commands
from docs.reference_pages.http import routes
from docs.reference_pages.operating import metrics, presets, problems, settings

GENERATORS: dict[str, Callable[[], str]] = {
    "client": client,
    "commands": commands,
    "metrics": metrics,
    "presets": presets,
    "problems": problems,
    "routes": routes,
    "settings": settings,
}
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)#\s]+)\)")
_PLACE = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)


def setup(app: Sphinx) -> dict[str, bool]:
    """The entry point that Sphinx calls."""
    app.connect("env-get-outdated", _always)
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _always(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> list[str]:
    """Rebuild the reference pages each time: the code may have changed, which Sphinx cannot see."""
    return [name for name in env.found_docs if name.startswith("reference/")]


def _fill(app: Sphinx, name: str, content: list[str]) -> None:
    page = Path(app.srcdir, name)

    def beside(found: re.Match[str]) -> str:
        """Unlink a file of the repository that is not a page: only the forge can resolve such a link."""
        target = (page.parent / found[2]).resolve()
        outside = target.exists() and not target.is_relative_to(Path(app.srcdir).resolve())
        return found[1] if outside else found[0]

    content[0] = _PLACE.sub(lambda found: GENERATORS[found[1]](), _LINK.sub(beside, content[0]))
