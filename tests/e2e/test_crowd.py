"""Five hundred connected clients do not keep the server from stopping in time."""

import time

from tests.e2e.node import Clients
from tests.e2e.people import shop_user
from tests.e2e.process import Server

CLIENTS = 500
STOP_SECONDS = 10.0


def test_sigterm_with_500_clients_ends_in_good_order(server: Server, clients: Clients) -> None:
    tokens = [shop_user("user")[1] for _ in range(CLIENTS)]
    assert clients.call("crowd", url=server.url, tokens=tokens) == {"connected": CLIENTS, "failed": 0}
    started = time.monotonic()
    server.terminate()
    assert server.wait(STOP_SECONDS) == 0
    assert time.monotonic() - started < STOP_SECONDS
    assert clients.call("crowdGone") == {"told": CLIENTS, "reasons": ["transport close"]}
