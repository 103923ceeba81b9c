"""Dataset cards: what they say, and that nothing from the data can break them."""

import ast
import re

import pytest
from datasets import Image as ImageFeature
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard
from hypothesis import example, given, settings
from markdown_it import MarkdownIt
from support.reports import make_recipe, make_report
from support.texts import texts

from sds_hf.data.labels import VOC
from sds_hf.publishing.card.handwritten import END, START, keep_by_hand
from sds_hf.publishing.card.markup import URL, code, escape, fenced, link, linked
from sds_hf.publishing.card.render import render_card
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.report import ClassCount, Report

MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def tokens(text: str):
    return MARKDOWN.parse(text.split("\n---\n", 1)[1] if text.startswith("---\n") else text)


def plain(inline) -> str:
    """What a reader sees of a line."""
    return "".join(" " if child.type == "softbreak" else child.content for child in inline.children or [])


def tables(text: str) -> list[list[list[str]]]:
    """Cells of all tables, as a reader sees them."""
    found: list = []
    for token in tokens(text):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and found and token.level > 3:
            found[-1][-1].append(plain(token))
    return found


def blocks(text: str, language: str) -> list[str]:
    return [token.content for token in tokens(text) if token.type == "fence" and token.info == language]


def links(text: str) -> list[str]:
    """Where the links and pictures of a text lead."""
    inside = [child for token in tokens(text) for child in token.children or []]
    return [child.attrs.get("href") or child.attrs["src"] for child in inside if child.type in ("link_open", "image")]


def seen(value: str) -> str:
    """A text with its white space as a page shows it."""
    return " ".join(re.sub(r"[\x00-\x08\x0e-\x1b\x7f\x80-\x84\x86-\x9f]", "\ufffd", value).split())


# What it says


def test_the_front_matter_is_what_the_hub_reads():
    publish = {
        "title": "Mine: all",
        "license": "other",
        "license_name": "artwork",
        "license_link": "https://e.org/l",
        "tags": ["voc"],
    }
    data = DatasetCard(render_card(make_recipe(**publish), make_report())).data
    assert (data.pretty_name, data.license, data.license_name) == ("Mine: all", "other", "artwork")
    assert (data.size_categories, data.task_categories, data.task_ids) == (
        ["n<1K"],
        ["image-segmentation"],
        ["semantic-segmentation"],
    )
    assert data.tags == ["synthetic", "sds-hf", "voc"]
    configs = MetadataConfigs.from_dataset_card_data(data)
    assert {name: config["data_files"] for name, config in configs.items()} == {
        "default": [{"split": "train", "path": "data/train-*"}],
        "scores": "scores/*.parquet",
    }
    info = DatasetInfosDict.from_dataset_card_data(data)["default"]
    assert info.splits["train"].num_examples == 300
    assert info.features["classes"].feature.names == list(VOC.names)
    assert info.features["mask"] == ImageFeature()


@pytest.mark.parametrize(
    ("publish", "title"),
    [({"to": "me/sds-voc"}, "sds-voc"), ({"to": None, "folder": "out/sds-coco"}, "sds-coco"), ({"to": None}, "mine"),
     ({"to": "me/sds-voc", "title": "Mine"}, "Mine")],
)  # fmt: skip
def test_a_card_is_headed_by_the_name_of_its_repository_or_folder(publish, title):
    card = DatasetCard(render_card(make_recipe(**publish), make_report()))
    assert card.data.pretty_name == title
    assert card.text.strip().startswith(f"# {title}\n")


@pytest.mark.parametrize(
    ("rows", "size"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (10**6, "1M<n<10M"),
                       (10**8, "100M<n<1B"), (10**12 - 1, "100B<n<1T"), (10**12, "n>1T")]
)  # fmt: skip
def test_sizes_are_called_as_the_hub_calls_them(rows, size):
    assert DatasetCard(render_card(make_recipe(), make_report(kept=rows))).data.size_categories == [size]


