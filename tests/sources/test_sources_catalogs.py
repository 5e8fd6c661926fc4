"""Search: a loopback STAC API with paging and faults, static catalogues, stac-geoparquet."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minescale.errors import NothingMatched, RemoteUnreachable, UsageError
from minescale.sources import catalogs, http
from minescale.sources.catalogs import search
from minescale.sources.freeze import freeze
from minescale.sources.query import api_query, parse_query
from minescale.types import BBox, Period
from tests.faults import FaultServer

WORLD = BBox(-180, -90, 180, 90)
ALWAYS = Period.parse("2000/2030")


class StacApi:
    """A STAC API over a list of items: landing page, POST and GET search, paging, scripted faults."""

    def __init__(self, items: list[dict[str, Any]], page: int = 3, repeat_at_border: bool = False) -> None:
        self.items, self.page, self.repeat = items, page, repeat_at_border
        self.fail_next: list[int] = []
        self.searches: list[dict[str, Any]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                self.answer(api.landing() if parts.path in {"", "/"} else api.search(_body_of(parts.query)))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(api.search(body))

            def answer(self, document: dict[str, Any]) -> None:
                status = api.fail_next.pop(0) if api.fail_next else 200
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def landing(self) -> dict[str, Any]:
        return {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "loopback",
            "description": "test",
            "conformsTo": [
                "https://api.stacspec.org/v1.0.0/core",
                "https://api.stacspec.org/v1.0.0/item-search",
                "https://api.stacspec.org/v1.0.0/item-search#query",
            ],
            "links": [
                {"rel": "self", "href": self.url},
                {"rel": "root", "href": self.url},
                {"rel": "search", "href": f"{self.url}/search", "method": "POST", "type": "application/geo+json"},
            ],
        }

    def search(self, body: dict[str, Any]) -> dict[str, Any]:
        self.searches.append(body)
        start = int(body.get("token", 0))
        west, south, east, north = body["bbox"]
        hits = [
            i
            for i in self.items
            if i["bbox"][0] <= east and i["bbox"][2] >= west and i["bbox"][1] <= north and i["bbox"][3] >= south
        ]
        stop = start + self.page
        links = []
        if stop < len(hits):
            following = stop - 1 if self.repeat else stop
            links = [
                {"rel": "next", "href": f"{self.url}/search", "method": "POST", "body": {**body, "token": following}}
            ]
        return {"type": "FeatureCollection", "features": hits[start:stop], "links": links}


def _body_of(query: str) -> dict[str, Any]:
    values = {key: value[0] for key, value in parse_qs(query).items()}
    return {**values, "bbox": [float(v) for v in values["bbox"].split(",")]}


def item(name: str, lon: float = 10.0, lat: float = 5.0, day: str = "2024-03-01", **properties: Any) -> dict[str, Any]:
    """A small item in Planetary Computer's manner."""
    west, south, east, north = lon, lat, lon + 1, lat + 1
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": "sentinel-2-l2a",
        "bbox": [west, south, east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "datetime": f"{day}T10:00:00Z",
            "proj:epsg": 32632,
            "platform": "Sentinel-2A",
            "s2:processing_baseline": "05.10",
            "eo:cloud_cover": 10.0,
            **properties,
        },
        "assets": {
            "B04": {"href": f"https://example.org/{name}/B04.tif", "type": "image/tiff; application=geotiff"},
            "SCL": {"href": f"https://example.org/{name}/SCL.tif", "type": "image/tiff; application=geotiff"},
        },
        "links": [],
    }


