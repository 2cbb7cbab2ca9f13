"""Connections that are shown views: what each asked for, what it is shown of that, and how one becomes another."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.session import SYSTEM_CHANNEL
from ..core.sync_session import SyncSession
from ..core.view import View
from .socket import Socket


class Viewing(Socket):
    """A connection whose protocol names views in its frames, so that one can take another's place.

    What was asked for is kept beside what is shown: when more may be seen than before, more is shown.
    """

    _wanted: Mapping[str, View] = {}

    def wants(self, views: Mapping[str, View]) -> None:
        """The client asked for these, by channel; for other channels what it asked for before holds."""
        self._wanted = {**self.asked(), **views}

    def asked(self) -> dict[str, View]:
        on = self.connection.channels
        return {name: view for name, view in self._wanted.items() if name in on}

    def shown(self) -> dict[str, View]:
        session = self.connection.session
        assert isinstance(session, SyncSession)
        return {view.channel: view for view in session.views if view.channel != SYSTEM_CHANNEL}

    async def may_see(self, wanted: View) -> View | None:
        return await self.pipeline.access.view(self.client, wanted)

    def show(self, view: View) -> bool:
        session = self.connection.session
        assert isinstance(session, SyncSession)
        if self.shown().get(view.channel) != view:
            session.subscribe({view: None})  # a position is valid for one view: it begins with a reset
            self.connection.follow()
        return True
