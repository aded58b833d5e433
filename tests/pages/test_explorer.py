"""The explorer in a browser: controls, plots, table, link, keyboard, colours, width, speed."""

from itertools import product
from pathlib import Path

import pytest

from simulator.explorer import explorer_page
from tests.pages.browser import DESK, PHONE, Page
from tests.pages.sweep import AXES, BATCHES, FRACS, LINKS, REASON, SYSTEMS, Row, large_sweep, point, small_sweep

SLOWEST_MS = 1500  # on a machine that others use as well; docs say what was measured on a quiet one


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of all combinations."""
    path = tmp_path_factory.mktemp("explorer") / "small.html"
    path.write_text(explorer_page(small_sweep(), axes=AXES, title="Small & <b>strange</b>", notes=["By formula."]))
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page of ten thousand points."""
    path = tmp_path_factory.mktemp("explorer") / "large.html"
    path.write_text(explorer_page(large_sweep(), axes=(*AXES, "seed"), title="Large"))
    return path


def line(page: Page, name: str) -> tuple[list[float], list[float]]:
    """Return x and y of a trace of the first plot."""
    found = page.js(
        "const one=document.getElementById('lines').data.find(one=>one.name===arguments[0]);"
        "return one?[[...one.x],[...one.y]]:null",
        name,
    )
    assert isinstance(found, list), name
    return found[0], found[1]


def tpot_s(frac: float, link: str, system: str, batch: int) -> float:
    """Return the metric that a fresh page shows."""
    found = point(frac, link, system, batch)["tpot_s"]
    assert isinstance(found, dict)
    return float(found["p50"])


def runs(frac: float, link: str, system: str, batch: int) -> bool:
    """Tell whether a point has not failed."""
    return point(frac, link, system, batch)["status"] == "ok"


def place_of(row: Row) -> tuple[float, str, str, int]:
    """Return where a point lies on the axes."""
    frac, batch = row["cache.frac"], row["batch"]
    assert isinstance(frac, float)
    assert isinstance(batch, int)
    return frac, str(row["pcie"]), str(row["system"]), batch


def test_a_fresh_page_shows_all(page: Page, small: Path) -> None:
    """Latency along the cache's size, a line per system of the middle points, and text that stays text."""
    page.show(small)
    assert page.text("#counts") == "72 of 72 points shown, 9 of them failed."
    assert page.text("h1") == "Small & <b>strange</b>"
    assert page.js("return document.querySelector('img')===null")
    x, y = line(page, "mixtral-offloading")
    assert x == list(FRACS)
    ran = sorted(tpot_s(0.5, link, "mixtral-offloading", batch) for link in LINKS for batch in BATCHES)
    assert y[2] == pytest.approx(1e3 * ran[2], rel=1e-12), "the lower middle one of six, in ms"
    names = page.js("return document.getElementById('lines').data.map(one=>one.name)")
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in str(names)


def test_sliders_and_selects_leave_single_points(page: Page, small: Path) -> None:
    """One link and one batch: each mark is a point that was run, with its exact figures."""
    page.show(small)
    page.choose("axis-pcie", str(LINKS.index("gen4x16")))
    page.choose("axis-batch", "1")
    assert page.text("#counts") == f"{len(FRACS) * len(SYSTEMS)} of 72 points shown."
    _, y = line(page, "on_demand")
    assert y == pytest.approx([1e3 * tpot_s(frac, "gen4x16", "on_demand", 1) for frac in FRACS], rel=1e-12)
    told = page.js("return document.getElementById('lines').data.find(one=>one.name==='on_demand').text[0]")
    assert f"({tpot_s(0.1, 'gen4x16', 'on_demand', 1)} s)" in str(told)
    page.redraw("document.getElementById('reset').click()")
    assert page.text("#counts").startswith("72 of 72")


def test_several_of_a_category(page: Page, small: Path) -> None:
    """By boxes; the select says how many."""
    page.show(small)
    page.redraw("document.querySelector('.boxes input[value=\"0\"]').click()")
    assert page.text("#counts").startswith("48 of 72")
    assert page.js("return document.getElementById('axis-pcie').selectedOptions[0].textContent") == "2 of 3"


