"""The real page in a real Chromium: what it counts, keeps, shows, and what it costs."""

import json
import time
from urllib.parse import quote

import numpy as np
import pytest
from support.page import many_scores, plain_server, serving

from sds_hf.explore.exploration import open_exploration
from sds_hf.explore.look import look
from sds_hf.explore.published import write_explorer
from sds_hf.explore.server import make_app
from sds_hf.pipeline import run_demo
from sds_hf.selection.cascade.score import score_for
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.select import select

pytestmark = pytest.mark.browser
ROWS = 100_000


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return run_demo(24, tmp_path_factory.mktemp("demo") / "demo")


@pytest.fixture(scope="module")
def address(demo, tmp_path_factory):
    recipe = Recipe.load("demo")
    marks = tmp_path_factory.mktemp("marks") / "marks.parquet"
    exploration = open_exploration(demo.table.folder, demo.dataset, recipes=[recipe], marks=marks)
    with serving(make_app(exploration)) as url:
        yield url


def recipe_of(browser):
    return Recipe.from_yaml(browser.run("return document.querySelector('.save pre').textContent"))


def test_a_bound_is_moved_and_the_recipe_gives_the_same_rows(browser, address, demo):
    browser.open(address)
    assert browser.kept() == demo.selection.report.kept
    browser.press('[data-key="clip_sim:above"]', *["\ue012"] * 20)  # arrow left
    browser.press('[data-key="asf_miou:below"]', *["\ue012"] * 30)
    kept = browser.kept()
    recipe = recipe_of(browser)
    assert recipe.rules[0].above < 0.8
    ranges = browser.run("return [...document.querySelectorAll('.histogram')].map((one) => one.textContent)")
    words = {name: next(text for text in ranges if text.startswith(name)) for name in ("clip_sim", "asf_miou")}
    assert f"above {recipe.rules[0].above:.3g}" in words["clip_sim"]  # a row that has this number does not stay
    assert "below " in words["asf_miou"]
    assert not any("from " in text for text in ranges)
    assert select(demo.table, recipe).report.kept == kept
    state = browser.driver.current_url
    browser.open(state)
    assert browser.kept() == kept
    browser.shot("bounds")


def test_values_that_were_not_computed_are_said_to_be_so(browser, demo, tmp_path):
    recipe = Recipe.load("demo")
    table = score_for(demo.dataset, recipe, tmp_path / "scores")
    exploration = open_exploration(table.folder, demo.dataset, recipes=[recipe], marks=tmp_path / "marks.parquet")
    rows = table.to_arrow().to_pylist()
    stopped = next(row for row in rows if row["pcs"] is None and row["pcs_low"] is not None)
    with serving(make_app(exploration)) as url:
        browser.open(url)
        assert browser.kept() == demo.selection.report.kept
        lacking = sum("asf_miou" in (row["skipped_scores"] or ()) for row in rows)
        axes = browser.run("return [...document.querySelectorAll('.histogram')].map((one) => one.textContent)")
        assert "pcs_low" not in "".join(axes)
        assert f"{lacking} not computed" in next(text for text in axes if text.startswith("asf_miou"))
        browser.shot("skipped")
        browser.open(f"{url}#{quote(json.dumps({'open': stopped['id']}))}")
        assert "between " in browser.run("return document.querySelector('dialog').textContent")
        assert "not computed" in browser.run("return document.querySelector('dialog').textContent")
        browser.shot("skipped-row")
        browser.open(url)
        browser.press('[data-key="clip_sim:above"]', "\ue011")  # home: the lowest of all
        browser.kept()
        said = browser.run("return document.querySelector('.recipe .problem').textContent")
        assert "was not computed, as no rule needed it: `sds-hf score --for` this recipe computes it" in said
        browser.shot("skipped-refused")
        browser.driver.get("about:blank")  # the page asks for pictures as long as it is open


def test_a_handle_is_dragged_with_the_mouse(browser, address, demo):
    from selenium.webdriver import ActionChains

    browser.open(address)
    before = browser.kept()
    grip = browser.find('[data-key="clip_sim:above"] .hit')
    ActionChains(browser.driver).drag_and_drop_by_offset(grip, -60, 0).perform()
    kept = browser.kept()
    assert kept != before
    assert select(demo.table, recipe_of(browser)).report.kept == kept
    ActionChains(browser.driver).drag_and_drop_by_offset(
        browser.find('[data-key="clip_sim:above"] .hit'), -250, 0
    ).perform()
    assert not any("clip_sim" in rule.reads for rule in recipe_of(browser).rules)


