"""The suppression list: who does not want to be written to, and the ledger of what proves it.

An opt-out holds for an address or for a contact, on one channel, for one category or for `all`. The check is part of the
statements of the send path (`opted_out_sql`), so nobody can leave it out.
"""

from __future__ import annotations


def opted_out_sql(org: str, channel: str, address: str, contact: str, category: str) -> str:
    """A SQL condition over SQL expressions: this person, or this address, has opted out. Two probes of an index."""
    of_list = f"opt_outs.org = {org} AND opt_outs.channel = {channel}"
    categories = f"opt_outs.category IN ('all', {category})"
    return (
        f"(EXISTS (SELECT 1 FROM opt_outs WHERE {of_list} AND opt_outs.address = {address} AND {categories})"
        f" OR EXISTS (SELECT 1 FROM opt_outs WHERE {of_list} AND opt_outs.contact = {contact} AND {categories}))"
    )
