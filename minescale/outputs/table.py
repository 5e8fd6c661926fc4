"""A summary as a short table for the terminal."""

from __future__ import annotations

from minescale.outputs.summary import Figures, Summary

_REASONS = {"no_scene": "no scene", "never_clear": "never clear", "read_failed": "could not be read"}


def summary_rows(summary: Summary) -> list[tuple[str, str, str]]:
    """(label, value, note) of the whole scan, in the order of the table."""
    total = summary.total
    rows = [
        ("area scanned", km2(total.scanned_km2), _tiles(total, len(summary.periods))),
        ("seen", km2(total.seen_km2), share(total.seen_km2, total.scanned_km2)),
        ("not seen", km2(total.not_seen_km2), _why(total)),
    ]
    if len(summary.levels) > 1:
        audit = total.audit
        bound = (
            f"{audit.audited} audited, {audit.missed} with a mine: at most {audit.missed_share_upper:.1%} of pruned "
            f"tiles missed at {audit.confidence:.0%} confidence"
            if audit.pruned
            else "the coarse level kept every tile"
        )
        rows.append(("pruned", km2(total.pruned_km2), f"{total.tiles_pruned} tiles; {bound}"))
    mine = f"{share(total.mine_km2, total.seen_km2)} of what was seen, at p >= {summary.threshold:g}"
    if total.mine_screen_km2:
        mine += f"; {total.mine_screen_km2 * 100:,.1f} ha by the coarse level alone"
    rows.append(("mine area where seen", f"{total.mine_ha:,.1f} ha", mine))
    if summary.tiles_with_losses:
        rows.append(
            ("scenes lost", f"{summary.scenes_lost:,}", f"could not be read for {summary.tiles_with_losses} tile(s)")
        )
    rows.append(("bytes read", data_size(summary.bytes_read), ""))
    rows.append(("work", f"{summary.work_seconds:,.0f} s", f"{summary.cpu_seconds:,.0f} s of processor time"))
    return rows


def summary_text(summary: Summary) -> str:
    """The rows, aligned; below them one line per period where there are several."""
    rows = summary_rows(summary)
    left = max(len(label) for label, _, _ in rows)
    middle = max(len(value) for _, value, _ in rows)
    lines = [f"{label:<{left}}  {value:>{middle}}  {note}".rstrip() for label, value, note in rows]
    if len(summary.periods) > 1:
        lines += ["", f"{'period':<21}  {'seen km2':>12}  {'not seen km2':>12}  {'mine ha where seen':>18}"]
        lines += [
            f"{p.label:<21}  {p.seen_km2:>12,.1f}  {p.not_seen_km2:>12,.1f}  {p.mine_ha:>18,.1f}"
            for p in summary.periods
        ]
    return "\n".join(lines)


def km2(value: float) -> str:
    """Square kilometres in words."""
    return f"{value:,.1f} km2"


def share(part: float, whole: float) -> str:
    """Per cent; a dash where there is no whole."""
    return f"{part / whole:.1%}" if whole else "-"


def data_size(count: float) -> str:
    """Bytes with a decimal unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def _tiles(figures: Figures, periods: int) -> str:
    text = f"{figures.tiles_decided} of {figures.tiles} tiles" + (f" over {periods} periods" if periods > 1 else "")
    return f"{text}, {figures.tiles_failed} failed" if figures.tiles_failed else text


def _why(figures: Figures) -> str:
    text = share(figures.not_seen_km2, figures.scanned_km2)
    reasons = figures.not_seen_by_reason or {}
    parts = [f"{_REASONS[name]} {km2(value)}" for name, value in reasons.items() if value]
    return f"{text}: {', '.join(parts)}" if parts else text