def test_rules_are_added_moved_and_removed_by_keyboard(browser, address, demo):
    browser.open(address)
    browser.press('[data-key="remove-0-2"]', "\ue007")
    browser.wait("return document.querySelectorAll('.rules > li').length === 2")
    browser.run(
        "const s = document.querySelector('[data-key=add-0]'); s.value = 'top_k'; s.dispatchEvent(new Event('change'))"
    )
    browser.wait("return document.querySelectorAll('.rules > li').length === 3")
    browser.press('[data-key="up-0-2"]', "\ue007")
    kept, recipe = browser.kept(), recipe_of(browser)
    assert [rule.kind for rule in recipe.rules] == ["threshold", "top_k", "threshold"]
    assert select(demo.table, recipe).report.kept == kept


def choose(browser, key, value):
    """Choose of a list, and wait until the recipe shows it."""
    browser.run(
        """const list = document.querySelector(`[data-key="${arguments[0]}"]`);
        list.value = arguments[1];
        list.dispatchEvent(new Event('change'));""",
        key,
        value,
    )
    browser.kept()


def test_several_scores_within_groups_and_full_groups(browser, address, demo):
    browser.open(address)
    choose(browser, "order-0-2", "worst_rank")
    browser.press('[data-key="within-classes_present-0-2"]', " ")
    kept, recipe = browser.kept(), recipe_of(browser)
    assert recipe.rules[2].worst_rank == ("asf_miou", "clip_sim")
    assert recipe.rules[2].within == ("classes_present",)
    assert select(demo.table, recipe).report.kept == kept
    choose(browser, "add-0", "at_most_per_group")
    choose(browser, "order-0-3", "chance")
    fewer, recipe = browser.kept(), recipe_of(browser)
    assert recipe.rules[3].label == browser.text(".rules > li:last-child strong")
    assert fewer < kept
    assert select(demo.table, recipe).report.kept == fewer
    browser.run("document.querySelector('[data-key=tab-borderline]').click()")
    browser.wait(
        "return [...document.querySelectorAll('#tiles h3')].some((head) => head.textContent.includes('first out'))"
    )
    assert "is full" in browser.wait("return [...document.querySelectorAll('.tile .note')].at(-1).textContent")
    browser.shot("rules")


def test_a_row_says_where_it_stands_in_each_group(browser, address, demo):
    column = {name: demo.table.to_arrow()[name].to_pylist() for name in ("id", "classes_present", "asf_miou")}
    row = max(range(24), key=lambda row: len(column["classes_present"][row]))
    browser.open(f'{address}#{{"open":"{column["id"][row]}"}}')
    table = browser.wait(
        """return [...document.querySelectorAll('dialog table tr')].map((line) =>
            [...line.children].map((cell) => cell.innerText.trim()))"""
    )
    names = demo.table.manifest["labels"]["names"]
    line = next(line for line in table if line[0].startswith("asf_miou"))
    assert len(table[0]) == 4 + len(column["classes_present"][row])
    for index in column["classes_present"][row]:
        others = [column["asf_miou"][other] for other in range(24) if index in column["classes_present"][other]]
        scored = [value for value in others if value is not None]
        rank = 1 + sum(value > column["asf_miou"][row] for value in scored)
        assert line[table[0].index(f"in class {names[index]}")] == f"{rank} of {len(scored)}"


def test_definitions_are_a_tab_away_and_focus_stays(browser, address):
    browser.open(address)
    browser.run("document.querySelector('.info').focus()")
    assert "higher is better" in browser.wait("return document.querySelector('.tip:popover-open')?.textContent")
    browser.press('[data-key="asf_miou:above"]', "\ue014", "\ue014")  # arrow right, on a bound that is none yet
    browser.kept()
    assert browser.run("return document.activeElement.dataset.key") == "asf_miou:above"
    assert "asf_miou" in recipe_of(browser).rules[2].reads
    browser.press('[data-key="asf_miou:above"]', "\ue017")  # Delete
    browser.kept()
    assert browser.run("return document.activeElement.dataset.key") == "asf_miou:above"
    assert len(recipe_of(browser).rules) == 3