def test_the_funnel_and_the_classes_are_there():
    text = render_card(make_recipe(), make_report())
    funnel = next(table for table in tables(text) if table[0][0] == "step")
    assert funnel[1:] == [
        ["could be read and scored", "1,000", "990", "dropped:failed 10"],
        ["clip_sim > q0.2", "990", "790", "dropped:clip_sim 198, dropped:null 2"],
        ["top 50% of each class by pcs", "790", "300", "dropped:top_fraction 490"],
    ]
    classes = next(table for table in tables(text) if table[0][0] == "index")
    assert [row[1] for row in classes[1:]] == ["background", "aeroplane", "person", "(ignored)"]
    assert classes[1][2:] == ["none", "", "", ""]
    assert classes[2][2:] == ["#0078b4", "800", "200", "25.0\u00a0%"]
    assert "\nNo candidate shows 18 more: 2 bicycle, 3 bird, " in text
    assert "18 sofa, 19 train, 20 tvmonitor.\n" in text
    assert "a quantile" in text
    assert "puts rows into groups" in text


def test_columns_are_explained_by_the_scores_themselves():
    columns = dict(
        next(table for table in tables(render_card(make_recipe(), make_report())) if table[0][0] == "column")[1:]
    )
    assert set(columns) == {"id", "image", "mask", "caption", "classes", "class_prompt", "pcs"}
    assert columns["pcs"].startswith("Perturbation-based CLIP similarity")


def test_a_space_without_background_is_not_said_to_have_one():
    report = make_report()
    report.provenance["labels"] = {"names": ["road", "sky"], "has_background": False}
    report.classes = [ClassCount(id=0, name="road", before=5, after=4)]
    text = render_card(make_recipe(), report)
    assert "background" not in text.split("## Classes")[1].split("## How")[0]
    assert next(table for table in tables(text) if table[0][0] == "index")[1][:4] == ["0", "road", "#4bc378", "5"]


def test_the_truth_is_told_where_it_is_known():
    text = render_card(make_recipe(), make_report(truth={"none": (500, 250), "torn": (500, 50)}))
    assert ["torn", "500", "50"] in tables(text)[3]
    assert "50.0\u00a0% of the candidates were made without a defect" in text
    assert "83.3\u00a0%" in text
    assert "without a defect" not in render_card(make_recipe(), make_report())


def test_what_is_not_there_is_not_mentioned():
    metadata = {key: value for key, value in make_report().metadata.items() if key != "configs"}
    recipe = Recipe.from_dict({"name": "bare"})
    text = render_card(recipe, Report(rows=10, kept=10, metadata=metadata))
    for name in (
        "scores.png",
        "samples.png",
        '"scores"',
        "scores/",
        "SDS",
        "bibtex",
        "SHA-256 of their content",
        "quantile",
    ):
        assert name not in text
    assert 'load_dataset("bare", split="train")' in text


def test_folders_of_the_publisher_are_not_told():
    text = render_card(make_recipe(), make_report())
    assert "alice" not in text
    assert f"- candidates: gen\\_voc; SHA-256 of their content `{'a' * 64}`" in text.splitlines()


@pytest.mark.parametrize(
    ("publish", "said"),
    [
        ({}, "The publisher gave no licence. Ask before you use it."),
        ({"license": "cc-by-4.0"}, "cc-by-4.0."),
        ({"license": "other", "license_name": "a_b", "license_link": "https://e.org/by-sa_4"}, r"[a\_b](<https://e.org/by-sa_4>)."),
        ({"license": "other", "license_name": "x", "license_link": "LICENSE"}, "x, see `LICENSE`."),
    ],
)  # fmt: skip
def test_the_licence(publish, said):
    assert said in render_card(make_recipe(**publish), make_report()).splitlines()


# That it is a function of recipe and report


def test_the_same_recipe_and_report_give_the_same_card(tmp_path):
    recipe, report = make_recipe(description="it's"), make_report(truth={"none": (1, 1)})
    text = render_card(recipe, report)
    report.save(tmp_path / "report.json")
    assert render_card(recipe, report) == text
    assert render_card(Recipe.from_yaml(recipe.to_yaml()), Report.load(tmp_path / "report.json")) == text


# That nothing breaks it


@given(value=texts)
@example("a\\")
@example("x\\|y`z")
@example("1) one")
@example("C #")
@example("https://e.org/?a=1&copy=2 and http://x")
@example("http://e.org www.e.org me@e.org <http://e.org>")
def test_escaped_text_stays_text(value):
    assert links(escape(value)) == links(code(value)) == []
    table = f"| a | b | c |\n|---|---|---|\n| {escape(value)} | {code(value)} | end |\n"
    assert tables(table) == [[["a", "b", "c"], [seen(value), seen(value), "end"]]]
    paragraph = list(tokens(f"- {escape(value)}\n\n# {escape(value)}\n\n{escape(value)}\n"))
    assert {token.type for token in paragraph} <= {
        "bullet_list_open", "list_item_open", "paragraph_open", "inline", "paragraph_close", "list_item_close",
        "bullet_list_close", "heading_open", "heading_close",
    }  # fmt: skip
    assert [plain(token) for token in paragraph if token.type == "inline"] in (
        [seen(value)] * 3,
        [""],  # nothing but white space: an empty item and heading, no paragraph
    )


