"""Blocks of rows are the array's, from every kind of file; what is damaged or does not fit is one sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import qsim
from qsim.demo.flow import MODEL, Record
from qsim.errors import ToolMissingError, UsageError
from qsim.evaluation.images import ImageRows
from qsim.evaluation.rows import NpyRows, NpzRows, open_rows
from qsim.ir import Graph


def sources(folder: Path, array: np.ndarray) -> dict[str, object]:
    """The array in every form that rows come in."""
    np.save(folder / "plain.npy", array)
    np.save(folder / "turned.npy", np.asfortranarray(array))
    np.savez(folder / "stored.npz", array)
    np.savez_compressed(folder / "two.npz", x=array, y=np.arange(3))
    return {
        "memory": array,
        "plain": folder / "plain.npy",
        "turned": str(folder / "turned.npy"),
        "stored": folder / "stored.npz",
        "one of two": f"{folder / 'two.npz'}:x",
    }


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint16, np.bool_, ">f8"])
def test_every_form_gives_the_rows(tmp_path: Path, dtype: str) -> None:
    array = np.random.default_rng(1).integers(0, 2 if dtype is np.bool_ else 100, (23, 3, 2)).astype(dtype)
    for name, source in sources(tmp_path, array).items():
        rows = open_rows(source)
        assert not isinstance(rows, dict)
        assert (rows.count, rows.shape) == (23, (3, 2)), name
        blocks = dict(rows.blocks(5, lambda number: number != 2))
        assert list(blocks) == [0, 1, 3, 4], name
        for number, block in blocks.items():
            assert block.dtype == array.dtype
            assert np.array_equal(block, array[5 * number : 5 * number + 5]), name


def test_identity_changes_with_the_rows(tmp_path: Path) -> None:
    array = np.arange(12.0).reshape(4, 3)
    for name, source in sources(tmp_path, array).items():
        rows = open_rows(source)
        assert not isinstance(rows, dict)
        assert rows.identity == rows.identity, name
    other = array.copy()
    other[3, 2] += 1
    before, after = open_rows(array), open_rows(other)
    assert not isinstance(before, dict)
    assert not isinstance(after, dict)
    assert before.identity != after.identity


def test_what_is_no_array_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(3, 2))
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-8])
    np.save(tmp_path / "number.npy", np.float64(3))
    (tmp_path / "text.npy").write_text("no array")
    np.savez(tmp_path / "two.npz", x=np.zeros(3), y=np.zeros(3))
    np.savez(tmp_path / "turned.npz", np.asfortranarray(np.zeros((3, 2))))
    for source, said in (
        (tmp_path / "none.npy", "there is no file"),
        (tmp_path / "cut.npy", "takes 48 bytes, 40 are there"),
        (tmp_path / "number.npy", "no rows of samples"),
        (tmp_path / "text.npy", "neither a .npy nor an .npz"),
        (f"{tmp_path / 'two.npz'}:z", "no array 'z'; it holds x, y"),
        (tmp_path / "turned.npz", "ascontiguousarray"),
        (np.float64(3), "rows of numbers"),
        (np.array(["a"]), "rows of numbers"),
    ):
        with pytest.raises(UsageError, match=said):
            open_rows(source)
    rows = NpyRows(tmp_path / "x.npy")
    (tmp_path / "x.npy").write_bytes(whole[:-8])  # cut while it is read
    with pytest.raises(UsageError, match="ends after"):
        list(rows.blocks(2, lambda number: True))
    assert NpzRows(tmp_path / "two.npz", "x").shape == ()


def test_inputs_are_found_by_name(tmp_path: Path) -> None:
    graph, record = qsim.load(MODEL), Record()
    name = graph.inputs[0].tensor
    np.savez(tmp_path / "both.npz", **{name: record.images, "y": record.labels})
    with pytest.raises(UsageError, match=f"hold the arrays {name}, y"):
        qsim.evaluate(graph, tmp_path / "both.npz", record.labels)
    with pytest.raises(UsageError, match="choose one"):
        qsim.evaluate(graph, record.images, tmp_path / "both.npz")
    alone = qsim.evaluate(graph, record.images, record.labels)
    assert qsim.evaluate(graph, {name: record.images}, record.labels) == alone
    assert qsim.evaluate(graph, f"{tmp_path / 'both.npz'}:{name}", f"{tmp_path / 'both.npz'}:y") == alone


def digits_as_images(folder: Path, graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """PNG files of random bytes in three folders of classes; pixels and labels in order."""
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (7, 8, 8), dtype=np.uint8)
    labels = [0, 0, 0, 1, 1, 2, 2]
    for number, (values, label) in enumerate(zip(pixels, labels)):
        place = folder / "abc"[label]
        place.mkdir(parents=True, exist_ok=True)
        image.fromarray(values).save(place / f"{number:03}.png")
    return pixels, np.array(labels)


def test_folders_of_images_are_rows(tmp_path: Path) -> None:
    graph = qsim.load(MODEL)
    pixels, labels = digits_as_images(tmp_path / "images", graph)
    real = pixels[..., None].astype(np.float32) / np.float32(255)
    assert qsim.evaluate(graph, tmp_path / "images", pixels="0..1") == qsim.evaluate(graph, real, labels)
    assert qsim.evaluate(graph, tmp_path / "images", 9 - labels) == qsim.evaluate(graph, pixels[..., None], 9 - labels)
    rows = ImageRows(tmp_path / "images", (8, 8, 1), "-1..1", (2, 0, 1))
    (number, found), *_ = rows.blocks(3, lambda number: number == 1)
    assert (number, rows.count, rows.shape) == (1, 7, (1, 8, 8))
    assert np.array_equal(found[:, 0], pixels[3:6].astype(np.float32) / np.float32(127.5) - 1)
    assert ImageRows(tmp_path / "images", (8, 8, 1), "0..1").identity != rows.identity


def test_images_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    graph = qsim.load(MODEL)
    pixels, _ = digits_as_images(tmp_path / "images", graph)
    image = pytest.importorskip("PIL.Image")
    flat = tmp_path / "flat"
    flat.mkdir()
    image.fromarray(pixels[0][:7]).save(flat / "x.png")
    with pytest.raises(UsageError, match="7x8 L, the input takes 8x8 L"):
        qsim.evaluate(graph, flat, np.array([0]))
    with pytest.raises(UsageError, match="8x8 L, the input takes 8x8 RGB"):
        list(ImageRows(tmp_path / "images", (8, 8, 3), "0..1").blocks(2, lambda number: True))
    with pytest.raises(UsageError, match="no folder for each class"):
        ImageRows(flat, (8, 8, 1), "0..1").labels()
    (flat / "x.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(UsageError, match="not an image"):
        qsim.evaluate(graph, flat, np.array([0]))
    (flat / "x.png").unlink()
    with pytest.raises(UsageError, match="holds no images"):
        qsim.evaluate(graph, flat, np.array([0]))
    with pytest.raises(UsageError, match="input's shape is"):
        ImageRows(tmp_path / "images", (64,), "0..1")


def test_images_need_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ToolMissingError, match=r"qsim-hw\[images\]"):
        ImageRows(tmp_path, (8, 8, 1), "0..1")