def test_a_rule_that_cannot_be_applied_is_said(browser, address):
    rules = [{"threshold": {"column": "pcs", "above": 0.1}}, {"top_k": {"column": "beauty", "fraction": 0.5}}]
    state = quote(json.dumps({"recipes": [{"name": "bad", "rules": rules}]}))
    browser.open(f"{address}#{state}")
    assert "not all rules are applied" in browser.text(".summary")
    assert browser.text(".recipe .problem").startswith("rule 2 cannot be applied: the table has no beauty")


def test_a_row_is_opened_and_marked(browser, address):
    browser.open(address)
    browser.wait("return document.querySelector('.tile img')?.naturalWidth")
    row = browser.run("const tile = document.querySelector('.tile'); tile.click(); return tile.dataset.id")
    browser.wait("return document.querySelector('dialog[open] canvas')?.width > 0")
    assert row in browser.text("dialog h2")
    assert "clip_sim" in browser.text("dialog table")
    browser.wait("return document.querySelectorAll('dialog .picture').length === 4")
    browser.shot("row")
    browser.press("dialog", "1")
    browser.wait("return document.querySelector('dialog .good[aria-pressed=true]')")
    browser.press("dialog", "\ue00c")  # Escape
    browser.wait("return !document.querySelector('dialog[open]')")
    assert browser.run("return document.activeElement.dataset.id") == row
    browser.press(f'.tile[data-id="{row}"]', "0")
    browser.wait("return document.querySelector('.tile .bad')")
    browser.run("document.querySelector('[data-key=ask]').click()")
    sampled = browser.wait("return document.querySelector('dialog[open] h2')?.textContent")
    browser.press("dialog", "1")
    browser.wait("return document.querySelector('dialog h2').textContent !== arguments[0]", sampled)
    browser.press("dialog", "\ue00c")
    marks = {mark["id"]: mark for mark in browser.run("return fetch('marks').then((answer) => answer.json())")}
    assert marks[row]["mark"] is False
    assert marks[sampled]["mark"] is True


def test_masks_are_drawn_of_their_indices(browser, address, demo):
    from sds_hf.data.images import decode_mask

    browser.open(address)
    row = browser.run("const tile = document.querySelector('.tile'); tile.click(); return tile.dataset.id")
    number = demo.dataset["id"][:].index(row)
    mask = decode_mask(demo.dataset.with_format("arrow")[number]["mask"][0].as_py())
    assert mask.shape[1] != 300  # as wide as a canvas on which nothing is drawn
    opaque = browser.wait(  # in one step, since the page draws its canvases anew
        """const canvas = document.querySelectorAll('dialog .picture canvas')[1];
        if (canvas?.width !== arguments[0]) return null;
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        return Array.from(data.filter((_, place) => place % 4 === 3), (alpha) => alpha > 0);""",
        mask.shape[1],
    )
    assert np.array_equal(np.array(opaque).reshape(mask.shape), mask != 0)


def test_filters_and_two_recipes(browser, address, demo):
    browser.open(address)
    browser.run(
        """const input = document.querySelector('[data-key=filter-text]');
        input.value = 'dog';
        input.dispatchEvent(new Event('change'));"""
    )
    browser.wait("return /of \\d+ drawn/.test(document.querySelector('#tiles h3')?.textContent ?? '')")
    time.sleep(1)
    kept = set(demo.selection.kept_rows().tolist())
    expected = {demo.dataset["id"][row] for row in kept if "dog" in demo.dataset["caption"][row]}
    ids = set(browser.run("return [...document.querySelectorAll('.tile')].map((tile) => tile.dataset.id)"))
    assert ids == expected
    browser.run(
        "document.querySelector('[data-key=clear]').click(); document.querySelector('[data-key=compare]').click()"
    )
    browser.wait("return !document.querySelector('.recipe-1').hidden")
    browser.press('[data-key="remove-0-2"]', "\ue007")
    browser.run("document.querySelector('[data-key=tab-only-a]').click()")
    more = browser.kept() - len(kept)
    browser.wait(
        "return document.querySelector('#tiles h3').textContent.includes(arguments[0])", f"Only A: {more} of {more}"
    )
    browser.shot("compare")


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1366, 900)])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_serious_bars_anyone(browser, address, width, height, theme):
    browser.size(width, height)
    browser.open(f'{address}#{{"theme":"{theme}"}}')
    browser.wait("return document.querySelector('.tile img')?.naturalWidth")
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.faults() == []
    browser.shot(f"{theme}-{width}")
    browser.run("document.querySelector('.tile').click()")
    browser.wait("return document.querySelector('dialog[open]')")
    assert browser.faults() == []
    browser.shot(f"{theme}-{width}-row")


