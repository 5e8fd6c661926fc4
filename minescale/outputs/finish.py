"""The end of a scan: overviews, catalogue entry, picture."""

from __future__ import annotations

from minescale.errors import StoreError
from minescale.outputs.quicklook import draw_quicklook
from minescale.outputs.stac import COLLECTION_FILE, QUICKLOOK_FILE, write_collection
from minescale.outputs.summary import Summary
from minescale.planning.plan import MOSAIC_FILE, ScanPlan
from minescale.planning.run_dir import RunDir
from minescale.store.backend import open_root, storing
from minescale.store.finalise import SUMMARY, finalise
from minescale.store.layout import plain_json


def finish_scan(plan: ScanPlan, folder: RunDir, summary: Summary) -> None:
    """Make a scan's directory ready to read and to publish. Repeating it does nothing.

    The picture comes last: it reads scenes again, and a source that has gone away by then costs the picture's
    left half, not the scan.

    Raises
    ------
    StoreError
        where the directory cannot be written.
    """
    if is_finished(folder, summary):
        return
    finalise(folder.path(MOSAIC_FILE), summary.published())
    try:
        write_collection(plan, folder, summary)
        draw_quicklook(plan, folder, folder.path(QUICKLOOK_FILE))
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"cannot write to {folder.root}", got=error, fix="a writable --out with free space") from error


def is_finished(folder: RunDir, summary: Summary) -> bool:
    """True where the end was reached before with the very same result. The picture is written last."""
    if not all(folder.exists(name) for name in (MOSAIC_FILE, COLLECTION_FILE, QUICKLOOK_FILE)):
        return False
    path = folder.path(MOSAIC_FILE)
    with storing(path, "read the mosaic's summary"):
        attrs = dict(open_root(path, read_only=True).attrs)
    return attrs.get(SUMMARY) == plain_json(summary.published(), "summary")