def test_a_choice_of_metric_and_axes(page: Page, small: Path) -> None:
    """Every plot follows."""
    page.show(small)
    page.choose("choose-metric", "hit_frac")
    assert page.js("return document.getElementById('lines').layout.yaxis.title.text") == "hit (%)"
    page.choose("choose-along", "batch")
    assert line(page, "on_demand")[0] == list(BATCHES)
    page.choose("choose-by", "")
    assert line(page, "hit")[0] == list(BATCHES)
    page.choose("choose-down", "system")
    heat = page.js("const one=document.getElementById('heat').data[0];return [one.z.length,one.z[0].length]")
    assert heat == [len(SYSTEMS), len(FRACS)]


def test_the_front_and_the_causes(page: Page, small: Path) -> None:
    """The front holds the best of each size; the causes of a point add up to its time per token."""
    page.show(small)
    page.js("document.getElementById('card-front').scrollIntoView()")
    page.wait("return document.getElementById('front').data!==undefined")
    front = page.js("return [...document.getElementById('front').data[1].customdata].length")
    best = [
        min(tpot_s(*place) for place in product((frac,), LINKS, SYSTEMS, BATCHES) if runs(*place)) for frac in FRACS
    ]
    assert front == len({min(best[: index + 1]) for index in range(len(best))})
    page.js("document.getElementById('card-causes').scrollIntoView()")
    page.wait("return document.getElementById('causes').data!==undefined")
    page.choose("choose-line", "on_demand")
    sums = page.js(
        "const data=document.getElementById('causes').data;"
        "return [data.reduce((sum,one)=>sum+one.y[1],0),data[0].customdata[1]]"
    )
    assert isinstance(sums, list)
    row = small_sweep()[int(sums[1])]
    assert (row["system"], row["cache.frac"]) == ("on_demand", FRACS[1])
    makespan_ns = row["makespan_ns"]
    assert isinstance(makespan_ns, int)
    assert sums[0] == pytest.approx(makespan_ns / 64 / 1e6, rel=1e-9)


def test_failed_points_are_seen(page: Page, small: Path) -> None:
    """As marks with the reason, as rows, and alone if wished."""
    page.show(small)
    told = page.js("return document.getElementById('lines').data.find(one=>one.name==='failed').text")
    assert isinstance(told, list)
    assert len(told) >= 1
    assert "12 MiB&lt;/b&gt; short" in told[0]
    page.choose("choose-outcome", "failed")
    assert page.text("#counts") == "9 of 72 points shown, 9 of them failed."
    assert page.texts("#rows tbody td.bad") == [f"failed: {REASON}"] * 9


def test_a_click_tells_the_point_and_its_command(page: Page, small: Path) -> None:
    """A real one, on a mark of the first plot."""
    page.show(small)
    page.choose("axis-pcie", "0")
    page.choose("axis-batch", "1")
    place = page.js(
        "const plot=document.getElementById('lines'),box=plot.getBoundingClientRect(),layout=plot._fullLayout;"
        "const one=plot.data.find(one=>one.name==='on_demand');"
        "return [box.x+layout._size.l+layout.xaxis.l2p(one.x[2]),box.y+layout._size.t+layout.yaxis.l2p(one.y[2])]"
    )
    assert isinstance(place, list)
    page.click(*place)
    page.wait("return document.getElementById('command')!==null")
    assert page.text("#command") == point(0.5, "gen3x16", "on_demand", 1)["command"]
    assert str(point(0.5, "gen3x16", "on_demand", 1)["makespan_ns"]) in page.text("#point dl")
    page.redraw("document.getElementById('close-point').click()")
    assert page.js("return document.getElementById('command')===null")


