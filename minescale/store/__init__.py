"""The mosaic on disk: one Zarr store with pixels, overviews and the state of every tile.

Import from the modules: ``layout`` (what the store looks like), ``template`` (create it), ``mosaic`` (tiles in and
out), ``ledger`` (state of every tile), ``overviews`` and ``finalise`` (the end of a run).
"""
