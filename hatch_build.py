"""The project's URLs: those of the repository that a release is built from, which no file of it knows."""

from __future__ import annotations

import os
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class ProjectURLs(MetadataHookInterface):
    """Read REPOSITORY_URL, which the release workflow sets; a build without it names no page."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the URLs; Airflow takes the one for the documentation as the provider's."""
        repository = os.environ.get("REPOSITORY_URL", "").rstrip("/")
        pages = {
            "Documentation": "/tree/HEAD/docs",
            "Changelog": "/blob/HEAD/CHANGELOG.md",
            "Issues": "/issues",
            "Source": "",
        }
        if repository:
            metadata["urls"] = {name: f"{repository}{path}" for name, path in pages.items()}