def test_a_click_on_the_map(page: Page, small: Path) -> None:
    """Tells the middle point of the cell."""
    page.show(small)
    page.js("document.getElementById('card-heat').scrollIntoView()")
    place = page.js(
        "const plot=document.getElementById('heat'),box=plot.getBoundingClientRect(),layout=plot._fullLayout;"
        "return [box.x+layout._size.l+layout.xaxis.l2p(3),box.y+layout._size.t+layout.yaxis.l2p(1)]"
    )
    assert isinstance(place, list)
    page.click(*place)
    page.wait("return document.getElementById('command')!==null")
    command = page.text("#command")
    assert "--cache-frac 1.0 --pcie gen4x16" in command
    figures = sorted((tpot_s(1.0, "gen4x16", s, b), s, b) for s in SYSTEMS for b in BATCHES)
    _, system, batch = figures[(len(figures) - 1) // 2]
    assert command.endswith(f"--system '{system}' --batch {batch}")


def test_the_table_sorts_and_finds(page: Page, small: Path) -> None:
    """By a heading, up and down, what is missing last; by words; page by page."""
    page.show(small)
    heading = "document.querySelector('#rows th[data-name=\"tpot_s.p50\"] button').click()"
    figures = "return [...document.querySelectorAll('#rows tbody tr')].map(row=>Number(row.dataset.row))"
    rows = small_sweep()
    timed = sorted(tpot_s(*place) for place in product(FRACS, LINKS, SYSTEMS, BATCHES) if runs(*place))
    for sign in (1, -1):
        page.redraw(heading)
        found = page.js(figures)
        assert isinstance(found, list)
        assert [tpot_s(*place_of(rows[row])) for row in found] == timed[::sign][: len(found)]
    assert page.js("return document.querySelector('#rows th[data-name=\"tpot_s.p50\"]').ariaSort") == "descending"
    page.redraw("document.getElementById('next').click()")
    page.redraw("document.getElementById('next').click()")
    assert page.texts("#rows tbody td.bad") == [f"failed: {REASON}"] * 9, "the last page ends with those that have none"
    assert page.js("return document.getElementById('next').disabled")
    page.choose("words", "GEN5x16 mixtral failed")
    assert page.number("return document.querySelectorAll('#rows tbody tr').length") == 1
    page.redraw("document.querySelector('#columns input[value=\"hit_frac\"]').click()")
    assert "hit" in page.texts("#rows th button")


def test_a_link_restores_the_view(page: Page, small: Path) -> None:
    """What was chosen stands in the address, and an address sets what is chosen; what it does not know is left out."""
    page.show(small)
    page.choose("choose-metric", "hit_frac")
    page.choose("axis-pcie", "1")
    page.choose("axis-batch", "2")
    page.choose("words", "mixtral")
    page.redraw("document.querySelector('#rows tbody button').click()")
    page.wait("return location.hash.includes('at=')")
    fragment = str(page.js("return location.hash.slice(1)"))
    told, counted, listed = page.text("#point dl"), page.text("#counts"), page.texts("#rows tbody td")
    page.show(small, fragment=fragment)
    assert (page.text("#point dl"), page.text("#counts"), page.texts("#rows tbody td")) == (told, counted, listed)
    assert page.js("return document.getElementById('choose-metric').value") == "hit_frac"
    assert page.js("return document.getElementById('axis-batch').value") == "2"
    page.redraw("location.hash='only.pcie=gen3x16&m=of-another-version&at=unknown'")
    assert page.text("#counts").startswith("24 of 72")
    assert page.js("return document.getElementById('choose-metric').value") == "tpot_s.p50"


def test_tab_reaches_every_control(page: Page, small: Path) -> None:
    """In their order, each with a name, and Enter works on a heading."""
    page.show(small)
    page.js(
        "window.controls=()=>[...document.querySelectorAll('select,input,button,summary')]"
        ".filter(one=>one.checkVisibility()&&!one.disabled);window.seen=[]"
    )
    for _ in range(int(page.number("return controls().length")) + 12):
        page.press("Tab", 9)
        page.js("seen.push(document.activeElement)")
    assert page.js("return controls().filter(one=>!seen.includes(one)).map(one=>one.id||one.textContent)") == []
    order = page.js("return seen.map(one=>controls().indexOf(one)).filter(place=>place>=0)")
    assert isinstance(order, list)
    first_round = order[: int(page.number("return controls().length"))]
    assert first_round == sorted(first_round)
    nameless = page.js(
        "return [...document.querySelectorAll('select,input')].filter(one=>!one.ariaLabel&&!one.labels.length)"
        ".map(one=>one.id)"
    )
    assert nameless == []
    page.js("document.querySelector('#rows th[data-name=\"pcie\"] button').focus()")
    page.press("Enter", 13)
    page.wait("return document.querySelector('#rows th[data-name=\"pcie\"]').ariaSort==='ascending'")
    assert page.js("return document.activeElement.textContent") == "pcie", "the focus stays on the heading"
    page.js("document.querySelector('#rows tbody tr:nth-child(3) button').focus()")
    page.press("Enter", 13)
    page.wait("return document.getElementById('command')!==null")
    assert page.js("return document.activeElement.closest('tr').rowIndex") == 3


def test_light_and_dark(page: Page, small: Path) -> None:
    """As the system says, or as is chosen; plots too."""
    ground = "return getComputedStyle(document.body).backgroundColor"
    ink = "return document.getElementById('lines').layout.font.color"
    page.show(small, scheme="dark")
    assert (page.js(ground), page.js(ink)) == ("rgb(20, 24, 31)", "#e6e9ef")
    page.choose("theme", "light")
    assert (page.js(ground), page.js(ink)) == ("rgb(255, 255, 255)", "#1d2330")
    page.choose("theme", "")
    assert page.js(ground) == "rgb(20, 24, 31)"


@pytest.mark.parametrize("size", [DESK, PHONE, (320, 640)])
def test_no_page_is_wider_than_its_window(page: Page, small: Path, size: tuple[int, int]) -> None:
    """Nor any card; wide tables scroll in their own place."""
    page.show(small, size=size)
    for card in ("lines", "heat", "front", "causes"):
        page.js("document.getElementById('card-'+arguments[0]).scrollIntoView()", card)
        page.wait("return document.getElementById(arguments[0]).data!==undefined", card)
    page.redraw("document.querySelector('#rows tbody button').click()")
    page.js("document.getElementById('filters').open=true")
    assert page.overflow_pixels() == 0
    beyond = page.js(
        "return [...document.querySelectorAll('.card,.card *,#view *,#axes *,#point *')]"
        ".filter(one=>one.checkVisibility()&&one.getBoundingClientRect().right>innerWidth+1)"
        ".map(one=>one.tagName+'.'+one.getAttribute('class'))"
    )
    assert beyond == []


def test_ten_thousand_points_redraw_at_once(page: Page, large: Path) -> None:
    """From a control to the last plot in sight, the fastest of some: a bound that only a real fault breaks."""
    page.show(large)
    assert page.text("#counts") == "10000 of 10000 points shown."
    times_ms = [page.choose("choose-metric", metric) for metric in ("hit_frac", "tpot_s.p50") * 2]
    times_ms += [page.choose("axis-seed", str(place)) for place in (1, 2, 0)]
    assert min(times_ms) < SLOWEST_MS
    marks = page.number("return document.querySelectorAll('#lines .point').length")
    assert marks < 1500
    assert page.text("#rows span[role=status]") == "10000 points, page 1 of 400"


def test_nothing_ran(page: Page, tmp_path: Path) -> None:
    """A sweep whose points all failed is still a page: a table with the reasons."""
    rows = [{"batch": batch, "status": "failed", "reason": REASON, "command": "moesim run"} for batch in BATCHES]
    path = tmp_path / "failed.html"
    path.write_text(explorer_page(rows, axes=["batch"], title="None ran"))
    page.show(path)
    assert page.text("#counts") == "2 of 2 points shown, 2 of them failed."
    assert page.texts("#rows tbody td.bad") == [f"failed: {REASON}"] * 2
    assert page.js("return document.querySelector('.cards').checkVisibility()") is False


def test_a_single_point(page: Page, tmp_path: Path) -> None:
    """One row, one axis, one metric."""
    path = tmp_path / "single.html"
    path.write_text(explorer_page([{"batch": 1, "tpot_p50_s": 0.02}], axes=["batch"], title="One"))
    page.show(path)
    assert line(page, "TPOT p50") == ([1], [20])


def test_what_is_in_sight_may_be_told_late(page: Page, small: Path) -> None:
    """The page counts as drawn once its first plot is, however late the browser tells what is in sight."""
    script = (
        "const Sight=IntersectionObserver;window.IntersectionObserver=class extends Sight{"
        "constructor(told,options){super((...all)=>setTimeout(told,300,...all),options)}}"
    )
    added = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
    try:
        page.show(small)
        assert page.js("return document.getElementById('lines').data!==undefined")
    finally:
        page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