@pytest.fixture
def api() -> Iterator[StacApi]:
    running = StacApi([item(f"i{n}", lon=10 + 0.1 * n, day=f"2024-03-{n + 1:02d}") for n in range(8)])
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same policy with short pauses."""
    patient = http.retry_policy
    monkeypatch.setattr(http, "retry_policy", lambda: patient().new(backoff_factor=0.01, backoff_jitter=0.0))


def test_api_pages_are_followed(api):
    found = search(api.url, bbox=WORLD, period=ALWAYS)
    assert [i.id for i in found.items] == [f"i{n}" for n in range(8)]
    assert found.provider == "other"
    assert len(api.searches) == 3
    assert api.searches[0]["collections"] == ["sentinel-2-l2a"]
    assert "bbox -180 -90 180 90" in found.searched


def test_items_repeated_at_page_borders_count_once(api):
    api.repeat = True
    assert len(search(api.url, bbox=WORLD, period=ALWAYS).items) == 8


def test_query_and_period_reach_the_api(api):
    search(api.url, bbox=WORLD, period=Period.parse("2024-03"), query=["eo:cloud_cover<40", "platform=Sentinel-2A"])
    body = api.searches[0]
    assert body["query"] == {"eo:cloud_cover": {"lt": 40.0}, "platform": {"eq": "Sentinel-2A"}}
    assert body["datetime"] == "2024-03-01T00:00:00Z/2024-03-31T23:59:59Z"


def test_recorded_items_come_through(data_dir, api):
    document = json.loads((data_dir / "stac/planetarycomputer_microsoft_com__sentinel-2-l2a_items.json").read_text())
    api.items = document["features"]
    frozen = freeze(search(api.url, bbox=WORLD, period=ALWAYS))
    assert len(frozen.scenes) + len(frozen.excluded) == len(document["features"])
    assert {s.provider for s in frozen.scenes} == {"planetary-computer"}


def test_antimeridian_box_is_searched_in_parts(api):
    api.items = [item("east", lon=178.5, lat=-18), item("west", lon=-179.5, lat=-18), item("both", lon=179.2, lat=-18)]
    api.items[2]["bbox"] = [-180, -18, 180, -17]
    found = search(api.url, bbox=BBox(178, -20, -178, -15), period=ALWAYS)
    assert sorted(i.id for i in found.items) == ["both", "east", "west"]
    assert [s["bbox"] for s in api.searches] == [[178, -20, 180, -15], [-180, -20, -178, -15]]


def test_burst_of_503_is_outlasted(api):
    api.fail_next = [503, 503, 429]
    assert len(search(api.url, bbox=WORLD, period=ALWAYS).items) == 8


def test_lasting_503_is_unreachable_with_the_url(api):
    api.fail_next = [200, 200] + [503] * 50
    with pytest.raises(RemoteUnreachable, match=r"127\.0\.0\.1") as caught:
        search(api.url, bbox=WORLD, period=ALWAYS)
    assert caught.value.exit_code == 5


def test_refused_search_is_a_usage_error(api):
    api.fail_next = [200, 200, 400]
    with pytest.raises(UsageError, match="refused"):
        search(api.url, bbox=WORLD, period=ALWAYS)


def test_dead_port_is_unreachable():
    with FaultServer(".") as gone:
        url = gone.url("")
    begin = time.monotonic()
    with pytest.raises(RemoteUnreachable, match=url.rstrip("/")):
        search(url, bbox=WORLD, period=ALWAYS)
    assert time.monotonic() - begin < 20


def test_nothing_matched_says_what_was_asked(api):
    with pytest.raises(NothingMatched) as caught:
        search(api.url, bbox=BBox(-5, 50, -4, 51), period=Period.parse("2024-03"), query=["eo:cloud_cover<40"])
    text = str(caught.value)
    for part in (api.url, "sentinel-2-l2a", "-5 50 -4 51", "2024-03-01/2024-03-31", "eo:cloud_cover<40", "50 -5 51 -4"):
        assert part in text
    assert caught.value.exit_code == 4


def test_unknown_names_are_usage_errors(api, tmp_path):
    with pytest.raises(UsageError, match="unknown collection"):
        search(api.url, collections=["modis"], bbox=WORLD, period=ALWAYS)
    with pytest.raises(UsageError, match="planetary-computer, earth-search"):
        search("planetary", bbox=WORLD, period=ALWAYS)
    with pytest.raises(UsageError, match="does not exist"):
        search(str(tmp_path / "catalog.json"), bbox=WORLD, period=ALWAYS)
    with pytest.raises(UsageError, match="does not exist"):
        search(str(tmp_path / "none.parquet"), bbox=WORLD, period=ALWAYS)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UsageError, match="not JSON"):
        search(str(tmp_path / "bad.json"), bbox=WORLD, period=ALWAYS)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(UsageError, match="not Parquet"):
        search(str(tmp_path / "bad.parquet"), bbox=WORLD, period=ALWAYS)
    with pytest.raises(UsageError, match="query"):
        search(api.url, bbox=WORLD, period=ALWAYS, query=["clouds few"])


def write_static(folder: Path, items: list[dict[str, Any]]) -> Path:
    """catalog.json -> collection/collection.json -> items/*.json, all relative."""
    (folder / "collection/items").mkdir(parents=True)
    catalog = {"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "", "links": []}
    catalog["links"] = [
        {"rel": "child", "href": "./collection/collection.json"},
        {"rel": "root", "href": "./catalog.json"},
    ]
    links = [{"rel": "item", "href": f"./items/{i['id']}.json"} for i in items]
    links.append({"rel": "parent", "href": "../catalog.json"})
    (folder / "catalog.json").write_text(json.dumps(catalog))
    (folder / "collection/collection.json").write_text(
        json.dumps({"type": "Collection", "stac_version": "1.0.0", "id": "x", "description": "", "links": links})
    )
    for node in items:
        (folder / f"collection/items/{node['id']}.json").write_text(json.dumps(node))
    return folder / "catalog.json"


def relative(name: str, **kwargs: Any) -> dict[str, Any]:
    node = item(name, **kwargs)
    for asset in node["assets"].values():
        asset["href"] = f"../data/{name}.tif"
    return node


def test_static_catalogue_over_http_and_from_disk(tmp_path):
    nodes = [relative("near"), relative("far", lon=60), relative("old", day="2019-01-01"), relative("cloudy")]
    nodes[3]["properties"]["eo:cloud_cover"] = 90.0
    path = write_static(tmp_path, nodes)
    ask = {"bbox": BBox(9, 4, 12, 7), "period": Period.parse("2024"), "query": ["eo:cloud_cover<40"]}
    local = search(str(path), **ask)
    assert [i.id for i in local.items] == ["near"]
    href = freeze(local).scenes[0].bands["red"].href
    assert href == str(tmp_path / "collection/data/near.tif")
    assert search(str(tmp_path), **ask).items[0].id == "near"
    with FaultServer(tmp_path) as server:
        server.fail("/collection/collection.json", status=503, times=2)
        remote = search(server.url("catalog.json"), **ask)
        assert [i.id for i in remote.items] == ["near"]
        href = freeze(remote).scenes[0].bands["red"].href
        assert href == server.url("collection/data/near.tif")
        server.fail("/collection/items/near.json", status=500)
        with pytest.raises(RemoteUnreachable, match=r"near\.json"):
            search(server.url("catalog.json"), **ask)


def test_static_catalogue_of_unknown_collections(tmp_path):
    node = item("x")
    node["collection"] = "aerial-photos"
    with pytest.raises(UsageError, match="aerial-photos"):
        search(str(write_static(tmp_path, [node])), bbox=WORLD, period=ALWAYS)


def test_an_antimeridian_item_in_a_static_catalogue(tmp_path):
    node = item("fiji", lon=179.5, lat=-18)
    node["bbox"] = [179.5, -18, -179.5, -17]
    node["geometry"] = {
        "type": "MultiPolygon",
        "coordinates": [
            [[[179.5, -18], [180, -18], [180, -17], [179.5, -17], [179.5, -18]]],
            [[[-180, -18], [-179.5, -18], [-179.5, -17], [-180, -17], [-180, -18]]],
        ],
    }
    path = str(write_static(tmp_path, [node]))
    assert search(path, bbox=BBox(-180, -20, -179, -15), period=ALWAYS).items[0].id == "fiji"
    assert search(path, bbox=BBox(179, -20, -179, -15), period=ALWAYS).items[0].id == "fiji"
    with pytest.raises(NothingMatched):
        search(path, bbox=BBox(0, -20, 10, -15), period=ALWAYS)


def test_real_static_catalogues(data_dir):
    found = search(str(data_dir / "strzegom/catalog.json"), bbox=BBox(16, 50, 17, 52), period=Period.parse("2022"))
    assert len(found.items) == 3
    frozen = freeze(found, bands=["red", "swir16"])
    assert all(Path(a.href).is_file() for s in frozen.scenes for a in s.bands.values())
    found = search(str(data_dir / "coalfield"), bbox=BBox(81, 21, 82, 22), period=Period.parse("2019/2024"))
    assert len(found.items) == 107
    with pytest.raises(UsageError, match="missing green"):
        freeze(found, bands=["green"])


@pytest.mark.parametrize(
    ("name", "count"), [("pc_sentinel-2-l2a_1000_items.parquet", 1000), ("pc_landsat-c2-l2_100_items.parquet", 100)]
)
def test_recorded_geoparquet(data_dir, name, count):
    path = str(data_dir / "stac" / name)
    everything = pq.read_table(path, columns=["id", "bbox", "datetime"]).to_pylist()
    assert len(everything) == count
    middle = everything[count // 2]
    corners = middle["bbox"]
    lon, lat = (corners["xmin"] + corners["xmax"]) / 2, (corners["ymin"] + corners["ymax"]) / 2
    box = BBox(lon - 0.01, lat - 0.01, lon + 0.01, lat + 0.01)
    day = middle["datetime"].strftime("%Y-%m-%d")
    found = search(path, bbox=box, period=Period.parse(day))
    assert middle["id"] in {i.id for i in found.items}
    assert len(found.items) < count / 4
    assert {s.provider for s in freeze(found).scenes} == {"planetary-computer"}


def test_geoparquet_written_here_equals_the_static_catalogue(tmp_path):
    from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

    nodes = [item(f"i{n}", lon=-20 + n, day=f"2024-03-{n + 1:02d}", **{"eo:cloud_cover": n * 5.0}) for n in range(20)]
    nodes[3]["assets"].pop("SCL")
    path = tmp_path / "items.parquet"
    to_parquet(parse_stac_items_to_arrow(nodes), path)
    static = str(write_static(tmp_path / "static", nodes))
    for ask in (
        {"bbox": WORLD, "period": ALWAYS},
        {"bbox": BBox(-16, 0, -12, 9), "period": Period.parse("2024-03-02/2024-03-09")},
        {"bbox": WORLD, "period": ALWAYS, "query": ["eo:cloud_cover<=40", "platform=Sentinel-2A"]},
    ):
        a, b = search(str(path), **ask), search(static, **ask)
        assert [i.id for i in a.items] == [i.id for i in b.items]
        assert freeze(a).scenes == freeze(b).scenes


def test_a_hundred_thousand_rows_are_filtered_by_column(tmp_path):
    """Building 100,000 items takes minutes; filtering their columns takes a moment."""
    from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

    small = tmp_path / "small.parquet"
    to_parquet(parse_stac_items_to_arrow([item(f"i{n}", lon=-100) for n in range(1000)]), small)
    table = pq.read_table(small)
    hit = tmp_path / "hit.parquet"
    to_parquet(parse_stac_items_to_arrow([item("needle", lon=10)]), hit)
    big = tmp_path / "big.parquet"
    with pq.ParquetWriter(big, table.schema) as writer:
        for _ in range(100):
            writer.write_table(table)
        writer.write_table(pq.read_table(hit).cast(table.schema))
    begin = time.monotonic()
    found = search(str(big), bbox=BBox(9, 4, 12, 7), period=ALWAYS)
    assert [i.id for i in found.items] == ["needle"]
    assert time.monotonic() - begin < 10


@settings(max_examples=50, deadline=None)
@given(
    name=st.from_regex(r"[a-z][a-z0-9_]{0,8}(:[a-z0-9_]{1,8})?", fullmatch=True),
    symbol=st.sampled_from(["<=", ">=", "<>", "<", ">", "="]),
    value=st.floats(-1e6, 1e6).map(lambda v: round(v, 3)),
    tested=st.floats(-1e6, 1e6),
)
def test_conditions_mean_what_python_means(name, symbol, value, tested):
    (condition,) = parse_query([f"{name} {symbol} {value}"])
    means = {
        "<=": tested <= value,
        ">=": tested >= value,
        "<>": tested != value,
        "<": tested < value,
        ">": tested > value,
        "=": tested == value,
    }
    assert condition.matches({name: tested}) == means[symbol]
    assert not condition.matches({})
    assert list(api_query([condition])[name].values()) == [value]


def test_presets_are_known_by_host():
    assert (
        catalogs._provider("https://earth-search.aws.element84.com/v1", "https://earth-search.aws.element84.com/v1")
        == "earth-search"
    )
    assert catalogs._provider("planetary-computer", "") == "planetary-computer"
