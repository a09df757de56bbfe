"""The pages of docs/verbs name the options that the parser has, and no others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from support import ROOT

from xttsreg.cli.app import VERBS, xttsreg_command

PAGES = ROOT / "docs" / "verbs"
SHARED = {"pull": "push.md", "logout": "login.md"}  # two verbs on one page
COMMON = {"--store", "--catalog", "-q", "--quiet", "--debug", "-h", "--help"}
_OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
_ROW = re.compile(r"^\| (`-[^|]*)\|", re.MULTILINE)  # of a table of options, its first column


def page(verb: str) -> Path:
    return PAGES / SHARED.get(verb, f"{verb}.md")


def commands(verb: str) -> Iterator[click.Command]:
    command = xttsreg_command.get_command(click.Context(xttsreg_command), verb)
    assert command is not None
    yield command
    if isinstance(command, click.Group):
        yield from command.commands.values()


def options(verb: str) -> list[set[str]]:
    """The spellings of each option of a verb, but for those of all verbs."""
    found = [
        {*parameter.opts, *parameter.secondary_opts}
        for command in commands(verb)
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
    ]
    return [spellings for spellings in found if not spellings & COMMON]


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_stands_on_the_page_of_its_verb(verb: str) -> None:
    named = set(_OPTION.findall(page(verb).read_text("utf-8")))
    assert [spellings for spellings in options(verb) if not spellings & named] == []


@pytest.mark.parametrize("verb", VERBS)
def test_no_table_has_an_option_that_is_not_there(verb: str) -> None:
    rows = _ROW.findall(page(verb).read_text("utf-8"))
    listed = {name for row in rows for name in _OPTION.findall(row)}
    sharing = [other for other in VERBS if page(other) == page(verb)]
    known = set().union(*(spellings for other in sharing for spellings in options(other)))
    assert listed - known - COMMON == set()


def test_every_verb_is_in_the_list() -> None:
    text = (PAGES / "README.md").read_text("utf-8")
    assert [verb for verb in VERBS if f"`{verb}`" not in text] == []
