"""The page: whole, harmless whatever the files say, and as a browser shows it."""

from __future__ import annotations

import base64
import html.parser
import io
import itertools
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import ganzoo.comparison.page as media
from ganzoo.comparison.comparison import compare
from ganzoo.comparison.page import page, write_page

MakeRun = Callable[..., Path]
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*191 }}&amp;\u202e'
VOID = {"meta", "img", "line", "link", "br"}


class Parsed(html.parser.HTMLParser):
    """The elements of a page, each with its attributes, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def runs(make_run: MakeRun) -> list[Path]:
    """Three variants of three seeds, one of which failed."""
    rng = random.Random(0)
    made = []
    for place, loss in enumerate(("non_saturating", "hinge", "wasserstein")):
        for seed in range(3):
            scores = {
                step: {"fd_classifier": 10 * (place + 1) + 40 / step + rng.random(), "precision": rng.random()}
                for step in (10, 20, 40)
            }
            failed = {"status": "failed", "error": "step 9: not finite"} if (place, seed) == (2, 2) else {}
            made.append(make_run(loss, seed, scores=scores, pictures=True, rows=30, loss__name=loss, **failed))
    return made


class TestText:
    def test_what_it_holds(self, runs: list[Path]):
        text = page(compare(runs))
        parsed = Parsed(text)
        assert parsed.open == []
        headings = re.findall(r"<h2[^>]*>([^<]+)</h2>", text)
        assert headings == [
            "What differs",
            "Figures",
            "Scores",
            "Curves",
            "Samples",
            "Animations",
            "Protocol cards",
            "Runs",
        ]
        assert "<h1>Variants of loss.name</h1>" in text
        assert "wasserstein/0003: failed at step 10 of 40, and not in any mean: step 9: not finite" in text
        pictures = parsed.all("img")
        assert len(pictures) == 9 + 3  # three seeds side by side, and an animation each
        assert pictures[0]["alt"] == "Grid of 16 samples of non_saturating, seed 0, at step 40"
        assert sum(each["src"].startswith("data:image/gif") for each in pictures) == 3
        assert text.count("<polygon") == 2 * 2 * 3 + 2 * 3 + 3  # bands: two scores twice, two losses, speed

    def test_it_needs_no_network_and_runs_nothing(self, runs: list[Path]):
        text = page(compare(runs))
        for tag, attributes in Parsed(text).elements:
            assert tag not in ("script", "iframe", "object", "embed", "link", "base", "form")
            for name, value in attributes.items():
                assert not name.startswith("on")
                if name in ("src", "href", "action", "xlink:href"):
                    assert value.startswith(("#", "data:image/"))
        assert "default-src 'none'" in text
        assert not re.search(r"url\(|@import|https?://", text)

    def test_hostile_texts_stay_texts(self, make_run: MakeRun):
        runs = [
            make_run("a", 0, scores={20: {HOSTILE: 1.0}, 40: {HOSTILE: 2.0}}, pictures=True, loss__name=HOSTILE),
            make_run("b", 0, status="failed", error=HOSTILE, environment={"device": HOSTILE}, loss__other=HOSTILE),
        ]
        (runs[0] / "metrics.jsonl").write_text(
            "".join(f'{{"step": {step}, {json.dumps(HOSTILE)}: {step}}}\n' for step in (10, 20))
        )
        text = page(compare(runs), title=HOSTILE)
        parsed = Parsed(text)
        assert parsed.open == []
        assert not parsed.all("script")
        assert [each for each in parsed.all("img") if not each["src"].startswith("data:image/")] == []
        assert "\u202e" not in text
        assert "&lt;script&gt;" in text
        assert "{{ 7*191 }}" in text
        assert "1337" not in text

    def test_runs_without_anything(self, make_run: MakeRun):
        run = make_run(status="unfinished", rows=0)
        text = page(compare(run))
        assert "There is one recipe; its runs differ in their seeds." in text
        assert '<h2 id="samples">' not in text
        assert Parsed(text).open == []

    def test_cards_that_differ_are_shown_beside_each_other(self, make_run: MakeRun, make_card: Callable[..., Any]):
        runs = [
            make_run("a", scores={40: {"x": 1.0}}),
            make_run("b", scores={40: {"x": 2.0}}, made_by=lambda step: make_card(step, samples=500), loss__name="b"),
        ]
        text = page(compare(runs))
        assert "Not ranked: the scores were taken by different protocols." in text
        assert text.count('<dt class="differs">samples.images</dt>') == 2
        assert "★" not in text.split('<h2 id="curves"')[0].replace('<span class="mark">★</span> has', "")


class TestMedia:
    def test_large_pictures_and_films_are_made_smaller(self, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch):
        for name, limit in {
            "PICTURE_BYTES": 20_000,
            "PICTURE_SIDE": 150,
            "ANIMATION_BYTES": 4_000,
            "FRAMES": 4,
        }.items():
            monkeypatch.setattr(media, name, limit)
        monkeypatch.setattr(media, "ANIMATION_SIDES", (256, 64))
        run = make_run(pictures=True)
        noise = [Image.frombytes("L", (300, 200), random.Random(i).randbytes(60_000)).convert("RGB") for i in range(6)]
        noise[0].save(run / "samples/step_0000040.png")
        noise[0].save(run / "samples/evolution.gif", save_all=True, append_images=noise[1:])
        text = page(compare(run))
        (picture,) = Parsed(text).all("img")  # not even 4 frames of 64 pixels of noise are small enough
        assert picture["src"].startswith("data:image/jpeg")
        assert (picture["width"], picture["height"]) == ("150", "100")
        monkeypatch.setattr(media, "ANIMATION_BYTES", 40_000)
        animation = Parsed(page(compare(run))).all("img")[1]
        assert (animation["width"], animation["height"]) == ("64", "43")
        shown = Image.open(io.BytesIO(base64.b64decode(animation["src"].partition(",")[2])))
        assert (shown.format, shown.n_frames) == ("GIF", 4)

    @pytest.mark.parametrize("content", [b"", b"<svg onload=alert(1)>", b"\x89PNG\r\n\x1a\nrubbish", b"GIF89a"])
    def test_damaged_pictures_are_left_out(self, make_run: MakeRun, content: bytes):
        run = make_run(pictures=True)
        for name in ("step_0000040.png", "step_0000099.png", "evolution.gif"):
            (run / "samples" / name).write_bytes(content)
        assert not Parsed(page(compare(run))).all("img")

    def test_the_newest_whole_grid_is_taken(self, make_run: MakeRun):
        run = make_run(pictures=True)
        (run / "samples/step_0000050.png").write_bytes(b"torn")
        assert 'alt="Grid of 16 samples of a, seed 0, at step 40"' in page(compare(run))

    def test_a_page_does_not_grow_without_end(self, runs: list[Path], monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("ganzoo.comparison.page.MEDIA_BYTES", 1)
        text = page(compare(runs))
        assert not Parsed(text).all("img")


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
]
playwright_here = True
try:
    from playwright.sync_api import Browser, Page, sync_playwright
except ImportError:
    playwright_here = False


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.mark.slow
@pytest.mark.skipif(not playwright_here, reason="Playwright is not installed: pip install playwright")
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt-get install chromium")
class TestBrowser:
    @pytest.fixture
    def opened(self, browser: Browser, runs: list[Path], tmp_path: Path) -> Iterator[Callable[..., Page]]:
        """The page of the three variants in a window; whatever it asks the network for is an error."""
        path = write_page(compare(runs), tmp_path / "page.html")
        contexts = []

        def open_page(width: int, scheme: str = "light", at: Path = path) -> Page:
            context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
            contexts.append(context)
            shown = context.new_page()
            shown.on("console", lambda message: problems.append(message.text))
            shown.on("pageerror", lambda error: problems.append(str(error)))
            shown.on("dialog", lambda dialog: problems.append("a dialog"))
            shown.on("request", lambda request: requests.append(request.url))
            shown.goto(at.as_uri())
            return shown

        problems: list[str] = []
        requests: list[str] = []
        yield open_page
        assert problems == []
        assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
        for context in contexts:
            context.close()

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [1280, 390, 360])
    def test_fits_its_window_and_can_be_read(self, opened: Callable[..., Page], width: int, scheme: str):
        shown = opened(width, scheme)
        for closed in shown.locator("details").all():
            closed.evaluate("element => element.open = true")
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        small = shown.evaluate(
            """() => [...document.querySelectorAll('body *')].filter(e => e.children.length === 0
                && e.textContent.trim() && e.closest('svg.chart') === null && e.getClientRects().length
                && parseFloat(getComputedStyle(e).fontSize) < 12).map(e => e.textContent)"""
        )
        assert small == []
        # Letters in the charts shrink with them.
        scale = shown.evaluate("document.querySelector('svg.chart').getBoundingClientRect().width / 360")
        assert 11 * scale >= 9
        assert shown.evaluate(CONTRAST) == []

    def test_wide_tables_scroll_in_themselves_and_keep_their_first_column(self, opened: Callable[..., Page]):
        shown = opened(360)
        region = shown.get_by_role("region", name="Runs", exact=True).last
        before = region.locator("tbody th").first.bounding_box()
        region.evaluate("element => element.scrollLeft = 200")
        assert region.evaluate("element => element.scrollLeft") > 50
        assert region.locator("tbody th").first.bounding_box()["x"] == pytest.approx(before["x"], abs=1)

    def test_those_who_cannot_see_it(self, opened: Callable[..., Page]):
        shown = opened(1280)
        tables = shown.get_by_role("table").all()
        assert len(tables) >= 4
        assert all(table.get_by_role("columnheader").count() >= 2 for table in tables)
        chart = shown.get_by_role("img", name="fd_classifier over steps")
        assert "non_saturating from 1" in chart.locator("desc").text_content()
        assert shown.evaluate("[...document.images].every(image => image.alt.length > 20)")
        levels = shown.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(e => +e.tagName[1])")
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
        ids = shown.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
        assert len(ids) == len(set(ids))
        for link in shown.locator("nav a").all():
            assert (link.get_attribute("href") or "").removeprefix("#") in ids

    def test_hostile_names_run_nothing(self, opened: Callable[..., Page], make_run: MakeRun, tmp_path: Path):
        run = make_run("h", scores={20: {HOSTILE: 1.0}, 40: {HOSTILE: 2.0}}, loss__name=HOSTILE, pictures=True)
        shown = opened(390, at=write_page(compare(run), tmp_path / "hostile.html", HOSTILE))
        assert shown.locator("h1").inner_text().startswith('"><script>alert(1)</script>')
        assert shown.evaluate("document.documentElement.scrollWidth") <= 390


CONTRAST = """() => {
    const parse = text => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => {
        const linear = v => v <= 10 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
        const [x, y, z] = [r, g, b].map(linear);
        return .2126 * x + .7152 * y + .0722 * z;
    };
    const behind = e => {
        for (; e; e = e.parentElement) {
            const color = parse(getComputedStyle(e).backgroundColor);
            if (color.length < 4 || color[3] > 0) return color;
        }
        return [255, 255, 255];
    };
    return [...document.querySelectorAll('body *')].filter(e => [...e.childNodes].some(n => n.nodeType === 3
        && n.textContent.trim()) && e.getClientRects().length).filter(e => {
        const style = getComputedStyle(e);
        const ink = light(parse(e.closest('svg') ? style.fill : style.color));
        const [a, b] = [ink, light(behind(e))].sort((x, y) => y - x);
        return (a + .05) / (b + .05) < 4.5;
    }).map(e => e.tagName + ' ' + e.textContent.slice(0, 30));
}"""