@given(value=texts)
@example("https://e.org/?a=1&copy=2 and http://x")
@example("(https://e.org/a_b).")
def test_addresses_of_the_publisher_become_links_and_nothing_else_does(value):
    (inline,) = [token for token in tokens(f"a {linked(value)}") if token.type == "inline"]
    assert plain(inline) == f"a {seen(value)}".strip()
    assert set(links(linked(value))) == set(links(" ".join(f"<{part}>" for part in URL.findall(seen(value)))))
    assert {*links(link(value, "http://e.org")), *links(link(value, f"javascript:{value}"))} == {"http://e.org"}


@given(value=texts)
def test_fenced_text_stays_in_its_block(value):
    (block,) = tokens(fenced(value, "bibtex"))
    assert (block.type, block.info) == ("fence", "bibtex")
    assert seen(block.content) == seen(value)


@settings(max_examples=25)
@given(value=texts)
@example("\x85")
@example(f"\n{START}\n{START}\n")
@example(f"\n{END}\n")
def test_texts_from_people_and_data_cannot_break_the_card(value):
    names = [*VOC.names[:15], f"{value} ", *VOC.names[16:]]  # never one of the others
    report = make_report(names, truth={"none": (5, 5), value: (2, 1)}, warnings=[f"class {value} lost 1 of 2 rows"])
    provenance = report.provenance
    provenance["notes"], provenance["terms"] = [value], {"license": "l" + value, "citation": "c" + value}
    provenance["scores"][0]["text"] = provenance["versions"][value] = value
    provenance["source"] |= {"name": "n" + value, "sha256": value}
    provenance["models"] = {value: {"weights_sha256": value}}
    report.steps[0].rule, report.steps[0].dropped = value, {f"dropped:{value}": 2}
    given = {
        "title": "t",
        "description": "d",
        "attribution": "a",
        "license_name": "",
        "license_link": "",
        "citation": "b",
    }
    publish = {key: start + value for key, start in given.items()} | {"license": "other", "tags": [value]}
    recipe = make_recipe(
        **publish, origins=[{"name": "o" + value, "role": value, "license": "l" + value, "link": value}]
    )
    text = render_card(recipe, report)
    data = DatasetCard(text).data
    assert data.pretty_name == " ".join(("t" + value).split())
    assert (data.license_name, data.license_link, data.tags[-1]) == (value, value, value)
    assert data.to_dict()["dataset_info"] == report.metadata["dataset_info"]
    assert [token.tag for token in tokens(text) if token.type == "heading_open"] == ["h1"] + ["h2"] * 7
    assert [len(table[0]) for table in tables(text)] == [2, 6, 4, 3, 3]
    assert not [token for token in tokens(text) if token.type.startswith("html")]
    found = links(" ".join(f"<{part}>" for part in URL.findall(seen(value))))
    assert {*links(text)} <= {"https://arxiv.org/abs/2501.15201", *report.assets, *found, *links(f"<{seen(value)}>")}
    shown = next(table for table in tables(text) if table[0][0] == "index")
    assert shown[3][1] == seen(value)
    assert len(shown) == 5
    assert tables(text)[-1][1][::2] == [seen(value), seen("l" + value)]
    (recipe_block,) = blocks(text, "yaml")
    assert Recipe.from_yaml(recipe_block).publish.title.split() == ("t" + value).split()
    assert len(blocks(text, "bibtex")) == 3
    assert keep_by_hand(text, text) == text


@settings(max_examples=25)
@given(address=texts)
def test_the_code_to_load_it_is_python_whatever_the_address(address):
    recipe = make_recipe()
    recipe.publish = recipe.publish.model_copy(update={"to": None, "folder": "f" + address})
    code_blocks = blocks(render_card(recipe, make_report()), "python")
    assert len(code_blocks) == 3
    strings = [
        node.value for block in code_blocks for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Constant)
    ]
    assert strings.count("f" + address) == 2
