"""What a person is told: nothing of the machine, nothing that a terminal or a spreadsheet obeys."""

import logging
import warnings

import pytest

from sds_hf.cli.failures import stop
from sds_hf.cli.terminal import Screen, plain_messages, text
from sds_hf.errors import csv_cell, plain, public_name, public_text, without_secrets


@pytest.mark.parametrize(
    "address",
    [
        "https://me:S3CRET@host/x.parquet",
        "https://S3CRET@host/x.parquet",
        "https://me:S3C@RET:S3CRET@host:8080/x.parquet",
        "https://:S3CRET@host/x.parquet",
        "s3://KEY:S3CRET@bucket/x.parquet",
        "https://host/x.parquet?X-Amz-Signature=S3CRET",
        "https://host/x.parquet?a=1&sig=S3CRET#S3CRET",
        "https://host?token=S3CRET",
        "https://host/x.parquet#access_token=S3CRET",
        "HTTPS://me:S3CRET@HOST/x.parquet",
        "zip://a.png::https://me:S3CRET@host/x.zip?sig=S3CRET",
        "http://127.0.0.1:8080/a?sig=S3CRET",
    ],
)
@pytest.mark.parametrize("around", ["{}", "cannot read {}", "'{}' is gone", "({}), again", "<{}>: no\nanswer", "a{}b"])
def test_addresses_are_told_without_user_and_query(address, around):
    for cleaned in (without_secrets(around.format(address)), public_text(around.format(address))):
        assert "S3CRET" not in cleaned, cleaned
        assert "host" in cleaned.lower() or "bucket" in cleaned or "127.0.0.1:8080" in cleaned
    assert "S3CRET" not in public_name(address)


@pytest.mark.parametrize(
    "path",
    [
        "/home/alice/SECRET/x.png",
        "/mnt/SECRET project/x.png",
        "~/SECRET/x.png",
        "~alice/SECRET/x.png",
        "../SECRET/x.png",
        "../../SECRET/x.png",
        "./SECRET/x.png",
        "C:\\Users\\SECRET\\x.png",
        "d:/SECRET/x.png",
        "\\\\server\\SECRET\\x.png",
        "file:///home/SECRET/x.png",
        "//server/SECRET/x.png",
        "/SECRET/x.png",
    ],
)
@pytest.mark.parametrize("around", ["{}", "cannot read {}: no such file", "'{}' is gone", "({})", "image {}: broken"])
def test_paths_are_told_by_their_last_part(path, around):
    cleaned = public_text(around.format(path))
    assert "SECRET" not in cleaned
    assert cleaned == around.format("x.png")


@pytest.mark.parametrize("sentence", ["and/or", "a / b", "1/2 of it", "data/train-00000.parquet", "a: b", "12:30/x"])
def test_what_is_no_path_stays(sentence):
    assert public_text(sentence) == sentence


@pytest.mark.parametrize(
    "unit", ["a://", "a://?.", "://:", "://a:b", "/a b", "~a ", "../", "a+", "x@", "://x@", "c:\\", "a://b?)", "'/a'"]
)
@pytest.mark.parametrize("end", ["", "x", " @", '"'])
def test_a_text_of_a_stranger_is_cleaned_in_time_however_long(unit, end):
    """A name of 200,000 characters in which patterns begin everywhere took minutes."""
    text = unit * (200_000 // len(unit)) + end
    assert len(public_text(text)) <= len(text)


OBEYED = "a\x1b]0;OWNED\x07\x1b[2J\x9b31m\u202egnp\u2066\u200b\ufeff\ud800\r\n\t\u2028b"


def test_what_a_terminal_would_obey_is_shown():
    shown = plain(OBEYED)
    assert shown.isprintable()
    assert r"\x1b]0;OWNED\x07" in shown
    assert plain("👩\u200d🚀 名前 é ~!") == "👩\u200d🚀 名前 é ~!"


@pytest.mark.parametrize("value", [OBEYED, "[/]", "[bold]x[/bold]", "[/red] [link=http://x]", "{}", ":smile:", "\\["])
def test_values_are_no_markup(value, capsys):
    assert text("[red]failed[/] {}", value).plain == f"failed {plain(value)}"
    screen = Screen()
    screen.say("[bold]{}[/] rows", value)
    screen.print(value, soft_wrap=True)
    assert capsys.readouterr().out == f"{plain(value)} rows\n{plain(value, lines=True)}\n"


def test_logs_and_warnings_of_all_libraries_are_shown_too(capsys, caplog):
    with plain_messages():
        logging.getLogger("datasets").warning("read %s", OBEYED)
        assert warnings.formatwarning(OBEYED, UserWarning, "x.py", 1).rstrip("\n").isprintable()
        logging.getLogger("huggingface_hub").warning("requesting HEAD %s", "http://me:S3CRET@host/x?sig=S3CRET")
        assert "S3CRET" not in warnings.formatwarning("http://me:S3CRET@host/x", UserWarning, "x.py", 1)
    assert caplog.messages[0].replace("\n", "").isprintable()
    assert caplog.messages[1] == "requesting HEAD http://host/x"


def test_an_error_is_as_long_as_a_person_reads(capsys):
    assert stop("ValueError", "x" * 2_000_000, 2, json=False) == 2
    assert len(capsys.readouterr().err) < 4100


@pytest.mark.parametrize("value", ["=cmd|'/c calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1", "-cmd()"])
def test_a_cell_that_a_spreadsheet_would_compute_is_text(value):
    assert csv_cell(value) == f"'{value}"


@pytest.mark.parametrize("value", ["-2", "-2.5", "a=b", "-rf", "", "1e5", "x@y"])
def test_other_cells_stay(value):
    assert csv_cell(value) == value
