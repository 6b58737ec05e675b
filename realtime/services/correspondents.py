"""How people who write to each other are called."""

from realtime.auth import Identity
from realtime.engine.channels import Channels
from realtime.events import Correspondent
from realtime.services.directory import Directory


class Correspondents:
    """People by their own connection, or else as the directory knows them."""

    def __init__(self, channels: Channels, directory: Directory) -> None:
        self._channels = channels
        self._directory = directory

    @staticmethod
    def named(identity: Identity) -> Correspondent:
        return Correspondent(identity.id, identity.display_name, identity.email)

    async def find(self, id: str) -> Correspondent:
        """Anybody may be written to: who was never seen is called by their id."""
        for session in self._channels.of_user(id):
            return self.named(session.identity)
        user = await self._directory.user(id)
        if user is None:
            return Correspondent(id, id, None)
        return Correspondent(id, user.name or user.email or id, user.email)
