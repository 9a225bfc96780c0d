"""A simulation's account as tables for people."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from polyrhythm_client.json_fields import JsonFields

SHOWN_OCCASIONS = frozenset({"load", "join", "drain", "death", "loss", "replan", "takeover"})
"""What befell the fleet; the rest of the marks is in the pictures' table."""
AS_LONG = 0.005
"""Share by which two simulated times may differ and count as one."""


def print_simulation(console: Console, account: JsonFields) -> None:
    """Pictures, devices, what happened, and what the figures do not say."""
    console.print(_pictures_table(account))
    console.print(_devices_table(account))
    for mark in account.object("timeline").objects("marks"):
        if mark.text("occasion") in SHOWN_OCCASIONS:
            agent = f"[bold]{escape(mark.text('agent'))}[/bold] " if mark.text("agent") else ""
            console.print(f"{mark.number('at_s'):9.3f} s  {agent}{escape(mark.text('text'))}")
    for exclusion in account.objects("exclusions"):
        reason = exclusion.text("reason").replace("_", " ")
        agent, detail = escape(exclusion.text("agent")), escape(exclusion.text("detail"))
        console.print(f"left out: [bold]{agent}[/bold] ({reason}): {detail}")
    for notice in account.texts("notices"):
        console.print(f"[yellow]note:[/yellow] {escape(notice)}")
    console.print("[yellow]every figure above is simulated[/yellow]")


def _pictures_table(account: JsonFields) -> Table:
    asked = account.object("picture")
    size = f"{asked.integer('width_px')}x{asked.integer('height_px')} px"
    table = Table(title=f"Simulated: {size}, {asked.integer('steps')} steps, {escape(asked.text('quality'))}")
    table.add_column("picture")
    table.add_column("first plan")
    for heading in ("encode s", "denoise s", "predicted s", "decode s", "plans"):
        table.add_column(heading, justify="right")
    for picture in account.objects("pictures"):
        table.add_row(
            str(picture.integer("image_index")),
            escape(picture.text("label")),
            *(f"{picture.number(name):.3f}" for name in ("encode_s", "denoise_s", "predicted_denoise_s", "decode_s")),
            str(len(picture.objects("plans"))),
        )
    table.caption = f"from the request to the end: {account.number('total_s'):.3f} s{_alone(account)}"
    return table


def _alone(account: JsonFields) -> str:
    """What the fastest device would take by itself, where the fleet is more than that."""
    if "alone" not in account or len(account.objects("devices")) == 1:
        return ""
    alone = account.object("alone")
    seconds, ratio = alone.number("total_s"), alone.number("to_fleet")
    told = "as long" if abs(ratio - 1) < AS_LONG else f"{seconds:.3f} s, {ratio:.2f} times as long as the fleet"
    return f"\n{escape(alone.text('agent'))} alone, the fastest device: {told}"


def _devices_table(account: JsonFields) -> Table:
    table = Table(title="Devices over the whole time")
    table.add_column("device", overflow="fold")
    for heading in ("steps", "denoise s", "encode s", "decode s", "wait s", "busy", "sent MB"):
        table.add_column(heading, justify="right")
    for device in account.objects("devices"):
        table.add_row(
            escape(device.text("agent")),
            str(device.integer("steps")),
            *(f"{device.number(name):.3f}" for name in ("compute_s", "encode_s", "decode_s", "wait_s")),
            f"{device.number('utilisation'):.0%}",
            f"{device.integer('sent_bytes') / 1e6:.2f}",
        )
    return table
