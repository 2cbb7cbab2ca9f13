"""Server-sent events: the sync frames over one response, resumed by Last-Event-ID, judged like a socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from django.core.asgi import get_asgi_application

from django_update_pipeline import UpdatePriority
from django_update_pipeline.core import frames
from django_update_pipeline.core.codes import SERVER_STOPPING
from django_update_pipeline.core.commands import checked_params
from django_update_pipeline.core.config import ConnectionConfig
from django_update_pipeline.core.session import SYSTEM_CHANNEL
from django_update_pipeline.core.sync_frames import PART_CHARS
from django_update_pipeline.core.sync_wire import SUBPROTOCOL
from django_update_pipeline.core.wire import Position
from django_update_pipeline.routing import with_update_pipeline
from django_update_pipeline.runtime import event_stream
from django_update_pipeline.runtime.event_stream import asked_of, positions_of
from django_update_pipeline.runtime.operations import carry_out
from django_update_pipeline.testing.mirror import Mirror

from .asgi import AsgiSocket

HOST = (b"host", b"testserver")


@pytest.fixture
def app() -> Any:
    return with_update_pipeline(get_asgi_application())


class Response:
    """One request; `events` are the parsed events of its body."""

    def __init__(
        self, app: Any, query: bytes = b"", *headers: tuple[bytes, bytes], method: str = "GET"
    ) -> None:
        self.scope = {
            "type": "http",
            "method": method,
            "path": "/ws/updates/stream/",
            "raw_path": b"/ws/updates/stream/",
            "query_string": query,
            "root_path": "",
            "headers": [HOST, *headers],
        }
        self.app = app
        self.started: dict[str, Any] = {}
        self.text = ""
        self.is_complete = False
        self._news = asyncio.Event()
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.task: asyncio.Task[None]

    async def open(self) -> None:
        self._inbox.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        self.task = asyncio.create_task(self.app(self.scope, self._inbox.get, self._send))
        await self.until(lambda: self.started)

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.started = message
        else:
            self.text += message.get("body", b"").decode()
            self.is_complete = not message.get("more_body", False)
        self._news.set()

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._news.clear()
                await self._news.wait()

    @property
    def events(self) -> list[dict[str, Any]]:
        """Each event's id, name and data, as a browser takes them (comments and `retry` make none)."""
        found = []
        for block in self.text.split("\n\n")[:-1]:
            lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if "data" in lines:
                found.append(
                    {"id": lines.get("id"), "event": lines.get("event"), **json.loads(lines["data"])}
                )
        return found

    def sync(self, *, of_all: bool = False) -> list[dict[str, Any]]:
        """The frames of what was asked for, or those of the channel that every client is on."""
        return [
            event
            for event in self.events
            if event.get("type") == "sync" and (event["channel"] == SYSTEM_CHANNEL) is of_all
        ]

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.started["headers"])

    async def close(self) -> None:
        self._inbox.put_nowait({"type": "http.disconnect"})
        async with asyncio.timeout(5):
            await self.task


