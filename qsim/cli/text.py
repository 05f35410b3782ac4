"""Paragraphs on a terminal or in a pipe."""

from __future__ import annotations

import shutil
import textwrap

import click


def paragraph(text: str, *, err: bool = False) -> None:
    """``text`` folded to the terminal's width; existing line breaks stay."""
    width = min(100, shutil.get_terminal_size((100, 24)).columns)
    for line in text.splitlines() or [""]:
        folded = textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
        # A long path behind the first word stays on its line.
        click.echo(folded.replace("Error:\n", "Error: ", 1) if folded.startswith("Error:\n") else folded, err=err)


__all__ = ["paragraph"]
