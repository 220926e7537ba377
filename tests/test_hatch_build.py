"""The URLs that a build derives from the repository's."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def hatch_build(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The build hook; hatchling is in the environment of a build alone, and only the base class is needed."""
    interface: Any = ModuleType("hatchling.metadata.plugin.interface")
    interface.MetadataHookInterface = object
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def metadata_of(hatch_build: ModuleType) -> dict[str, Any]:
    """Return what the hook adds."""
    metadata: dict[str, Any] = {}
    hatch_build.ProjectURLs.update(SimpleNamespace(root=str(ROOT)), metadata)
    return metadata


@pytest.mark.parametrize(
    ("repository", "documentation"),
    [
        ("https://github.com/Example/neptune-ml", "https://example.github.io/neptune-ml/"),
        ("https://github.com/example/neptune.ml.git/", "https://example.github.io/neptune.ml/"),
        (
            "https://git.example.com/group/neptune-ml",
            "https://git.example.com/group/neptune-ml/tree/HEAD/docs",
        ),
        ("https://github.com.example.com/a/b", "https://github.com.example.com/a/b/tree/HEAD/docs"),
    ],
)
def test_documentation(
    hatch_build: ModuleType, monkeypatch: pytest.MonkeyPatch, repository: str, documentation: str
) -> None:
    """The documentation of a repository on GitHub is its site on GitHub Pages, else the folder."""
    monkeypatch.setenv("REPOSITORY_URL", repository)
    urls = metadata_of(hatch_build)["urls"]
    source = repository.rstrip("/").removesuffix(".git")

    assert urls == {
        "Documentation": documentation,
        "Changelog": f"{source}/blob/HEAD/CHANGELOG.md",
        "Issues": f"{source}/issues",
        "Source": source,
    }


def test_no_repository(hatch_build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that knows no repository names no page."""
    monkeypatch.delenv("REPOSITORY_URL", raising=False)

    assert "urls" not in metadata_of(hatch_build)