async def test_a_stream_begins_full_and_goes_on(app: Any, pipeline: Any) -> None:
    line = pipeline()
    await line.start()
    await line.publish("lamp", data={"on": True})
    response = Response(app)
    await response.open()
    assert response.started["status"] == 200
    headers = dict(response.started["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert headers[b"cache-control"].startswith(b"no-store")
    await response.until(lambda: response.sync())
    assert response.events[0]["type"] == "connection_established"
    await line.publish("lamp", "state_patch", {"on": False})
    await line.publish("lamp", "said", {"text": "click"})
    await response.until(lambda: any("events" in frame for frame in response.sync()))
    mirror = Mirror()
    assert all(mirror.apply(frame) for frame in response.sync())
    assert mirror.agents == {"lamp": {"on": False}}
    assert [event["data"] for event in mirror.events] == [{"text": "click"}]
    epoch = line.store.epoch
    assert response.sync()[-1]["id"] == f"update_pipeline.system={epoch}:0,updates={epoch}:3"
    await response.close()
    assert line.websocket_manager.get_connection_count() == 0


@pytest.mark.parametrize("how", ["header", "query"])
async def test_the_last_event_id_resumes(app: Any, pipeline: Any, how: str) -> None:
    line = pipeline()
    await line.start()
    await line.publish("lamp", data={"on": True, "room": "hall"})
    first = Response(app)
    await first.open()
    await first.until(lambda: first.sync())
    last = first.sync()[-1]["id"].encode()
    await first.close()
    await line.publish("lamp", "state_patch", {"on": False})
    await line.publish("lamp", "said", {"text": "click"})
    second = (
        Response(app, b"", (b"last-event-id", last)) if how == "header" else Response(app, b"since=" + last)
    )
    await second.open()
    await second.until(lambda: second.sync())
    (frame,) = second.sync()
    assert frame["agents"]["lamp"]["set"] == {"on": False}
    assert [event["data"] for event in frame["events"]] == [{"text": "click"}]
    assert "reset" not in frame
    await second.close()


async def test_an_id_names_what_each_channel_came_back_with(app: Any, pipeline: Any) -> None:
    """Also a channel that was told nothing on this response: cut again, it would else begin afresh."""
    line = pipeline(OPEN_CHANNELS=["news"])
    await line.start()
    await line.publish("lamp", data={"on": True}, channels=["news", "updates"])
    epoch = line.store.epoch
    last = f"news={epoch}:1,update_pipeline.system={epoch}:0,updates={epoch}:1".encode()
    response = Response(app, b"channels=news,updates", (b"last-event-id", last))
    await response.open()
    await response.until(lambda: len(response.sync()) == 2)
    assert {frame["id"] for frame in response.sync()} == {last.decode()}
    await response.close()


async def test_a_snapshot_that_was_cut_begins_again(app: Any, pipeline: Any) -> None:
    """Of a channel whose snapshot is not all told an id has no position: one of 0 would ask for what came since."""
    line = pipeline(OPEN_CHANNELS=["news"])
    await line.start()
    large = {"text": "." * PART_CHARS}
    await line.publish("lamp", data=large, channels=["news"])
    await line.publish("door", data=large, channels=["news"])
    await line.publish("cat", data={"on": True})
    epoch = line.store.epoch
    first = Response(app, b"channels=news,updates")
    await first.open()
    await first.until(lambda: any(frame["channel"] == "updates" for frame in first.sync()))
    ids = [(frame["channel"], frame["id"]) for frame in first.sync()]
    await first.close()
    assert ids[0] == ("news", "news=-,update_pipeline.system=-,updates=-")
    assert ids[-1] == ("updates", f"news={epoch}:2,update_pipeline.system={epoch}:0,updates={epoch}:3")
    second = Response(app, b"channels=news,updates", (b"last-event-id", ids[0][1].encode()))
    await second.open()
    mirror = Mirror()
    await second.until(lambda: any(frame["channel"] == "updates" for frame in second.sync()))
    assert all(mirror.apply(frame) for frame in second.sync() if frame["channel"] == "news")
    assert second.sync()[0]["reset"] is True
    assert mirror.agents == {"lamp": large, "door": large}
    await second.close()


@pytest.mark.parametrize(
    "last", [b"", b"nonsense", b"updates=other:1", b"updates=x:99999999999999999999", b"\xff,,=:"]
)
async def test_a_position_that_is_none_leads_to_a_snapshot(app: Any, pipeline: Any, last: bytes) -> None:
    line = pipeline()
    await line.start()
    await line.publish("lamp", data={"on": True})
    response = Response(app, b"", (b"last-event-id", last))
    await response.open()
    await response.until(lambda: response.sync())
    assert response.sync()[0]["reset"] is True
    await response.close()


def test_positions_are_read_one_by_one() -> None:
    assert positions_of("a=e1:5, b=e1:7,c=,=,d=e:x,e=e1:9:x%2Cy%3A") == {
        "a": Position("e1", 5, ""),
        "b": Position("e1", 7, ""),
        "e": Position("e1", 9, "x,y:"),
    }


def test_each_channel_that_a_connection_may_be_on_may_have_a_projection() -> None:
    names = [f"c{n}" for n in range(ConnectionConfig().max_subscriptions)]
    query = "&".join([f"channels={','.join(names)}", *(f"fields={name}:x,y" for name in names)])
    asked = asked_of(query.encode())
    assert asked.channels == tuple(names)
    assert asked.fields == dict.fromkeys(names, ("x", "y"))
    with pytest.raises(ValueError, match="fields"):
        asked_of(b"&".join([b"since=a"] * 1001))


async def test_several_channels_share_a_stream_and_an_id(app: Any, pipeline: Any) -> None:
    line = pipeline(OPEN_CHANNELS=["news"])
    await line.start()
    await line.publish("lamp", data={"on": True})
    response = Response(app, b"channels=news,updates")
    await response.open()
    await line.publish("lamp", "said", {"text": "click"}, UpdatePriority.HIGH, channels=["news"])
    await response.until(lambda: any("events" in frame for frame in response.sync()))
    epoch = line.store.epoch
    assert response.sync()[-1]["id"] == f"news={epoch}:2,update_pipeline.system={epoch}:0,updates={epoch}:1"
    await response.close()


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        (b"channels=secret", (), 403),
        (b"channels=no%20name", (), 403),
        (b"", ((b"origin", b"https://evil.example"),), 403),
        (b"", ((b"sec-fetch-site", b"cross-site"), (b"cookie", b"sessionid=x")), 403),
        (b"", ((b"sec-fetch-site", b"same-origin"),), 200),
        (b"", ((b"origin", b"http://testserver"),), 200),
    ],
)
async def test_who_is_refused_is_told_by_the_status(
    app: Any, pipeline: Any, query: bytes, headers: Any, status: int
) -> None:
    pipeline()
    response = Response(app, query, *headers)
    await response.open()
    assert response.started["status"] == status
    if status == 200:
        await response.close()
    else:
        await response.until(lambda: response.is_complete)
        assert "access-control-allow-origin" not in str(response.started["headers"])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (
            b"channels=secret,no%20name",
            "2 channel(s) refused: 'secret, no name'; ask for channels you may see",
        ),
        (b"channels=se%1b%5b0m%0acret", None),
        (b"channels=" + b"x" * 5000, None),
    ],
)
async def test_a_stream_that_may_have_none_of_its_channels_is_told_what_a_socket_is_told(
    app: Any, pipeline: Any, query: bytes, said: str | None
) -> None:
    """Word for word, so that neither tells more than the other; and nothing of what a client wrote forges a line."""
    pipeline()
    response = Response(app, query)
    await response.open()
    await response.until(lambda: response.is_complete)
    asked = asked_of(query).channels
    told = json.loads(frames.refused_channels(asked))
    assert told["code"] == "channel_refused"
    assert response.text == told["message"] + "\n"
    assert said is None or said == told["message"]
    assert len(response.text) < 300
    assert response.text[:-1].isprintable()


