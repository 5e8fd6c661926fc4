"""How chunks and codecs of the mosaic differ in speed, bytes and files, and what writing costs a scan.

    python benchmarks/write.py --rounds 5 --json benchmarks/results/write.json

The maps are those of a scan of a synthetic region with the index model, laid side by side to 2048 px, and for
``noise`` a probability without any structure. Each layout writes the four arrays of a mosaic tile by tile (1024 px) and
reads them back; the present one is ``512 zstd 3``. ``scan`` is one process over the region: what writing takes of its
wall and CPU seconds, and for what share of that time the next tile's blocks were being decoded meanwhile.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from children import run, tell
from floor import close_files, plan_of, process_all

SIZE, TILE = 2048, 1024
CHUNKS = (256, 512, 1024)
PRESENT = "512 zstd 3"

Maps = dict[str, np.ndarray]


def codecs() -> dict[str, Any]:
    from zarr.codecs import BloscCodec, ZstdCodec

    return {
        "zstd 1": ZstdCodec(level=1, checksum=True),
        "zstd 3": ZstdCodec(level=3, checksum=True),
        "blosc lz4": BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
        "blosc zstd 3 bits": BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
    }


def scan(catalog_of: str, folder: Path) -> dict[str, Any]:
    """In a child: scan the region, note when tiles are written and blocks decoded, and what writing costs by itself."""
    from minescale import synthetic
    from minescale.planning.plan import MOSAIC_FILE
    from minescale.sources.inflate import Inflater
    from minescale.store.mosaic import Mosaic
    from minescale.store.template import create_mosaic

    region = synthetic.ensure_region(getattr(synthetic, catalog_of))
    spans: dict[str, list[tuple[float, float]]] = {"decode": [], "write": []}
    lock = threading.Lock()

    def watch(owner: Any, name: str, what: str) -> None:
        original = getattr(owner, name)

        def call(*args: Any, **options: Any) -> Any:
            before = time.perf_counter()
            try:
                return original(*args, **options)
            finally:
                with lock:
                    spans[what].append((before, time.perf_counter()))

        setattr(owner, name, call)

    plan = plan_of(str(region.catalog), catalog_of)
    process_all(plan, folder / "first")
    close_files()
    watch(Inflater, "inflate", "decode")
    watch(Mosaic, "write_tile", "write")
    totals = process_all(plan, folder / "second")
    mosaic = Mosaic.open(folder / "second" / MOSAIC_FILE)
    tiles = [(key, mosaic.read_tile(0, key)) for key in mosaic.grid.tiles(0)]
    again = create_mosaic(folder / "again.zarr", mosaic.layout)
    cpu = time.process_time()
    for key, tile in tiles:
        again.write_tile(0, key, tile)
    alone = time.process_time() - cpu
    for name in ("probability", "clear_count", "level", "reason"):
        np.save(folder / f"{name}.npy", np.asarray(mosaic.array(0, name)[0]))
    writing = sum(end - start for start, end in spans["write"])
    return {
        "tiles": len(tiles),
        "wall_s": totals["wall_s"],
        "cpu_s": totals["cpu_s"],
        "write_wall_s": writing,
        "write_cpu_s": alone,
        "decoding_meanwhile": overlap(spans["write"], spans["decode"]) / writing,
    }


def overlap(spans: list[tuple[float, float]], others: list[tuple[float, float]]) -> float:
    """Seconds of ``spans``, which do not overlap each other, during which at least one of ``others`` lasted."""
    total = 0.0
    for start, end in spans:
        inside = sorted((max(start, a), min(end, b)) for a, b in others if a < end and b > start)
        reached = start
        for a, b in inside:
            total += max(0.0, b - max(a, reached))
            reached = max(reached, b)
    return total


def side_by_side(image: np.ndarray) -> np.ndarray:
    """The image, its mirror images beside it, cut to SIZE."""
    rows, cols = (-(-SIZE // n) for n in image.shape)
    wide = np.concatenate([image[:, :: 1 - 2 * (i % 2)] for i in range(cols)], axis=1)
    return np.ascontiguousarray(np.concatenate([wide[:: 1 - 2 * (i % 2)] for i in range(rows)])[:SIZE, :SIZE])


def write(maps: Maps, chunk: int, sharded: bool, codec: Any, folder: Path) -> dict[str, float]:
    """Write the maps tile by tile, read them back, and compare."""
    import zarr

    root = zarr.open_group(folder, mode="w", zarr_format=3)
    arrays = {
        name: root.create_array(
            name,
            shape=image.shape,
            chunks=(chunk, chunk),
            shards=(TILE, TILE) if sharded else None,
            dtype=image.dtype,
            fill_value=np.iinfo(image.dtype).max,
            compressors=[codec],
        )
        for name, image in maps.items()
    }
    wall, cpu = time.perf_counter(), time.process_time()
    for top in range(0, SIZE, TILE):
        for left in range(0, SIZE, TILE):
            where = np.s_[top : top + TILE, left : left + TILE]
            for name, image in maps.items():
                arrays[name][where] = image[where]
    written = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    cpu = time.process_time()
    for name, image in maps.items():
        if not np.array_equal(np.asarray(arrays[name][:]), image):
            sys.exit(f"{name} in chunks of {chunk} with {codec} reads back other than written")
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "zarr.json"]
    return {
        **written,
        "read_cpu_s": time.process_time() - cpu,
        "bytes": float(sum(file.stat().st_size for file in files)),
        "files": float(len(files)),
    }


def layouts(maps: Maps, rounds: int, folder: Path) -> dict[str, list[dict[str, float]]]:
    cases = {
        f"{chunk}{' in shards' if sharded else ''} {name}": (chunk, sharded, codec)
        for chunk in CHUNKS
        for sharded in (False, True)
        if not (sharded and chunk == TILE)
        for name, codec in codecs().items()
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, (chunk, sharded, codec) in cases.items():
            turn = write(maps, chunk, sharded, codec, folder / "store")
            if number:  # the first round warms caches and the file system
                found[name].append(turn)
    return found


def report(results: dict[str, Any]) -> None:
    found = results["scan"]
    print(
        f"scan: writing takes {found['write_wall_s'] / found['wall_s']:.1%} of the tile thread's wall,"
        f" {found['write_cpu_s'] / found['cpu_s']:.1%} of the CPU; blocks of the next tile are decoded during"
        f" {found['decoding_meanwhile']:.0%} of it"
    )
    for kind, layout in results["layouts"].items():
        present = layout[PRESENT]
        for name, turns in layout.items():
            ratios = [old["cpu_s"] / new["cpu_s"] for old, new in zip(present, turns, strict=True)]
            middle = {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}
            print(
                f"{kind:<6} {name:<30} {SIZE * SIZE / 1e6 / middle['cpu_s']:6.1f} Mpx per CPU s,"
                f" {statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}] x the present,"
                f" {middle['bytes'] / 1e6:6.2f} MB, {middle['files']:.0f} files, read {middle['read_cpu_s']:.2f} s"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--region", default="SMALL", help="DEMO or SMALL")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round: does it run?")
    parser.add_argument("--json", type=Path, help="where to keep the raw figures")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        tell(scan(args.child["region"], Path(args.child["folder"])))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results: dict[str, Any] = {
            "scan": run(__file__, "--child", json.dumps({"region": args.region, "folder": str(folder)}))
        }
        maps = {
            name: side_by_side(np.load(folder / f"{name}.npy"))
            for name in ("probability", "clear_count", "level", "reason")
        }
        noise = np.random.default_rng(0).integers(0, 251, maps["probability"].shape).astype(np.uint8)
        rounds = 1 if args.quick else args.rounds
        results["layouts"] = {
            "scan": layouts(maps, rounds, folder),
            "noise": layouts({**maps, "probability": noise}, rounds, folder),
        }
    report(results)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
