"""All routes of the control API, in the order of the documentation."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.engine.action_requests import MessageRequest
from gateway.engine.actions import BulkActions
from gateway.engine.caps import DailyCaps
from gateway.engine.catalogue import Catalogue
from gateway.engine.conversations import Conversations
from gateway.engine.explain import Explainer
from gateway.engine.holds import SenderControl
from gateway.engine.log import CommunicationLog
from gateway.engine.provider_templates import ProviderTemplates
from gateway.engine.singles import SingleMessages
from gateway.engine.template_desk import TemplateDesk
from gateway.engine.template_trials import TemplateTrials
from gateway.http.bulk_actions import bulk_action_routes
from gateway.http.contact_files import contact_file_routes
from gateway.http.contact_import import import_routes
from gateway.http.contacts import contact_routes
from gateway.http.conversations import conversation_routes
from gateway.http.events import EventStreams, event_routes
from gateway.http.explain import explain_routes
from gateway.http.keys import key_routes
from gateway.http.me import me_routes
from gateway.http.messages import message_routes
from gateway.http.openapi import openapi_route
from gateway.http.operations import operation_routes
from gateway.http.opt_outs import opt_out_routes
from gateway.http.routing import Route
from gateway.http.senders import sender_routes
from gateway.http.templates import template_routes
from gateway.http.webhooks import WebhookDesk, webhook_routes
from gateway.store.allowances import Allowances
from gateway.store.callbacks import CallbackStore
from gateway.store.consent import ConsentStore
from gateway.store.contacts import ContactStore
from gateway.store.erasure import Erasure
from gateway.store.events import EventStore
from gateway.store.keys import KeyStore
from gateway.store.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the routes work with."""

    catalogue: Catalogue
    contacts: ContactStore
    erasure: Erasure
    consent: ConsentStore
    ledger: Ledger
    bulk_actions: BulkActions
    log: CommunicationLog
    singles: SingleMessages
    control: SenderControl
    conversations: Conversations
    templates: ProviderTemplates
    template_desk: TemplateDesk
    template_trials: TemplateTrials
    callbacks: CallbackStore
    events: EventStore
    streams: EventStreams
    webhooks: WebhookDesk
    keys: KeyStore
    allowances: Allowances
    caps: DailyCaps
    explainer: Explainer
    creations_per_minute: int
    version: str


def api_routes(resources: Resources) -> list[Route]:
    """Every route that takes a key, with the document that describes them all."""
    catalogue = resources.catalogue
    routes = [
        *me_routes(resources.keys, catalogue, resources.allowances, resources.caps, resources.creations_per_minute),
        *operation_routes(catalogue, MessageRequest),
        *contact_file_routes(resources.contacts, resources.erasure, catalogue),
        *contact_routes(resources.contacts, catalogue),
        *import_routes(resources.contacts, catalogue),
        *explain_routes(resources.explainer, catalogue),
        *bulk_action_routes(resources.bulk_actions),
        *message_routes(resources.log, resources.singles, catalogue),
        *conversation_routes(resources.conversations, resources.log, catalogue),
        *opt_out_routes(resources.consent, resources.ledger, catalogue),
        *template_routes(
            resources.template_desk, resources.template_trials, resources.templates, resources.log, catalogue
        ),
        *sender_routes(catalogue, resources.control, resources.callbacks),
        *event_routes(resources.events, resources.streams),
        *webhook_routes(resources.webhooks),
        *key_routes(resources.keys),
    ]
    return [*routes, openapi_route(routes, resources.version)]