def test_the_one_file_works_with_the_network_cut(browser, demo, tmp_path):
    look(demo.selection, demo.dataset, scores=demo.table, out=tmp_path / "look.html")
    browser.driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    try:
        browser.open((tmp_path / "look.html").as_uri())
        assert browser.kept() == demo.selection.report.kept
        browser.wait("return [...document.querySelectorAll('.tile img')].some((image) => image.naturalWidth)")
        browser.wait("return [...document.querySelectorAll('.tile canvas')].some((mask) => mask.width !== 300)")
        assert (
            browser.run(
                "return performance.getEntriesByType('resource').filter((e) => !e.name.startsWith('data:')).length"
            )
            == 0
        )
        browser.shot("look")
    finally:
        browser.driver.execute_cdp_cmd(
            "Network.emulateNetworkConditions",
            {**offline, "offline": False, "downloadThroughput": -1, "uploadThroughput": -1},
        )


def test_the_published_page_needs_no_server_of_ours(browser, demo, tmp_path):
    from sds_hf.publishing.publish import publish

    folder = tmp_path / "published"
    publish(
        demo.dataset, demo.selection, Recipe.load("demo"), folder=folder, scores=demo.table, explorer=write_explorer
    )
    with plain_server(folder) as url:
        browser.open(f"{url}explorer/index.html")
        assert browser.kept() == demo.selection.report.kept
        browser.wait("return document.querySelector('.tile img')?.naturalWidth")
        browser.shot("published")


def test_texts_of_others_stay_texts(browser, job, tmp_path):
    """The job's ids and captions hold markup."""
    with serving(make_app(open_exploration(job.table.folder, job.dataset, marks=tmp_path / "marks.parquet"))) as url:
        browser.open(f'{url}#{{"open":"r|2 <2>"}}')
        assert "<b>bold</b>" in browser.wait("return document.querySelector('dialog .caption')?.textContent")
        assert browser.run("return document.querySelectorAll('dialog .caption *').length") == 0
        assert browser.text("dialog h2") == "r|2 <2>"


def test_a_hundred_thousand_rows(fresh_browser, tmp_path, capsys):
    browser, folder = fresh_browser, many_scores(tmp_path / "scores", ROWS)
    recipe = Recipe.from_dict(
        {
            "name": "large",
            "rules": [
                {"threshold": {"column": "clip_sim", "above": "q0.2"}},
                {"top_per_group": {"column": "pcs", "by": ["num_classes_present", "classes_present"], "fraction": 0.6}},
            ],
        }
    )
    with serving(make_app(open_exploration(folder, recipes=[recipe], marks=tmp_path / "marks.parquet"))) as url:
        _, empty = browser.memory()
        browser.open(url)
        assert browser.kept() == select(str(folder), recipe).report.kept
        paint, ready = browser.run(
            """return [performance.getEntriesByName('first-contentful-paint')[0]?.startTime,
                       performance.getEntriesByName('ready')[0].startTime]"""
        )
        browser.driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
        heap, (page, all_processes) = browser.run("return performance.memory.usedJSHeapSize") / 2**20, browser.memory()
        brush = browser.driver.execute_async_script(
            """const done = arguments[0], handle = document.querySelector('[data-key="clip_sim:above"]'), times = [];
            const step = () => {
              const start = performance.now();
              handle.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}));
              requestAnimationFrame(() => setTimeout(() => {
                times.push(performance.now() - start);
                times.length < 10 ? step() : done(times);
              }));
            };
            step();"""
        )
        assert browser.kept() == select(str(folder), recipe_of(browser)).report.kept
    with capsys.disabled():
        print(
            f"\n{ROWS:,} rows: first paint {paint:.0f} ms, all shown {ready:.0f} ms, "
            f"memory: JavaScript {heap:.0f} MB, the page's process {page:.0f} MB, "
            f"all of Chromium {all_processes:.0f} MB ({empty:.0f} without a page), "
            f"a step of a bound {sorted(brush)[5]:.0f} ms (with the frame)"
        )
    assert paint < 2000
    assert all_processes < 500
