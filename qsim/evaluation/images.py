"""Folders of images as rows: read by Pillow, one folder a class."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from qsim.errors import ToolMissingError, UsageError, reading
from qsim.evaluation.rows import MemoryRows, Wanted, stamp
from qsim.numerics import Array
from qsim.version import install

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".gif", ".tif", ".tiff", ".webp")
PIXELS: dict[str, tuple[float, float] | None] = {"0..255": None, "0..1": (255.0, 0.0), "-1..1": (127.5, 1.0)}
"""Name -> (divisor, what is subtracted): the real value of a pixel of 0 to 255, in float32; None: its byte."""
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's name of bytes in so many channels."""


class ImageRows:
    """The images of a folder, sorted by name: (height, width, channels), bytes, or float32 in another range that
    ``pixels`` names; with ``order`` transposed to it.

    Images lie in the folder itself, or in one folder a class, whose sorted names are the classes 0, 1, ... An image of
    another size or other channels than ``shape`` is refused: qsim resizes and converts nothing.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], pixels: str, order: tuple[int, ...] = ()) -> None:
        try:
            import PIL.Image  # noqa: F401
        except ImportError as error:
            raise ToolMissingError(f"folders of images need Pillow: {install('images')}") from error
        if pixels not in PIXELS:
            raise UsageError(f"unknown range of pixels {pixels!r}: choose from {', '.join(PIXELS)}")
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in _MODES):
            raise UsageError(f"images are (height, width) or (height, width, 1, 3 or 4); the input's shape is {shape}")
        self.folder, self._shape, self._pixels = folder, shape, pixels
        self._order = order or tuple(range(len(shape)))
        self.classes = sorted(p.name for p in folder.iterdir() if p.is_dir())
        self._paths = [
            path
            for place in ([folder / name for name in self.classes] or [folder])
            for path in sorted(place.iterdir())
            if path.suffix.lower() in ENDINGS
        ]
        if not self._paths:
            raise UsageError(f"{folder} holds no images ({', '.join(ENDINGS)})")

    @property
    def count(self) -> int:
        return len(self._paths)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._shape[axis] for axis in self._order)

    @property
    def identity(self) -> str:
        made = hashlib.sha256(self._pixels.encode())
        for path in self._paths:
            made.update(f"{path.parent.name} {stamp(path)}\n".encode())
        return made.hexdigest()

    def labels(self) -> MemoryRows:
        """The class of each image, by its folder. Raises UsageError where images lie in no folders of classes."""
        if not self.classes:
            raise UsageError(f"{self.folder} has no folder for each class: give the labels of its images as a file")
        number = {name: k for k, name in enumerate(self.classes)}
        return MemoryRows(np.array([number[path.parent.name] for path in self._paths]))

    def blocks(self, size: int, wanted: Wanted) -> Iterator[tuple[int, Array]]:
        for number in range(-(-self.count // size)):
            if wanted(number):
                yield number, np.stack([self._read(p) for p in self._paths[number * size : (number + 1) * size]])

    def _read(self, path: Path) -> Array:
        from PIL import Image

        mode = _MODES[self._shape[2] if len(self._shape) == 3 else 1]
        with reading(path, "an image", error=UsageError), Image.open(path) as image:
            plain = image.convert("RGB") if image.mode == "P" and mode == "RGB" else image
            if plain.mode != mode or (plain.height, plain.width) != self._shape[:2]:
                raise ValueError(
                    f"it is {plain.height}x{plain.width} {plain.mode}, the input takes "
                    f"{self._shape[0]}x{self._shape[1]} {mode}; prepare the images as for training"
                )
            values = np.asarray(plain, dtype=np.uint8).reshape(self._shape).transpose(self._order)
        scaling = PIXELS[self._pixels]
        if scaling is None:
            return values
        return np.asarray(values.astype(np.float32) / np.float32(scaling[0]) - np.float32(scaling[1]))


__all__ = ["ENDINGS", "PIXELS", "ImageRows"]
