"""Describes messages in the words that people are shown."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from shared.messaging.envelope import Envelope


def name_of(envelope: Envelope) -> str:
    """Return the message's type without its service."""
    return envelope.type.partition(".")[2]


def order_of(envelope: Envelope) -> str | None:
    """Return the order that a message is about; None if there is none."""
    order = data_of(envelope).get("order_id")
    if isinstance(order, str):
        return order
    # Replies have the key of the saga that they go to; every saga in this system is about one order.
    return envelope.key if envelope.kind == "reply" else None


def time_of(id_: str) -> datetime | None:
    """Return when an id was made, to the millisecond; None unless it's a UUID of version 7 (RFC 9562)."""
    try:
        uuid = UUID(id_)
    except ValueError:
        return None
    return datetime.fromtimestamp((uuid.int >> 80) / 1000, UTC) if uuid.version == 7 else None


def short(id_: str) -> str:
    """Return the end of an id, because ids made at about the same time begin alike."""
    return f"…{id_[-6:]}"


def dollars(cents: int) -> str:
    """Return an amount in dollars as people write it."""
    return f"${cents / 100:,.2f}"


def describe(envelope: Envelope) -> str:
    """Return a short text with the message's important fields."""
    data = data_of(envelope)
    totals = [data[name] for name in ("current_order_total", "new_order_total", "order_total") if name in data]
    parts = [
        *(f"“{data[name]}”" for name in ("reason", "message") if data.get(name)),
        " → ".join(dollars(total) for total in totals),
        data.get("restaurant_name", ""),
        ", ".join(f"{line['quantity']} × {line['name']}" for line in data.get("line_items", ())),
        *(
            ", ".join(f"{item}: {quantity}" for item, quantity in data[name].items())
            for name in ("revisions", "revised_quantities")
            if data.get(name)
        ),
        f"ready by {_clock(data['ready_by'])}" if data.get("ready_by") else "",
        f"courier {short(data['courier_id'])}" if data.get("courier_id") else "",
        f"ticket {short(data['ticket_id'])}" if envelope.kind == "reply" and data.get("ticket_id") else "",
        str(data.get("name", "")) if envelope.kind == "event" else "",
    ]
    return " · ".join(part for part in parts if part)


def _clock(moment: str) -> str:
    return datetime.fromisoformat(moment).astimezone(UTC).strftime("%H:%M UTC")


def data_of(envelope: Envelope) -> dict[str, Any]:
    """Return the message's fields; {} if it is not a JSON object."""
    try:
        data = json.loads(envelope.data)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
