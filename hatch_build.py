"""What of the project's metadata holds the URL of its repository, which no file of it knows."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_PAGES = {
    "Changelog": "/blob/HEAD/CHANGELOG.md",
    "Issues": "/issues",
    "Source": "",
}
_ON_GITHUB = re.compile(r"https://github\.com/([^/]+)/([^/]+)", re.IGNORECASE)
_RELATIVE_LINK = re.compile(r"(!?)(\[[^\]]*\]\()(?![a-z]+:|#)")


class ProjectURLs(MetadataHookInterface):
    """Read REPOSITORY_URL, which the release workflow sets; a build without it names no page."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the URLs, and the README as PyPI's page, with links that lead there."""
        readme = Path(self.root, "README.md").read_text()
        if repository := os.environ.get("REPOSITORY_URL", "").rstrip("/").removesuffix(".git"):
            metadata["urls"] = {
                "Documentation": documentation_of(repository),
                **{name: f"{repository}{path}" for name, path in _PAGES.items()},
            }
            readme = _RELATIVE_LINK.sub(
                lambda link: f"{link[1]}{link[2]}{repository}/{'raw' if link[1] else 'blob'}/HEAD/", readme
            )
        metadata["readme"] = {"content-type": "text/markdown", "text": readme}


def documentation_of(repository: str) -> str:
    """Return where the documentation of a repository is: on GitHub Pages, elsewhere the folder itself."""
    if on_github := _ON_GITHUB.fullmatch(repository):
        return f"https://{on_github[1].lower()}.github.io/{on_github[2]}/"
    return f"{repository}/tree/HEAD/docs"
