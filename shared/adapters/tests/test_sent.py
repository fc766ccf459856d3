"""Who is answered when a relay is asked for what it has sent."""

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.adapters.nats.sent import asked
from shared.core.serialization import to_json
from shared.messaging.chain import RowsRequest

REQUEST = RowsRequest(reader="kitchen", rows=(1, 2))


def message(reply: str, data: str = to_json(REQUEST)) -> Msg:
    return Msg(Client(), subject="ftgo-control.rows.order", reply=reply, data=data.encode())


@pytest.mark.parametrize("inbox", ["_INBOX.kitchen.x", "_INBOX.anybody.x"])
def test_a_reader_is_answered_in_its_own_inbox(inbox: str) -> None:
    """Where NATS has no users everybody is anybody; where it has, nobody may have that inbox."""
    assert asked(message(inbox), RowsRequest) == REQUEST


@pytest.mark.parametrize("inbox", ["", "_INBOX.kitchen", "_INBOX.order_history.x", "ftgo.0.event.order.OrderCreated"])
def test_nothing_is_sent_to_anybody_else(inbox: str) -> None:
    assert asked(message(inbox), RowsRequest) is None


def test_what_is_no_request_gets_no_answer() -> None:
    assert asked(message("_INBOX.kitchen.x", "{}"), RowsRequest) is None
