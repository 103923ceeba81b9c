"""The example at the end of each help is one that the command understands."""

import shlex

import pytest
from typer.main import get_command

from sds_hf.cli import app
from sds_hf.cli.examples import EXAMPLES

COMMANDS = get_command(app).commands


def test_every_command_has_one():
    assert list(EXAMPLES) == list(COMMANDS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_is_understood(name):
    program, command, *arguments = shlex.split(EXAMPLES[name])
    assert (program, command) == ("sds-hf", name)
    COMMANDS[name].make_context(name, arguments)  # raises at an option or an argument that is not there
    assert EXAMPLES[name] in COMMANDS[name].epilog
