"""A simulation's account as tables for people.

The account is the one object that the simulator of this very version prints (``polyrhythm_coordinator.simulation``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

SHOWN_OCCASIONS = frozenset({"load", "join", "drain", "death", "loss", "replan", "takeover"})
"""What happened to the fleet; the other marks are in the pictures' table."""
AS_LONG = 0.005
"""Share by which two simulated times may differ and count as one."""


def print_simulation(console: Console, account: Mapping[str, Any]) -> None:
    """Pictures, devices, what happened, and what the figures do not say."""
    console.print(_pictures_table(account))
    console.print(_devices_table(account))
    for mark in account["timeline"]["marks"]:
        if mark["occasion"] in SHOWN_OCCASIONS:
            agent = f"[bold]{escape(mark['agent'])}[/bold] " if mark["agent"] else ""
            console.print(f"{mark['at_s']:9.3f} s  {agent}{escape(mark['text'])}")
    for exclusion in account["exclusions"]:
        reason = exclusion["reason"].replace("_", " ")
        agent, message = escape(exclusion["agent"]), escape(exclusion["message"])
        console.print(f"left out: [bold]{agent}[/bold] ({reason}): {message}")
    for notice in account["notices"]:
        console.print(f"[yellow]note:[/yellow] {escape(notice)}")
    console.print("[yellow]every figure above is simulated[/yellow]")


def _pictures_table(account: Mapping[str, Any]) -> Table:
    asked = account["picture"]
    size = f"{asked['width_px']}x{asked['height_px']} px"
    table = Table(title=f"Simulated: {size}, {asked['steps']} steps, {escape(asked['quality'])}")
    table.add_column("picture")
    table.add_column("first plan")
    for heading in ("encode s", "denoise s", "predicted s", "decode s", "plans"):
        table.add_column(heading, justify="right")
    for picture in account["pictures"]:
        table.add_row(
            str(picture["image_index"]),
            escape(picture["label"]),
            *(f"{picture[name]:.3f}" for name in ("encode_s", "denoise_s", "predicted_denoise_s", "decode_s")),
            str(len(picture["plans"])),
        )
    table.caption = f"from the request to the end: {account['total_s']:.3f} s{_alone(account)}"
    return table


def _alone(account: Mapping[str, Any]) -> str:
    """What the fastest device would take by itself, where the fleet is more than that."""
    alone = account["alone"]
    if alone is None or len(account["devices"]) == 1:
        return ""
    seconds, ratio = alone["total_s"], alone["to_fleet"]
    message = "as long" if abs(ratio - 1) < AS_LONG else f"{seconds:.3f} s, {ratio:.2f} times as long as the fleet"
    return f"\n{escape(alone['agent'])} alone, the fastest device: {message}"


def _devices_table(account: Mapping[str, Any]) -> Table:
    table = Table(title="Devices over the whole time")
    table.add_column("device", overflow="fold")
    for heading in ("steps", "denoise s", "encode s", "decode s", "wait s", "busy", "sent MB"):
        table.add_column(heading, justify="right")
    for device in account["devices"]:
        table.add_row(
            escape(device["agent"]),
            str(device["steps"]),
            *(f"{device[name]:.3f}" for name in ("compute_s", "encode_s", "decode_s", "wait_s")),
            f"{device['utilisation']:.0%}",
            f"{device['sent_bytes'] / 1e6:.2f}",
        )
    return table
