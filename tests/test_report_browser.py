"""The HTML report in a browser: it opens quietly, sorts, moves with its slider, and fits a phone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

import toy
from feederlab import compare
from feederlab.comparison import Comparison
from feederlab.controllers.none import NoControl
from feederlab.controllers.volt_var import VoltVar
from feederlab.models.feeder import Feeder
from feederlab.models.scenario import Scenario
from feederlab.report.html import write_report
from feederlab.simulate import RunOptions

EVIL = "<img src=x onerror=alert(1)>&%{y}"
NAMES = (
    os.environ.get("FEEDERLAB_BROWSER", ""),
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One headless Chromium, the same that ``tools/browser.sh`` finds."""
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        found = next((path for name in NAMES if name and (path := shutil.which(name))), None)
        if found is None and not os.path.exists(own):
            pytest.fail("no Chromium was found to open the report with: run tools/browser.sh, which installs one")
        made = playwright.chromium.launch(executable_path=found or own, args=["--no-sandbox", "--disable-gpu"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def one_window(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = compare(toy.short(6), ["none", "volt_var:curve=ieee1547_b", "lindistflow"])
    return write_report(made, tmp_path_factory.mktemp("report") / "report.html")


Opened = tuple[Page, list[str]]


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a file; at the end nothing may have been said on the console or asked of a network."""
    complaints: list[str] = []
    contexts = []

    def call(path: Path, width: int = 1280) -> Page:
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, has_touch=width < 500))
        page: Page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: complaints.append(f"request: {request.url[:80]}"))
        page.goto(path.as_uri())
        own = [f"request: {path.as_uri()}"[: len("request: ") + 80]]
        complaints[:] = [
            line for line in complaints if line not in own and not line.startswith(("request: data:", "request: blob:"))
        ]
        return page

    yield call
    for context in contexts:
        context.close()
    assert [line for line in complaints if not line.startswith(("request: data:", "request: blob:"))] == []


def _sorted_by(page: Page, metric: str) -> list[float]:
    column = f"table.scores th[data-metric={metric}]"
    place = page.eval_on_selector(column, "head => head.cellIndex")
    page.click(f"{column} button")
    return page.eval_on_selector_all(
        "table.scores tbody tr", f"rows => rows.map(row => Number(row.children[{place}].dataset.number))"
    )


def test_the_table_sorts_on_click_best_first(opened: Callable[..., Page], one_window: Path) -> None:
    page = opened(one_window)
    for metric, falls in (("loss_mw", False), ("cr_pct", True)):
        first = _sorted_by(page, metric)
        assert len(set(first)) > 1
        assert first == sorted(first, reverse=falls)
        assert page.get_attribute(f"th[data-metric={metric}]", "aria-sort") == ("descending" if falls else "ascending")
        again = _sorted_by(page, metric)
        assert again == sorted(first, reverse=not falls)
    page.focus("th[data-metric=cr_pct] button")
    page.keyboard.press("Enter")
    assert page.get_attribute("th[data-metric=cr_pct]", "aria-sort") == "descending"
    hidden = page.locator("table.scores th.extra").first
    assert not hidden.is_visible()
    page.check("#all-columns")
    assert hidden.is_visible()


def _colours(page: Page) -> list[float]:
    return page.evaluate("[...document.getElementById('map').data.at(-1).marker.color]")


def _painted(page: Page) -> list[str]:
    """The fill of each bus as it stands in the drawing: the trace above all others."""
    traces = page.eval_on_selector_all(
        "#map .trace", "traces => traces.map(t => [...t.querySelectorAll('.point')].map(p => p.style.fill))"
    )
    return traces[-1]


def test_the_slider_moves_the_picture(opened: Callable[..., Page], one_window: Path) -> None:
    made = compare(toy.short(6), ["none"], certificates=False)
    vm = made.run("none").data["vm_pu"].to_numpy()
    buses = made.run("none").data["bus"].to_numpy().tolist()
    page = opened(one_window)
    order = [
        buses.index(bus)
        for bus in page.evaluate("document.getElementById('map').data.at(-1).hovertext.map(t => parseInt(t.slice(4)))")
    ]
    worst, paint = _colours(page), _painted(page)
    assert len(paint) == 33
    for step in (0, 5):
        page.eval_on_selector(
            "#step", f"slider => {{ slider.value = {step}; slider.dispatchEvent(new Event('input')); }}"
        )
        assert _colours(page) == pytest.approx([vm[step, bus] for bus in order], abs=2e-5)
        assert page.is_checked("input[name=mode][value=step]")
    assert _colours(page) != worst
    assert _painted(page) != paint
    assert "12:15" in page.inner_text("#when")
    page.focus("#step")
    page.keyboard.press("ArrowLeft")
    assert _colours(page) == pytest.approx([vm[4, bus] for bus in order], abs=2e-5)
    page.select_option("#controller", label="lindistflow")
    assert max(_colours(page)) < vm[4].max()
    page.check("input[name=mode][value=worst]")
    assert "Over the window, lindistflow" in page.inner_text("#map-says")


def test_every_figure_is_drawn_and_rows_can_be_switched_off(opened: Callable[..., Page], one_window: Path) -> None:
    page = opened(one_window)
    drawn = page.eval_on_selector_all(".plot", "plots => plots.map(p => [p.id, (p.data || []).length])")
    assert len(drawn) >= 3 + 3 + 3 + 2
    assert all(count > 0 for _, count in drawn)
    count = "document.getElementById('regret-plot').data.length"
    assert page.evaluate(count) == 3
    page.click("#rows button >> nth=0")
    assert page.evaluate(count) == 2
    assert page.locator("#envelopes figure").count() == 2
    page.emulate_media(media="print")
    assert not page.is_visible("#play")
    assert page.is_visible("#rows")  # the legend
    page.evaluate(
        "addEventListener('resize', event => event.stopImmediatePropagation(), true)"
    )  # paper is laid out once
    page.set_viewport_size({"width": 718, "height": 1000})
    too_wide = (
        "plots => plots.filter(p => p.querySelector('svg').getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert page.eval_on_selector_all(".plot", too_wide) == 0


def _overflow(page: Page) -> int:
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def test_a_phone_shows_it_all_without_sideways_scrolling(opened: Callable[..., Page], one_window: Path) -> None:
    page = opened(one_window, width=360)
    assert _overflow(page) == 0
    page.check("#all-columns")
    assert _overflow(page) == 0
    small = page.evaluate("""
        [...document.querySelectorAll("body *:not(script, style)")]
        .filter(e => e.checkVisibility() && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
        .map(e => [parseFloat(getComputedStyle(e).fontSize), e.tagName, e.textContent.slice(0, 30)])
        .filter(([size]) => size < 12)""")
    assert small == []
    for plot in page.query_selector_all(".plot"):
        box = plot.bounding_box()
        assert box is None or (box["x"] >= 0 and box["x"] + box["width"] <= 360)
    assert all(
        box["height"] >= 32
        for button in page.query_selector_all("#rows button, #play, select")
        if (box := button.bounding_box()) is not None
    )
    page.set_viewport_size({"width": 1000, "height": 360})  # the screen is turned
    page.wait_for_function("document.getElementById('map')._fullLayout.width > 600")
    assert page.locator("#map .colorbar").count() == 1


def test_windows_are_chosen_and_labels_stay_text(opened: Callable[..., Page], tmp_path: Path) -> None:
    parts = [toy.short(3), toy.short(3, "2016-06-20 18:00")]
    made: Comparison = compare(parts, {"none": NoControl(), EVIL: VoltVar(curve="ieee1547_b")}, certificates=False)
    page = opened(write_report(made, tmp_path / "report.html"))
    at: Any = "document.getElementById('heat').data[0].x[0]"
    assert page.evaluate(at) == "2016-06-20T11:00:00"
    page.select_option("#group", index=1)
    assert page.evaluate(at) == "2016-06-20T18:00:00"
    assert page.locator("table.scores >> visible=true").locator("tbody tr").count() == 2
    page.select_option("#view", label="every run")
    assert page.locator("table.scores >> visible=true").locator("tbody tr").count() == 4
    assert "no regret to show" in page.inner_text("#regret-missing")
    page.hover("#times-plot .nsewdrag")
    page.click("#rows button >> nth=1")
    assert EVIL in page.inner_text("#rows")
    assert page.locator("img").count() == 0


def test_power_flows_without_solution_are_gaps(opened: Callable[..., Page], tmp_path: Path) -> None:
    data = toy.profiles(toy.net())
    for column in ("p_mw", "q_mvar"):
        data["load", column].iloc[46] *= 9
    scenario = Scenario.build(Feeder.from_pandapower(toy.net(), "weak"), data).window("2016-06-20 11:00", 6)
    page = opened(write_report(compare(scenario, ["none"], certificates=False), tmp_path / "report.html"))
    outline = page.evaluate("(document.querySelector('#envelopes .plot').data[0].x)")
    assert outline.count(None) == 2  # two stretches
    assert not any("11:30" < x[11:16] < "11:45" for x in outline if x)
    page.eval_on_selector("#step", "slider => { slider.value = 2; slider.dispatchEvent(new Event('input')); }")
    assert "has no solution" in page.inner_text("#map-says")
    assert set(_painted(page)) == {"none"}


def test_one_step_is_drawn_over_its_length_and_every_row_looks_different(
    opened: Callable[..., Page], tmp_path: Path
) -> None:
    rows = {str(k): VoltVar(damping=0.1 + 0.01 * k) for k in range(14)}
    page = opened(write_report(compare(toy.short(1), rows, certificates=False), tmp_path / "report.html"))
    reach = page.evaluate("document.querySelector('#envelopes .plot')._fullLayout.xaxis.range")
    assert [str(end)[11:16] for end in reach] == ["11:00", "11:15"]
    samples = page.eval_on_selector_all("#rows svg", "all => all.map(one => one.innerHTML)")
    assert len(set(samples)) == len(rows)


def test_without_voltages_of_buses_the_page_says_what_is_missing(opened: Callable[..., Page], tmp_path: Path) -> None:
    made = compare(toy.short(3), ["none"], RunOptions(record="metrics"), certificates=False)
    page = opened(write_report(made, tmp_path / "report.html"), width=360)
    assert "no map" in page.inner_text("#map-missing")
    assert not page.is_visible("#map")
    assert page.locator("#envelopes .plot").count() == 1
    assert _overflow(page) == 0