async def test_connections_are_counted_by_what_they_are(app: Any, pipeline: Any) -> None:
    """What operators are told of all connections agrees with what they are told of each."""
    line = pipeline()
    sockets = [
        AsgiSocket(app),
        AsgiSocket(app, subprotocols=[SUBPROTOCOL]),
        AsgiSocket(app, subprotocols=[SUBPROTOCOL]),
    ]
    for socket in sockets:
        assert await socket.connect()
    response = Response(app)
    await response.open()
    await response.until(lambda: response.sync())
    answer = carry_out(line, "get_connections", checked_params("get_connections", {}), by="user 7")
    assert answer["by_kind"] == {"classic": 1, "sync": 2, "stream": 1, "admin": 0}
    assert sorted(one["kind"] for one in answer["connections"]) == ["classic", "stream", "sync", "sync"]
    assert answer["count"] == sum(answer["by_kind"].values())
    await response.close()
    for socket in sockets:
        await socket.disconnect()


ELSEWHERE = b"https://app.example"


@pytest.mark.parametrize(
    ("origin", "named"),
    [
        (ELSEWHERE, ELSEWHERE),
        (b"HTTPS://app.example", b"HTTPS://app.example"),  # as the browser wrote it
        (b"https://eu.pages.example", b"https://eu.pages.example"),
        (b"http://testserver", None),  # at home, so it needs none
        (None, None),
    ],
)
async def test_a_page_of_a_listed_origin_may_read_a_stream_and_no_other(
    app: Any, pipeline: Any, origin: bytes | None, named: bytes | None
) -> None:
    """With its user's cookies; so it is that one origin that is named, never everybody."""
    pipeline(CONNECTIONS={"allowed_origins": [ELSEWHERE.decode(), "https://*.pages.example"]})
    response = Response(app, b"", *([] if origin is None else [(b"origin", origin)]))
    await response.open()
    assert response.started["status"] == 200
    assert response.headers.get(b"access-control-allow-origin") == named
    assert response.headers.get(b"access-control-allow-credentials") == (b"true" if named else None)
    assert response.headers[b"vary"] == b"Origin"
    await response.close()


