"""The end of a scan: overviews, catalogue entry, picture."""

from __future__ import annotations

from minescale.errors import StoreError
from minescale.outputs.quicklook import draw_quicklook
from minescale.outputs.stac import QUICKLOOK_FILE, write_collection
from minescale.outputs.summary import Summary
from minescale.planning.plan import MOSAIC_FILE, ScanPlan
from minescale.planning.run_dir import RunDir
from minescale.store.finalise import finalise


def finish_scan(plan: ScanPlan, folder: RunDir, summary: Summary) -> None:
    """Make a scan's directory ready to read and to publish. Repeating it changes nothing in ``mosaic.zarr``.

    The picture comes last: it reads scenes again, and a source that has gone away by then costs the picture's
    left half, not the scan.

    Raises
    ------
    StoreError
        where the directory cannot be written.
    """
    finalise(folder.path(MOSAIC_FILE), summary.published())
    try:
        write_collection(plan, folder, summary)
        draw_quicklook(plan, folder, folder.path(QUICKLOOK_FILE))
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"cannot write to {folder.root}", got=error, fix="a writable --out with free space") from error
