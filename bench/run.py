"""`make bench`: what the gateway does end to end, with the providers in other processes than the daemon.

Prints tables and writes `bench/results.json`. It measures and never fails on a figure; tests decide what is right.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Coroutine, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from rich.console import Console
from rich.table import Table

from bench.http_adapters import ADAPTERS, CLIENTS, SendFigures, measure_sends
from bench.measuring import machine
from bench.smtp import MailFigures, measure_mail
from bench.smtp_adapter import AdapterFigures, measure_adapter
from bench.twilio import ReceiptFigures, TextFigures, measure_receipts, measure_texts

T = TypeVar("T")

RESULTS = Path(__file__).with_name("results.json")


Figures = MailFigures | TextFigures | ReceiptFigures | AdapterFigures | SendFigures


def show(title: str, heading: str, runs: Sequence[Figures]) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column(heading)
    columns = [asdict(run) for run in runs]
    for column in columns:
        table.add_column(_heading(column.pop(heading)), justify="right")
    for name in columns[0]:
        table.add_row(name.replace("_", " "), *(f"{column[name]:,.2f}" for column in columns))
    Console(width=100).print(table)


def _heading(value: int | bool | str) -> str:
    if isinstance(value, str):
        return value
    return ("no", "yes")[value] if isinstance(value, bool) else f"{value:,}"


def measured(measurement: Coroutine[Any, Any, T]) -> T:
    """The simulators run in this process: on the fast loop, so that they do not hold the daemon up."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measurement)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipients", type=int, nargs="+", default=[10_000, 100_000], help="of e-mail")
    parser.add_argument("--texts", type=int, nargs="+", default=[10_000, 50_000], help="recipients of SMS")
    parser.add_argument("--receipts", type=int, nargs="+", default=[25_000], help="messages with two receipts each")
    parser.add_argument("--adapter-mails", type=int, default=20_000, help="for the SMTP adapter by itself")
    parser.add_argument("--adapter-sends", type=int, default=20_000, help="for each HTTP adapter by itself")
    parser.add_argument("--only", choices=("mail", "adapter", "texts", "receipts"))
    options = parser.parse_args()
    results: dict[str, list[Any]] = {}
    if options.only in (None, "mail"):
        mail = [measured(measure_mail(number)) for number in options.recipients]
        show("E-mail, end to end over SMTP", "recipients", mail)
        results["mail"] = [asdict(run) for run in mail]
    if options.only in (None, "adapter"):
        adapter = [measured(measure_adapter(options.adapter_mails, pipelining=each)) for each in (True, False)]
        show("The SMTP adapter by itself", "pipelining", adapter)
        results["smtp_adapter"] = [asdict(run) for run in adapter]
        pairs = [(name, client) for name in ADAPTERS for client in CLIENTS]
        sends = [measured(measure_sends(*pair, options.adapter_sends)) for pair in pairs]
        show("The HTTP adapters by themselves, over our client and over aiohttp's", "adapter", sends)
        results["http_adapters"] = [asdict(run) for run in sends]
    if options.only in (None, "texts"):
        for receipts in (0, 2):
            texts = [measured(measure_texts(number, receipts)) for number in options.texts]
            show(f"SMS, end to end over HTTP, {receipts} receipts each", "recipients", texts)
            results[f"texts_with_{receipts}_receipts"] = [asdict(run) for run in texts]
    if options.only in (None, "receipts"):
        merged = [measured(measure_receipts(number)) for number in options.receipts]
        show("Receipts, signed and durable", "receipts", merged)
        results["receipts"] = [asdict(run) for run in merged]
    print(machine())
    RESULTS.write_text(json.dumps({"machine": machine(), **results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