@pytest.mark.channels
async def test_a_stream_is_served_behind_channels_router(pipeline: Any) -> None:
    """As the how-to has it; a page there is told where the sockets are, and other pages are served as before."""
    from channels.auth import AuthMiddlewareStack
    from channels.routing import ProtocolTypeRouter

    from django_update_pipeline.consumers import SocketRouter, websocket_urlpatterns

    router = ProtocolTypeRouter(
        {
            "http": with_update_pipeline(get_asgi_application()),
            "websocket": AuthMiddlewareStack(SocketRouter(websocket_urlpatterns())),
        }
    )
    line = pipeline()
    await line.start()
    await line.publish("lamp", data={"on": True})
    response = Response(router)
    await response.open()
    await response.until(lambda: response.sync())
    assert response.sync()[0]["agents"]["lamp"]["set"] == {"on": True}
    await response.close()
    elsewhere = Response(router)
    elsewhere.scope["path"] = "/nowhere/"
    await elsewhere.open()
    assert elsewhere.started["status"] == 404


async def test_a_foreign_host_is_refused(app: Any, pipeline: Any) -> None:
    pipeline()
    response = Response(app)
    response.scope["headers"] = [(b"host", b"evil.example")]
    await response.open()
    assert response.started["status"] == 403


async def test_only_get_is_answered(app: Any, pipeline: Any) -> None:
    pipeline()
    response = Response(app, method="POST")
    await response.open()
    assert response.started["status"] == 405


async def test_some_channels_may_be_refused_and_the_others_flow(app: Any, pipeline: Any) -> None:
    pipeline()
    response = Response(app, b"channels=updates,secret")
    await response.open()
    await response.until(lambda: any(event.get("type") == "error" for event in response.events))
    assert [event["code"] for event in response.events if event.get("type") == "error"] == ["channel_refused"]
    assert {frame["channel"] for frame in response.sync()} <= {"updates"}
    await response.close()


async def test_a_stopping_server_says_so_and_ends_the_stream(app: Any, pipeline: Any) -> None:
    line = pipeline()
    response = Response(app)
    await response.open()
    await line.stop()
    await response.until(lambda: response.is_complete)
    assert response.events[-1]["event"] == "close"
    assert response.events[-1]["code"] == SERVER_STOPPING.code
    async with asyncio.timeout(5):
        await response.task


async def test_a_silent_line_gets_heartbeats(
    app: Any, pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.01)
    pipeline()
    response = Response(app)
    await response.open()
    await response.until(lambda: response.text.count(":\n\n") >= 2)
    await response.close()
