"""What a client of the sync protocol does with frames: the rules of Law S4, in Python.

For tests and simulations, and the shortest description of a client there is. `Mirror` is one view; feed it decoded
frames in the order in which they came.
"""

from __future__ import annotations

from typing import Any

Frame = dict[str, Any]


class Mirror:
    """A live copy of one channel's view.

    `agents` maps agent ids to their fields, `events` has what was delivered, in order; `missed` counts events that
    the server's history had let go of. `view` is the name of what the server shows, which may become another one.
    `since()` is what to subscribe with after a cut.
    """

    def __init__(self) -> None:
        self.epoch = ""
        self.view = ""
        self.position = 0
        self.agents: dict[str, Frame] = {}
        self.events: list[Frame] = []
        self.missed = 0
        self.repaired = 0
        self.is_live = False
        self._event_count: int | None = None  # how many events the channel had at `position`
        self._urgent: dict[str, int] = {}  # by agent: the last event that came before its turn

    def since(self) -> Frame | None:
        """The position to come back with; None: everything is wanted."""
        if not self.epoch or (not self.position and self._event_count is None):
            return None  # at 0 only who was told that nothing has happened yet, and not who was cut before the end
        return {"epoch": self.epoch, "offset": self.position, "view": self.view}

    def apply(self, frame: Frame) -> bool:
        """Applies a frame. False: it begins after this position, so subscribe again with `since()`."""
        view = frame.get("view", "")
        if frame.get("reset"):
            if frame["epoch"] != self.epoch:
                self._urgent.clear()  # else what came before its turn came, whatever the rest was
            self.epoch, self.view, self.position = frame["epoch"], view, 0
            self.agents.clear()
            self._event_count = None
        elif (frame["epoch"], view) != (self.epoch, self.view) or frame["from"] > self.position:
            return False
        for agent_id in frame.get("removed", ()):
            self.agents.pop(agent_id, None)
        for agent_id, change in frame.get("agents", {}).items():
            fields = self.agents.setdefault(agent_id, {})
            for name in change.get("unset", ()):
                fields.pop(name, None)
            fields.update(change.get("set", {}))
        fresh = self._take_events(frame)
        self.is_live = not frame.get("more", False)
        if frame["to"] > self.position or (self.is_live and self._event_count is None):
            if self._event_count is not None:
                self.missed += max(0, frame["event_count"] - self._event_count - fresh)
            self._event_count = frame["event_count"]
            self.position = frame["to"]
            self._urgent = {one: at for one, at in self._urgent.items() if at > self.position}
        self._compare(frame.get("check"))
        return True

    def _take_events(self, frame: Frame) -> int:
        """Delivers events not seen before; how many of them lie above the position."""
        fresh = 0
        for event in frame.get("events", ()):
            offset, agent_id = event["offset"], event["agent_id"]
            if offset <= self.position:
                continue
            fresh += 1
            if offset > self._urgent.get(agent_id, 0):
                self.events.append(event)
                if frame.get("urgent"):
                    self._urgent[agent_id] = offset
        return fresh

    def _compare(self, check: Frame | None) -> None:
        """Compares with agents that came whole, and repairs what differs: it should never differ."""
        if check is None:
            return
        for agent_id, fields in check["agents"].items():
            if self.agents.get(agent_id) != fields:
                self.agents[agent_id] = fields
                self.repaired += 1
        if len(self.agents) != check["count"]:
            self.repaired += 1
            self.epoch = ""  # what is missing or too much is not known: begin afresh
