"""The status page: its style by computation, and the page in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from airflow_provider_neptune_ml.kinds import ALL_KINDS, DATA_PROCESSING, KINDS, MODEL_TRAINING
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from airflow_provider_neptune_ml.simulator.page import PAGE
from tests.simulator.steps import start

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulator.conftest import ClientMaker

CHROMIUM = shutil.which("chromium")
NODE = shutil.which("node")
EVIL = "<img src=x onerror=\"document.title='broken in'\">"
STYLE = re.search(r"<style>(.*?)</style>", PAGE, re.DOTALL).group(1)  # type: ignore[union-attr]
TINTS = ("running", "succeeded", "failed", "stopped")
ENOUGH = 4.5  # WCAG 2.2, contrast (minimum), for text of this size

in_browser = pytest.mark.skipif(not CHROMIUM, reason="needs chromium (Debian's package of that name)")


def colours(scheme: int) -> dict[str, str]:
    """The page's colours by name, in light (0) or dark (1)."""
    pairs = re.findall(r"--(\w+): light-dark\((#\w+), (#\w+)\)", STYLE)
    return {name: pair[scheme] for name, *pair in pairs}


def luminance(colour: str) -> float:
    """The relative luminance of #rgb or #rrggbb, as WCAG defines it."""
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        *((text, ground) for text in ("ink", "quiet", "failed") for ground in ("paper", "card")),
        *(("label", tint) for tint in TINTS),
    ],
)
def test_contrast(scheme: int, text: str, ground: str) -> None:
    """Each text can be told from its ground, in light and dark."""
    darker, lighter = sorted(luminance(colours(scheme)[name]) for name in (text, ground))

    assert (lighter + 0.05) / (darker + 0.05) >= ENOUGH


def test_no_colour_is_left_out() -> None:
    """Every colour has a name, with a light and a dark form, and a bar's label has the label's."""
    rules = STYLE.partition("}")[2]

    assert re.findall(r"#[0-9a-f]{3,8}\b|\brgb|\bhsl|: (?:white|black)\b", rules) == []
    assert set(re.findall(r"var\(--(\w+)\)", rules)) - {"tint"} == colours(0).keys()
    assert re.search(r"\.bar \{[^}]*background: var\(--tint\); color: var\(--label\)", rules)
    assert re.search(r"\.bar\.planned \{[^}]*background: var\(--card\); color: var\(--quiet\)", rules)


def test_ids_are_not_cut() -> None:
    """The longest id wraps, instead of being cut to the width of its column."""
    (rule,) = re.findall(r"\.id \{([^}]*)\}", STYLE)

    assert "overflow-wrap: anywhere" in rule
    assert not re.search("hidden|nowrap|ellipsis", rule)


def test_now_is_behind_the_labels() -> None:
    """The line of the present is painted before the bars, and on a small screen stays between their texts."""
    assert "bars.append(now, ...resource.stages" in PAGE
    narrow = STYLE.partition("@media (max-width")[2]
    assert ".now { top: -.2rem; bottom: -.2rem; }" in narrow
    assert re.search(r"\.row \{[^}]*gap: \.2rem ", STYLE), "what there is between the lines"


def render(simulator: Simulator, profile: Path) -> str:
    """Return the page as headless Chromium has it after a while."""
    done = subprocess.run(
        [
            *(
                str(CHROMIUM),
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
            ),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--user-data-dir={profile}", "--virtual-time-budget=2000", "--dump-dom", simulator.url),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    return done.stdout


@in_browser
def test_page_shows_the_cluster(simulator: Simulator, make_client: ClientMaker, tmp_path: Path) -> None:
    """The page shows jobs, stages, callers, reasons and faults, and takes none of it for markup."""
    client = make_client(simulator, config={"user_agent": EVIL})
    for kind in KINDS.values():
        start(client, simulator, kind, "job-1")
    simulator.advance(500.0)
    simulator.fail(MODEL_TRAINING.name, "job-1", reason=EVIL)
    simulator.seed(DATA_PROCESSING.name, EVIL, EVIL)
    simulator.add_fault(Fault("throttling"))
    page = render(simulator, tmp_path)

    for kind in KINDS.values():
        assert f'<h2 class="">{kind.title}s</h2>' in page
        assert kind.start_operation in page
        assert all(f">{stage.title}</div>" in page for stage in kind.stages[:2])
    assert "Faults in force: throttling" in page
    assert simulator.connection_uri.replace("&", "&amp;") in page
    assert "&lt;img src=x" in page
    assert "<img" not in page
    assert "<title>Neptune ML simulator</title>" in page


@in_browser
def test_empty_page(simulator: Simulator, tmp_path: Path) -> None:
    """A cluster without resources shows as just that."""
    page = render(simulator, tmp_path)

    assert page.count(">none</span>") == len(ALL_KINDS)
    assert '<p id="notice" role="status"></p>' in page


COPYING = """
const { readFileSync } = require("fs");
const [page, uri] = [readFileSync(0, "utf8"), "neptune-ml://127.0.0.1:1/http"];
const made = {}, copied = [];
const element = (id) => made[id] ??= {
  append() {}, replaceChildren() {}, addEventListener(_, act) { this.act = act; } };
const execCommand = () => copied.push(made.connection.textContent) > 0;
globalThis.document = { getElementById: element, execCommand };
globalThis.getSelection = () => ({ selectAllChildren() {} });
const clipboard = { writeText: async (text) => {
  if (process.argv[1] === "denied") throw Error();
  copied.push(text);
} };
Object.defineProperty(globalThis, "navigator", { value: { clipboard } });
globalThis.fetch = async () => ({ json: async () => ({
  kinds: {}, now: 0, clock: "", requests: 0, faults: [], titles: {}, connection_uri: uri }) });
globalThis.setTimeout = () => {};
eval(page.match(/<script>([^]*)<\\/script>/)[1]);
setImmediate(async () => {
  await made.copy.act();
  console.log(JSON.stringify([copied, made.copy.textContent]));
});
"""


@pytest.mark.skipif(not NODE, reason="needs node")
@pytest.mark.parametrize("clipboard", ["granted", "denied"])
def test_connection_can_be_copied(clipboard: str) -> None:
    """A button copies the connection, with the browser's clipboard or, where it has none, by selecting it."""
    assert '<button type="button" id="copy">Copy</button>' in PAGE
    done = subprocess.run(
        [str(NODE), "-e", COPYING, clipboard], input=PAGE, capture_output=True, text=True, check=True
    )

    assert json.loads(done.stdout) == [["neptune-ml://127.0.0.1:1/http"], "Copied"]
