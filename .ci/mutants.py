"""Change the package in small ways, and list the changes that no test notices: `make mutants`."""

from __future__ import annotations

import argparse
import ast
import fnmatch
import functools
import os
import random
import sys
from collections import Counter
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path

import tomllib
from mutmut import __main__ as mutmut
from mutmut import configuration
from mutmut.mutation.data import MutantLineSpans, SourceFileMutationData
from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.stats import status_by_exit_code
from mutmut.utils.format_utils import get_mutant_name, orig_function_and_class_names_from_key
from mutmut.workers.isolation import ForkRunner

PACKAGE = Path("airflow_provider_neptune_ml")
# Of each module: with all tests, a change of what they all run would take minutes.
TESTS: dict[str, list[str]] = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["mutants"]
NOTICED = ("killed", "timeout")


def main() -> int:
    """Try the changes of the selected modules; return 1 where the tests of one fail without any change."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", default=["*"], help="modules: operators/kill.py 'hooks/*'")
    parser.add_argument("--sample", type=int, help="at most so many changes of each module, by chance")
    parser.add_argument("--again", action="store_true", help="only those that survived the last time")
    options = parser.parse_args()
    modules = [module for module in TESTS if any(fnmatch.fnmatch(module, each) for each in options.only)]
    if not modules:
        parser.error(f"no module is {' or '.join(options.only)}: choose from {', '.join(TESTS)}")
    lines = {module: try_module(module, options.sample, options.again) for module in modules}
    print("\nNoticed:")
    for module, line in lines.items():
        print(f"  {module}: {line or 'not tried, as its tests fail without any change; see above'}")
    return None in lines.values()


def try_module(module: str, sample: int | None, again: bool) -> str | None:
    """Try changes of a module and print those that no test noticed; return how many others, in words."""
    names = select(module, sample, again)
    if names and not is_run(module, names):
        return None
    found = {name: status for name, status in statuses(module).items() if name in set(names)}
    print(f"\nNot noticed in {module}: {sum(status not in NOTICED for status in found.values())}")
    for name, status in found.items():
        if status not in NOTICED:
            print(f"  {describe(PACKAGE / module, name)}" + (f"  ({status})" if status != "survived" else ""))
    counts = Counter({"killed": 0, "timeout": 0, "survived": 0})
    counts.update(found.values())
    score = 100 * (counts["killed"] + counts["timeout"]) / max(1, len(found))
    return f"{score:.0f}% ({', '.join(f'{count} {status}' for status, count in counts.items())})"


def select(module: str, sample: int | None, again: bool) -> list[str]:
    """Return the names of the changes to try."""
    path = PACKAGE / module
    found = mutate_file_contents(str(path), path.read_text()).mutant_names
    names = [get_mutant_name(path, name) for name in found]
    if again:
        last = statuses(module)
        return [name for name in names if last.get(name) not in (*NOTICED, "not checked", None)]
    if sample and len(names) > sample:
        print(f"{module}: {sample} of {len(names)} changes")
        return random.Random(module).sample(names, sample)  # noqa: S311 - the same ones each time
    return names


def is_run(module: str, names: list[str]) -> bool:
    """Try changes of one module, in a process of its own: it imports the package with these changes alone."""
    for made in ("mutmut-stats.json", PACKAGE / module):
        Path("mutants", made).unlink(missing_ok=True)
    if pid := os.fork():
        return os.waitpid(pid, 0)[1] == 0
    status = 1
    try:
        run(module, names)
        status = 0
    except SystemExit:
        pass
    finally:
        sys.stdout.flush()
        os._exit(status)


def run(module: str, names: list[str]) -> None:
    """
    Try changes of one module, each in a fork.

    :raises SystemExit: the tests fail without any change.
    """
    from botocore.loaders import JSONFileLoader

    # boto3 reads its files again for each client, which is half of these tests' time.
    load = functools.cache(JSONFileLoader().load_file)
    JSONFileLoader.load_file = lambda _, path: load(path)
    # It would repeat what has passed a moment before, when mutmut noted which test runs what.
    ForkRunner.run_clean_tests = lambda *_, **__: 0
    configuration._config = replace(
        configuration.config(),
        only_mutate=[str(PACKAGE / module)],
        pytest_add_cli_args_test_selection=TESTS[module],
    )
    mutmut._run(names, 1)


def statuses(module: str) -> dict[str, str]:
    """Return what became of each change of a module the last time, in mutmut's words."""
    data = SourceFileMutationData(path=PACKAGE / module)
    data.load()
    return {name: status_by_exit_code[code] for name, code in data.exit_code_by_key.items()}


def describe(path: Path, name: str) -> str:
    """Return where a change is and what it does."""
    changed_name = name.rpartition(".")[2]
    original_name = changed_name.rpartition("_")[0] + "_orig"
    texts = MutantLineSpans.load(path).read_function_sources([original_name, changed_name])
    original, changed = (
        [line.strip() for line in text.replace(changed_name, original_name).splitlines()] for text in texts
    )
    function, owner = orig_function_and_class_names_from_key(name)
    matcher = SequenceMatcher(None, original, changed, autojunk=False)
    _, start, end, changed_start, changed_end = next(
        each for each in matcher.get_opcodes() if each[0] != "equal"
    )
    before, after = " ".join(original[start:end]), " ".join(changed[changed_start:changed_end])
    # The text of a function begins with the comments and blank lines before it.
    definition = next(number for number, line in enumerate(original) if original_name in line)
    line = line_of(path, function, owner) + start - definition
    return f"{path}:{line}  {before}  ->  {after}".replace(original_name, function)


def line_of(path: Path, function: str, owner: str | None) -> int:
    """Return the line of a function's or method's definition."""
    nodes = ast.parse(path.read_text()).body
    if owner:
        nodes = next(node for node in nodes if isinstance(node, ast.ClassDef) and node.name == owner).body
    return next(node.lineno for node in nodes if getattr(node, "name", "") == function)


if __name__ == "__main__":
    sys.exit(main())
