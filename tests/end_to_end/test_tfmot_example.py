"""examples/tfmot_cnn.py and the commands of docs/tfmot.md, as a user runs them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tensorflow_model_optimization", reason="the extra tfmot is not installed")
pytest.importorskip("sklearn", reason="the extra train is not installed")

ROOT = Path(__file__).parents[2]


def run(*command: str | Path) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=ROOT, timeout=900)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_the_page_names_the_example_and_its_files() -> None:
    page, example = ((ROOT / name).read_text() for name in ("docs/tfmot.md", "examples/tfmot_cnn.py"))
    for name in ("detector.keras", "images.npy"):
        assert f"detector/{name}" in page
        assert name in example


@pytest.mark.slow
def test_train_compile_explain(tmp_path: Path) -> None:
    """Trained on all images for a few epochs: the three accuracies agree, C equals the simulator, and explain tells."""
    out = tmp_path / "detector"
    said = run(sys.executable, "examples/tfmot_cnn.py", "--out", out, "--epochs", "6")
    accuracy = [float(found) for found in re.findall(r"([\d.]+) % of 200 test images", said)]
    assert len(accuracy) == 3
    assert min(accuracy) > 75  # 60 % have no loop
    assert abs(accuracy[1] - accuracy[2]) <= 1.5
    apart = re.search(r"differently for (\d+) images", said)
    assert apart is not None
    assert int(apart[1]) <= 3
    command = (sys.executable, "-m", "qsim.cli")
    model, images = out / "detector.keras", out / "images.npy"
    compiled = run(*command, "compile", model, "--target", "c", "-o", tmp_path / "out", "--verify", "--input", images)
    assert (tmp_path / "out" / "c").is_dir()
    assert "float" not in "".join(f.read_text() for f in (tmp_path / "out" / "c").glob("model.c"))
    assert "equal" in compiled
    explained = run(*command, "explain", model, "quant_conv2d", "--input", images)
    for part in ("7,101 numbers became 7,131", "In integers", "Measured on 200 samples", "One element worked out"):
        assert part in explained
