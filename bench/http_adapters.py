"""What an adapter's `send` costs by itself, without engine and database: W at once over loopback, to a sink."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bench.measuring import cpu_seconds
from bench.sink import SinkProcess
from gateway import Accepted, Adapter, Http, Outbound, TemplateUse
from gateway.outbound.client import HttpClient
from gateway.testing.aiohttp_client import AiohttpClient
from gateway.testing.doubles import make_message, make_settings, make_tools
from gateway_sms.kannel import Kannel
from gateway_twilio.sms import TwilioSms
from gateway_whatsapp.cloud import WhatsAppCloud

CONCURRENCY: Final = 64
WARM_UP: Final = 2_000
CLIENTS: Final[Mapping[str, Callable[[int], HttpClient | AiohttpClient]]] = {
    "own": HttpClient,
    "aiohttp": AiohttpClient,
}
TEMPLATE: Final = TemplateUse("sunday", "en_US", {"1": "Ada", "2": "São Paulo"}, {"named": False})


@dataclass
class SendFigures:
    """One adapter and the client under it. CPU is of this process (adapter, client, loop), and of the sink's."""

    adapter: str
    messages: int
    cpu_us_per_message: float
    sink_cpu_us_per_message: float
    messages_per_second: float


def _twilio(url: str, http: Http) -> Adapter[Any]:
    table = {"account_sid": "AC" + "a1" * 16, "auth_token": "0" * 32, "from": "+14155552345", "api_url": url}
    return TwilioSms(make_settings(table, TwilioSms.settings_type), make_tools(http))


def _cloud(url: str, http: Http) -> Adapter[Any]:
    table = {
        "phone_number_id": "106540352242922",
        "business_account_id": "102290129340398",
        "access_token": "EAAJB" + "0" * 180,
        "app_secret": "0" * 32,
        "verify_token": "0" * 32,
        "api_url": url,
    }
    return WhatsAppCloud(make_settings(table, WhatsAppCloud.settings_type), make_tools(http))


def _kannel(url: str, http: Http) -> Adapter[Any]:
    table = {"url": f"{url}/cgi-bin/sendsms", "username": "gateway", "password": "secret", "secret": "0" * 32}
    return Kannel(make_settings(table, Kannel.settings_type), make_tools(http))


ADAPTERS: Final = {"twilio": _twilio, "meta": _cloud, "kannel": _kannel}


def _messages(adapter: str, number: int) -> Iterator[Outbound]:
    for n in range(number):
        to, ref = f"+23480{30_000_000 + n:08d}", f"msg_{n:013d}"
        if adapter == "meta":
            yield make_message(to, None, ref=ref, template=TEMPLATE)
        else:
            yield make_message(to, f"Hi Ada{n}, see you on Sunday in São Paulo.", ref=ref)


async def measure_sends(adapter: str, client: str, number: int) -> SendFigures:
    async with SinkProcess() as sink:
        http = CLIENTS[client](CONCURRENCY)
        try:
            sender = ADAPTERS[adapter](sink.url, http)
            await _send_all(sender, list(_messages(adapter, WARM_UP)))
            messages = list(_messages(adapter, number))
            theirs, ours, started = cpu_seconds(sink.pid), time.process_time(), time.perf_counter()
            await _send_all(sender, messages)
            seconds = time.perf_counter() - started
            ours, theirs = time.process_time() - ours, cpu_seconds(sink.pid) - theirs
            assert (await sink.taken())[adapter] == WARM_UP + number
        finally:
            await http.close()
        return SendFigures(
            adapter=f"{adapter}, {client}",
            messages=number,
            cpu_us_per_message=ours / number * 1e6,
            sink_cpu_us_per_message=theirs / number * 1e6,
            messages_per_second=number / seconds,
        )


async def _send_all(adapter: Adapter[Any], messages: list[Outbound]) -> None:
    """By long-lived workers, as the engine does."""
    left = iter(messages)

    async def work() -> None:
        for message in left:
            outcome = await adapter.send(message)
            assert isinstance(outcome, Accepted), outcome

    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
