"""The frozen catalogue: deduplication, exclusion with causes, a lossless file, a digest of content."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from pathlib import Path

import geopandas
import pystac
import pytest
from shapely import box

from minescale.errors import NothingMatched, StoreError, UsageError
from minescale.sources.catalogs import SearchResult
from minescale.sources.dedupe import deduplicate
from minescale.sources.freeze import freeze, read_scenes, scenes_digest, write_scenes
from minescale.sources.items import absolute_href, resolve_href, scene_from_item
from minescale.sources.scenes import BandAsset, Scene
from tests.sources.source_imagery import smooth, write_cog

NOON = dt.datetime(2024, 3, 1, 12, 0, 0, 123456, tzinfo=dt.UTC)


def scene(name: str, **changes: object) -> Scene:
    base = Scene(
        id=name,
        collection="sentinel-2-l2a",
        provider="planetary-computer",
        sensor="sentinel-2-l2a",
        platform="sentinel-2a",
        datetime=NOON,
        crs="EPSG:32632",
        footprint=box(9, 5, 10, 6),
        bands={
            "red": BandAsset(
                href=f"/d/{name}.tif", scale=1e-4, offset=-0.1, transform=(10.0, 0, 1.5, 0, -10.0, 2), shape=(9, 8)
            ),
            "mask": BandAsset(href="s3://b/scl.tif", nodata=None),
        },
        cloud_cover=12.345678901234567,
        baseline="05.10",
        grid_tile="32NKH",
        orbit=22,
    )
    return dataclasses.replace(base, **changes)


def test_newest_baseline_wins_whatever_the_order():
    old, new = scene("a_2021", baseline="02.12"), scene("a_2023", baseline="05.10")
    later = scene("b", datetime=NOON + dt.timedelta(days=5))
    for order in itertools.permutations([old, new, later]):
        kept, dropped = deduplicate(order)
        assert [s.id for s in kept] == ["a_2023", "b"]
        assert dropped == (("a_2021", "duplicate of a_2023 (baseline 05.10)"),)


def test_baselines_compare_as_numbers_and_ids_break_ties():
    kept, _ = deduplicate([scene("x", baseline="10.00"), scene("y", baseline="09.99")])
    assert [s.id for s in kept] == ["x"]
    kept, _ = deduplicate([scene("p_20240301T1"), scene("p_20240301T2")])
    assert [s.id for s in kept] == ["p_20240301T2"]


def test_two_halves_of_a_tile_are_both_kept():
    north = scene("n", footprint=box(9, 5.5, 10, 6), datetime=NOON + dt.timedelta(seconds=20))
    south = scene("s", footprint=box(9, 5, 10, 5.6))
    kept, dropped = deduplicate([north, south])
    assert [s.id for s in kept] == ["s", "n"]
    assert not dropped


@pytest.mark.parametrize(
    "change",
    [
        {"grid_tile": "32NKJ"},
        {"orbit": 23},
        {"platform": "sentinel-2b"},
        {"datetime": NOON + dt.timedelta(minutes=5)},
    ],
)
def test_other_looks_are_kept(change):
    assert len(deduplicate([scene("a"), scene("b", **change)])[0]) == 2


def test_round_trip_is_lossless(tmp_path):
    scenes = (
        scene("a"),
        scene("b", cloud_cover=None, baseline=None, grid_tile=None, orbit=None, footprint=box(-180, -1, -179.1, 1 / 3)),
        scene("ü", crs='PROJCS["x"]', bands={"red": BandAsset(href="https://x/ä.tif?v=1")}),
    )
    write_scenes(tmp_path / "scenes.parquet", scenes)
    back = read_scenes(tmp_path / "scenes.parquet")
    assert back == scenes
    assert all(a.footprint.equals(b.footprint) for a, b in zip(scenes, back, strict=True))
    assert [s.cloud_cover for s in back] == [s.cloud_cover for s in scenes]
    assert scenes_digest(back) == scenes_digest(scenes)
    frame = geopandas.read_parquet(tmp_path / "scenes.parquet")
    assert frame.crs.to_epsg() == 4326
    assert list(frame["id"]) == ["a", "b", "ü"]


def test_empty_and_remote_files(tmp_path):
    write_scenes(tmp_path / "none.parquet", ())
    assert read_scenes(tmp_path / "none.parquet") == ()
    write_scenes("memory://frozen/scenes.parquet", (scene("a"),))
    assert read_scenes("memory://frozen/scenes.parquet") == (scene("a"),)
    with pytest.raises(UsageError, match="do not exist"):
        read_scenes(tmp_path / "absent.parquet")
    (tmp_path / "junk.parquet").write_bytes(b"junk")
    with pytest.raises(UsageError, match="not readable"):
        read_scenes(tmp_path / "junk.parquet")
    with pytest.raises(StoreError):
        write_scenes(tmp_path / "no/such/folder.parquet", ())


def test_digest_follows_content_only():
    base = scenes_digest((scene("a"), scene("b")))
    assert base == scenes_digest((scene("a"), scene("b")))
    changes = [
        {"cloud_cover": 12.3},
        {"footprint": box(9, 5, 10, 6.1)},
        {"baseline": "05.11"},
        {"bands": {"red": BandAsset(href="/d/a.tif", offset=0.0)}},
    ]
    digests = {scenes_digest((scene("a", **change), scene("b"))) for change in changes}
    assert len(digests | {base}) == len(changes) + 1
    assert scenes_digest((scene("b"), scene("a"))) != base


def stac_item(name: str, href: str = "https://example.org/B04.tif", **properties: object) -> pystac.Item:
    item = pystac.Item(
        id=name,
        geometry={"type": "Polygon", "coordinates": [[[9, 5], [10, 5], [10, 6], [9, 6], [9, 5]]]},
        bbox=[9, 5, 10, 6],
        datetime=NOON,
        properties={"proj:code": "EPSG:32632", "s2:processing_baseline": "05.10", **properties},
        collection="sentinel-2-l2a",
    )
    item.add_asset("B04", pystac.Asset(href, media_type=pystac.MediaType.COG))
    return item


def result(*items: pystac.Item) -> SearchResult:
    return SearchResult(items=list(items), provider="other", searched="a test")


def test_unusable_items_are_excluded_with_their_cause():
    bad = stac_item("bad", **{"s2:processing_baseline": "unknown"})
    lacking = stac_item("lacking", datetime="2024")
    lacking.assets["blue"] = lacking.assets.pop("B04")
    frozen = freeze(result(stac_item("good"), bad, lacking), bands=["red"])
    assert [s.id for s in frozen.scenes] == ["good"]
    causes = dict(frozen.excluded)
    assert "1000 offset" in causes["bad"]
    assert causes["lacking"] == "lacks red"
    with pytest.raises(UsageError, match="missing nir"):
        freeze(result(stac_item("a"), stac_item("b")), bands=["red", "nir"])
    with pytest.raises(NothingMatched):
        freeze(result(bad))
    with pytest.raises(UsageError, match="no band of that name"):
        freeze(result(stac_item("a")), bands=["B99"])


def test_hrefs(tmp_path):
    assert resolve_href("https://x.org/a/b/i.json", "../c.tif") == "https://x.org/a/c.tif"
    assert resolve_href("s3://bucket/a/b/i.json", "../c.tif") == "s3://bucket/a/c.tif"
    assert resolve_href(str(tmp_path / "a/i.json"), "../c.tif") == str(tmp_path / "c.tif")
    assert resolve_href("https://x.org/i.json", "s3://b/c.tif") == "s3://b/c.tif"
    orphan = stac_item("o", href="c.tif")
    with pytest.raises(UsageError, match="relative href"):
        absolute_href(orphan, orphan.assets["B04"])
    filed = stac_item("f", href=(tmp_path / "ä b.tif").as_uri())
    assert absolute_href(filed, filed.assets["B04"]) == str(tmp_path / "ä b.tif")
    odd = stac_item("odd", href="dav://x/c.tif")
    odd.assets["B04"].extra_fields["alternate"] = {"web": {"href": "https://x.org/c.tif"}}
    assert absolute_href(odd, odd.assets["B04"]) == "https://x.org/c.tif"


def test_an_evil_id_names_no_file(tmp_path):
    evil = stac_item("../../etc/passwd")
    found = freeze(result(evil)).scenes
    write_scenes(tmp_path / "s.parquet", found)
    assert sorted(p.name for p in Path(tmp_path).iterdir()) == ["s.parquet"]
    assert read_scenes(tmp_path / "s.parquet")[0].id == "../../etc/passwd"


def test_crs_is_read_from_the_header_where_the_item_has_none(tmp_path):
    path = write_cog(tmp_path / "a.tif", smooth((32, 32)))
    item = stac_item("h", href=str(path))
    del item.properties["proj:code"]
    assert scene_from_item(item, "other").crs == "EPSG:32630"
    item.assets["B04"].href = str(tmp_path / "gone.tif")
    with pytest.raises(UsageError, match="names no CRS"):
        scene_from_item(item, "other")


def test_baseline_orbit_and_tile_from_the_product_name():
    item = stac_item("S2A_MSIL2A_20200714T112121_N0214_R037_T28QCH_20200714T141301")
    del item.properties["s2:processing_baseline"]
    found = scene_from_item(item, "other")
    assert (found.baseline, found.orbit, found.grid_tile) == ("02.14", 37, "28QCH")
    assert found.bands["red"].offset == 0.0
