"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from qsim.errors import UsageError
from qsim.importers import ModelSource

Command = TypeVar("Command", bound=Callable[..., Any])


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """MODEL and what its import may need, handed to the command as one ``source: ModelSource``."""

    @functools.wraps(command)
    def with_source(
        model: str,
        weights: str | None,
        input_format: str | None,
        profile: str | None,
        rescale: str | None,
        weights_format: tuple[str, ...],
        **others: Any,
    ) -> Any:
        source = ModelSource(
            model=model,
            weights=weights,
            input_format=input_format,
            profile=profile,
            rescale=rescale,
            weights_format=_weights_formats(weights_format),
        )
        return command(source=source, **others)

    decorated: Callable[..., Any] = with_source
    for decorate in (
        click.option(
            "--rescale",
            metavar="HOW",
            help="Of a (Q)Keras model, for factors that are no powers of two: 'exact' (default: the same codes on the "
            "whole proven range) or 'multiplier:N' (at most N bits; differing codes are counted).",
        ),
        click.option(
            "--weights-format",
            metavar="[LAYER=]FORMAT",
            multiple=True,
            help="Of a Keras model's layers with float weights: 'fixed<8,1>' for all, 'head=fixed<6,1>' for one; may "
            "be given several times.",
        ),
        click.option("--profile", metavar="NAME", help="Numeric profile (qkeras, tflm, litert-ref, ...)."),
        click.option(
            "--input-format",
            metavar="FORMAT",
            help="Format of an input that the model does not quantize: 'fixed<8,1>', 'ufixed<4,0>', int8, uint8.",
        ),
        click.option("--weights", metavar="FILE", help="The weights (.h5) of a model given as .json."),
        click.argument("model"),
    ):
        decorated = decorate(decorated)
    return decorated


def _weights_formats(given: tuple[str, ...]) -> dict[str, str] | None:
    """Layer name -> format, '*' for all others. Raises UsageError where a layer is named twice."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, chosen = text.rpartition("=")
        key = name if equals else "*"
        if key in found:
            raise UsageError(f"--weights-format is given twice for {'all layers' if key == '*' else key}.")
        found[key] = chosen
    return found or None


def input_options(command: Command) -> Command:
    """What a model is run on: a file, or drawn samples."""
    for decorate in (
        click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the drawn samples."),
        click.option(
            "--samples", type=click.IntRange(1), default=16, show_default=True, help="Samples without --input."
        ),
        click.option("--codes", is_flag=True, help="--input holds integer codes."),
        click.option("--input", "input_file", metavar="FILE", help="Samples (.npy, .npz): real values, batch first."),
    ):
        command = decorate(command)
    return command


__all__ = ["Command", "input_options", "model_options"]
