"""The hook of a push that looks for a news fragment."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci" / "check_fragment"
# Of a hook that runs these tests, too.
AUTHOR = {f"GIT_{who}_{what}": "a" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PRE_COMMIT"))
}


@pytest.mark.parametrize(
    ("branches", "remote", "compared"),
    [
        (["remotes/origin/main"], "origin", "origin/main"),
        (["remotes/origin/main", "remotes/upstream/main"], "origin", "upstream/main"),
        (["remotes/fork/main", "heads/main"], "fork", "fork/main"),
        (["remotes/origin/main"], "https://git.example.com/neptune-ml", "origin/main"),
        (["heads/main"], None, "main"),
    ],
)
def test_branch_that_is_compared_with(
    tmp_path: Path, branches: list[str], remote: str | None, compared: str
) -> None:
    """The fragments are compared with upstream's main, that of the remote, of origin, or the local one."""
    assert check(tmp_path, branches, remote) == f"check --compare-with {compared}\n"


def test_clone_without_main(tmp_path: Path) -> None:
    """A clone that has no main is asked for no fragment."""
    assert "no news fragment is asked for" in check(tmp_path, [], None)


def check(folder: Path, branches: list[str], remote: str | None) -> str:
    """Run the script in a repository with these branches, and return what it or its towncrier prints."""
    (folder / ".ci").mkdir()
    shutil.copy(SCRIPT, folder / ".ci")

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=folder, env={**ENVIRONMENT, **AUTHOR}, check=True)

    git("init", "--quiet", "--initial-branch=topic")
    git("commit", "--quiet", "--allow-empty", "--message=a")
    for branch in branches:
        git("update-ref", f"refs/{branch}", "HEAD")
    environment = {**ENVIRONMENT, "TOWNCRIER": "echo"}
    if remote:
        environment["PRE_COMMIT_REMOTE_NAME"] = remote
    done = subprocess.run(
        [folder / ".ci" / "check_fragment"], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout
