"""`make bench`: what the gateway does end to end, with the providers in other processes than the daemon.

Prints tables, each figure with how it has changed since the last run on this machine, and writes `bench/results.json`.
It measures and never fails on a figure; tests decide what is right.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from rich.console import Console
from rich.table import Table

from bench.engine import EngineFigures, measure_engine
from bench.http_adapters import ADAPTERS, CLIENTS, SendFigures, measure_sends
from bench.measuring import machine
from bench.singles import SingleFigures, measure_singles
from bench.smtp import MailFigures, measure_mail
from bench.smtp_adapter import AdapterFigures, measure_adapter
from bench.twilio import ReceiptFigures, TextFigures, measure_receipts, measure_texts
from bench.waiting import WaitingFigures, measure_waiting

T = TypeVar("T")

WIDTHS_RECIPIENTS = 20_000
POLICIES_RECIPIENTS = 10_000
RESULTS = Path(__file__).with_name("results.json")


KINDS = ("mail", "widths", "engine", "adapter", "texts", "receipts", "singles", "waiting")

Figures = (
    MailFigures
    | EngineFigures
    | TextFigures
    | ReceiptFigures
    | SingleFigures
    | AdapterFigures
    | SendFigures
    | WaitingFigures
)
Results = dict[str, list[dict[str, Any]]]


class Report:
    """Prints what was measured beside the last results, and keeps it for the next time."""

    def __init__(self) -> None:
        self._last: Results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        self._results: Results = {}

    def show(self, name: str, title: str, heading: str, runs: Sequence[Figures]) -> None:
        table = Table(title=title, title_justify="left")
        table.add_column(heading)
        columns = [asdict(run) for run in runs]
        for column in columns:
            table.add_column(_heading(column[heading]), justify="right")
        for figure in columns[0]:
            if figure != heading:
                row = (_shown(column, figure, self._before(name, heading, column)) for column in columns)
                table.add_row(figure.replace("_", " "), *row)
        console = Console(width=120)
        console.print(table)
        if heading == "recipients" and len(columns) > 1:
            console.print(f"time grows with the number of recipients to the power of {_growth(columns):.2f}")
        self._results[name] = columns

    def save(self) -> None:
        """Measurements that were not taken this time stay as they are."""
        kept: dict[str, Any] = self._last | self._results | {"machine": machine()}
        RESULTS.write_text(json.dumps(kept, indent=2) + "\n")

    def _before(self, name: str, heading: str, column: Mapping[str, Any]) -> Mapping[str, Any]:
        """The last run of the same size."""
        return next((run for run in self._last.get(name, ()) if run[heading] == column[heading]), {})


def _growth(columns: Sequence[Mapping[str, Any]]) -> float:
    """From the smallest run to the largest: 1 is linear."""
    one, other = (f(columns, key=lambda column: column["recipients"]) for f in (min, max))
    number = other["recipients"] / one["recipients"]
    return 1 - math.log(other["messages_per_second"] / one["messages_per_second"]) / math.log(number)


def _shown(column: Mapping[str, Any], figure: str, before: Mapping[str, Any]) -> str:
    value, last = column[figure], before.get(figure)
    if isinstance(value, str | bool):
        return _heading(value)
    return f"{value:,.2f}" + (f" ({value / last - 1:+.0%})" if last else "")


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
    parser.add_argument("--concurrency", type=int, nargs="+", default=[16, 64, 256], help="W of runs of e-mail")
    parser.add_argument("--texts", type=int, nargs="+", default=[10_000, 50_000], help="recipients of SMS")
    parser.add_argument("--receipts", type=int, nargs="+", default=[25_000], help="messages with two receipts each")
    parser.add_argument("--adapter-mails", type=int, default=20_000, help="for the SMTP adapter by itself")
    parser.add_argument("--adapter-sends", type=int, default=20_000, help="for each HTTP adapter by itself")
    parser.add_argument("--singles", type=int, default=2_000, help="single messages over the API")
    parser.add_argument("--waiting", type=int, nargs="+", default=[0, 100_000], help="drips that wait")
    parser.add_argument("--only", choices=KINDS)
    options = parser.parse_args()
    report = Report()
    for kind in KINDS if options.only is None else (options.only,):
        _MEASURE[kind](report, options)
    print(machine())
    report.save()


def _mail(report: Report, options: argparse.Namespace) -> None:
    runs = [measured(measure_mail(number)) for number in options.recipients]
    report.show("mail", "E-mail, end to end over SMTP", "recipients", runs)


def _widths(report: Report, options: argparse.Namespace) -> None:
    runs = [measured(measure_mail(WIDTHS_RECIPIENTS, width)) for width in options.concurrency]
    report.show("mail_widths", "E-mail by W, the messages in flight", "concurrency", runs)


def _engine(report: Report, options: argparse.Namespace) -> None:
    runs = [measured(measure_engine(number)) for number in options.recipients]
    report.show("engine", "The engine by itself, in a dry run", "recipients", runs)
    both = [measured(measure_engine(POLICIES_RECIPIENTS, policies)) for policies in (False, True)]
    report.show("engine_policies", "The same with quiet hours and a frequency cap", "policies", both)


def _adapter(report: Report, options: argparse.Namespace) -> None:
    mails = [measured(measure_adapter(options.adapter_mails, pipelining=each)) for each in (True, False)]
    report.show("smtp_adapter", "The SMTP adapter by itself", "pipelining", mails)
    pairs = [(name, client) for name in ADAPTERS for client in CLIENTS]
    sends = [measured(measure_sends(*pair, options.adapter_sends)) for pair in pairs]
    report.show(
        "http_adapters", "The HTTP adapters by themselves, over our client and over aiohttp's", "adapter", sends
    )


def _texts(report: Report, options: argparse.Namespace) -> None:
    for receipts in (0, 2):
        runs = [measured(measure_texts(number, receipts)) for number in options.texts]
        title = f"SMS, end to end over HTTP, {receipts} receipts each"
        report.show(f"texts_with_{receipts}_receipts", title, "recipients", runs)


def _receipts(report: Report, options: argparse.Namespace) -> None:
    runs = [measured(measure_receipts(number)) for number in options.receipts]
    report.show("receipts", "Receipts, signed and durable", "receipts", runs)


def _singles(report: Report, options: argparse.Namespace) -> None:
    runs = [measured(measure_singles(options.singles, callers)) for callers in (1, 8, 64)]
    report.show("singles", "Single messages over the API", "callers", runs)


def _waiting(report: Report, options: argparse.Namespace) -> None:
    runs = [measured(measure_waiting(number)) for number in options.waiting]
    report.show("waiting", "Drips that wait for their next batch", "waiting", runs)


_MEASURE = {
    "mail": _mail,
    "widths": _widths,
    "engine": _engine,
    "adapter": _adapter,
    "texts": _texts,
    "receipts": _receipts,
    "singles": _singles,
    "waiting": _waiting,
}


if __name__ == "__main__":
    main()
