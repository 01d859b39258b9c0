"""What a person sees of a bulk action on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table

from gateway.core.forecast import Forecast
from gateway.core.ids import ACTION, format_id
from gateway.store.action_reads import ActionView, BatchView


def action_table(view: ActionView, batches: Sequence[BatchView] = ()) -> Table:
    """One bulk action: where it stands, its counts, why it waits, and its last batches."""
    table = Table(title=f"{view.label or view.operation}  {format_id(ACTION, view.id)}", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("status", view.status.value + (f" ({view.pause_reason})" if view.pause_reason else ""))
    if view.wait_reason:
        until = f" until {view.next_batch_at:%Y-%m-%d %H:%M:%S}" if view.next_batch_at else ""
        table.add_row("waits for", view.wait_reason + until)
    table.add_section()
    for state, number in asdict(view.counts).items():
        if number or state in ("pending", "succeeded", "failed"):
            table.add_row(state.replace("_", " "), f"{number:,}")
    table.add_row("total", f"{view.counts.total:,}")
    if batches:
        table.add_section()
        for batch in batches:
            table.add_row(f"batch {batch.number} at {batch.started_at:%H:%M:%S}", f"{batch.quantity:,}")
    return table


def forecast_table(forecast: Forecast) -> Table:
    """The batches to come with their instants in UTC; below them the end, or that it was not reached."""
    end = f"{forecast.ends_at:%Y-%m-%d %H:%M:%S}" if forecast.ends_at else "-"
    table = Table(title="Batches to come", title_justify="left", show_footer=True)
    table.add_column("batch", footer=f"{forecast.batch_count:,} in all" + ("" if forecast.complete else ", and more"))
    table.add_column("at", footer=f"ends {end}" if forecast.complete else "no end in sight")
    table.add_column("contacts", justify="right")
    for batch in forecast.batches:
        table.add_row(str(batch.number), f"{batch.at:%Y-%m-%d %H:%M:%S}", f"{batch.quantity:,}")
    return table
