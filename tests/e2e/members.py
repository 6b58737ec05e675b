"""People of the newer applications, whose ids are text and whose tokens say less."""

import uuid
from dataclasses import dataclass
from typing import Any, Self

from tests.e2e.calls import Answer, call
from tests.e2e.people import HOUR, shop_user, sign
from tests.e2e.process import Server


@dataclass(frozen=True)
class Member:
    id: str
    token: str
    name: str

    @classmethod
    def of_notifications(cls, *, lifetime: float = HOUR) -> Self:
        id = str(uuid.uuid4())
        return cls(id, sign({"sub": id, "email": f"{id}@pay.example"}, lifetime=lifetime), f"{id}@pay.example")

    @classmethod
    def of_dashboard(cls, name: str = "Ann") -> Self:
        id = str(uuid.uuid4())
        return cls(id, sign({"userId": id, "email": f"{name.lower()}@nexus.example", "name": name}), name)

    @classmethod
    def of_messaging(cls, name: str = "Ann") -> Self:
        id = str(uuid.uuid4())
        claims: dict[str, object] = {"sub": id, "role": "user", "email": f"{name.lower()}@nexus.example", "name": name}
        return cls(id, sign(claims), name)

    @property
    def query(self) -> dict[str, str]:
        """As the dashboard's and the messaging client give themselves to `io`."""
        return {"userId": self.id, "token": self.token}

    @property
    def address(self) -> str:
        """The same as part of a URL."""
        return f"userId={self.id}&token={self.token}"

    def call(self, server: Server, method: str, path: str, body: object = None) -> Answer:
        return call(method, server.url + path, self.token, body)


def notify(server: Server, member: Member, title: str, message: str = "m", **fields: object) -> Any:
    """Send a notification as a backend does, and return its row."""
    body = {"userId": member.id, "title": title, "message": message, **fields}
    answer = call("POST", f"{server.url}/api/notifications", shop_user("service")[1], body)
    assert answer.status == 201, answer
    return answer.body


def publish(server: Server, event: str, data: object = None) -> None:
    """Send an event to everybody: who hears it has heard all that was sent before."""
    body = {"audience": "all", "event": event, "data": data}
    assert call("POST", f"{server.url}/api/publish", shop_user("service")[1], body).status == 202
