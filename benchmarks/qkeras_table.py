"""Runs every cell of the layer x quantizer table and writes docs/qkeras.json and, from it, docs/qkeras.md.

python benchmarks/qkeras_table.py [--jobs 1] [--only TEXT] [--cache FOLDER]        or: make matrix

Every cell is a model that is imported, compared with Keras on 100 inputs, and run in C, HLS C++ and RTL. What has been
run is kept in the cache by the content of what produced it, so that a broken-off run continues. ``--only`` runs the
cells whose key holds the text, prints them and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "importers"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as tests/conftest.py says


def work(task: tuple[list[str], str]) -> dict[str, dict[str, object]]:
    """One bundle, by its cells' keys."""
    import qkeras_matrix as matrix

    keys, cache = task
    by_key = {cell.key: cell for cell in matrix.all_cells()}
    results = matrix.run_bundle([by_key[key] for key in keys], cache=matrix.FileCache(Path(cache)))
    return {key: {**result.plain(), "ok": result.ok} for key, result in results.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="", help="run the cells whose key holds this text; write no files")
    parser.add_argument("--cache", default=str(ROOT / "build" / "qkeras-matrix"))
    options = parser.parse_args()
    import qkeras_matrix as matrix
    import qkeras_matrix_table as table

    chosen = [cell for cell in matrix.all_cells() if options.only in cell.key]
    tasks = [([cell.key for cell in bundle], options.cache) for bundle in matrix.bundles(chosen)]
    start, found, bad = time.monotonic(), {}, 0
    with multiprocessing.get_context("spawn").Pool(options.jobs, maxtasksperchild=8) as pool:
        for number, made in enumerate(pool.imap_unordered(work, tasks), 1):
            for key, result in made.items():
                found[key] = result
                if not result.pop("ok"):
                    bad += 1
                    print(f"NOT EQUAL {key}: {json.dumps(result)}", flush=True)
                elif options.only:
                    print(f"{key}: {json.dumps(result)}", flush=True)
            minutes = (time.monotonic() - start) / 60
            print(f"{number} of {len(tasks)} groups, {len(found)} cells, {minutes:.1f} minutes", flush=True)
    if not options.only:
        results = {cell.key: found[cell.key] for cell in chosen}
        (ROOT / table.RESULTS).write_text(table.as_json(results), encoding="utf-8")
        (ROOT / table.PAGE).write_text(table.render(results), encoding="utf-8")
        print(f"written: {table.RESULTS}, {table.PAGE}")
    print(table.summary(found))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
