"""What a hostile client does to a stream or a sync socket harms nobody else, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from django.core.asgi import get_asgi_application

from django_update_pipeline.core.codes import CLOSED_BY_OPERATOR
from django_update_pipeline.routing import with_update_pipeline

from .asgi import AsgiSocket
from .test_event_stream import Response


@pytest.fixture
def app() -> Any:
    return with_update_pipeline(get_asgi_application())


class Unread(Response):
    """A client that reads the head of the answer, and nothing after it."""

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] != "http.response.start":
            await asyncio.Event().wait()
        await super()._send(message)


async def gives_its_place_back(line: Any, response: Response) -> None:
    async with asyncio.timeout(10):
        await asyncio.wait([response.task])
    assert line.websocket_manager.admission.count == 0
    assert line.websocket_manager.get_connection_count() == 0


async def test_a_stream_that_is_not_read_gives_its_place_back(app: Any, pipeline: Any) -> None:
    line = pipeline(CONNECTIONS={"stuck_timeout_s": 0.2, "close_timeout_s": 0.1})
    response = Unread(app)
    await response.open()
    await gives_its_place_back(line, response)


async def test_a_stream_that_is_not_read_can_be_closed(app: Any, pipeline: Any) -> None:
    line = pipeline(CONNECTIONS={"close_timeout_s": 0.1})
    response = Unread(app)
    await response.open()
    (connection,) = line.websocket_manager.connections.values()
    connection.close(CLOSED_BY_OPERATOR)
    await gives_its_place_back(line, response)


class Transport:
    """A server's connection, with so much that its client does not take."""

    def __init__(self, unsent: int) -> None:
        self.unsent, self.is_cut = unsent, False

    def get_extra_info(self, name: str) -> None:
        return None

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.is_cut = True


async def test_the_connection_of_a_stream_that_is_not_read_is_cut(app: Any, pipeline: Any) -> None:
    """A server would wait until what it holds is taken, and hold the descriptor as long."""
    line = pipeline(CONNECTIONS={"close_timeout_s": 0.1})
    response = Unread(app)
    transport = response.transport = Transport(1)  # type: ignore[attr-defined]
    await response.open()
    (connection,) = line.websocket_manager.connections.values()
    connection.close(CLOSED_BY_OPERATOR)
    await gives_its_place_back(line, response)
    assert transport.is_cut


@pytest.mark.parametrize("unsent", [0, 1])
async def test_a_socket_that_does_not_answer_its_close_is_cut_if_it_is_not_read(
    app: Any, pipeline: Any, unsent: int
) -> None:
    """One that reads, and is slow to answer, is left to the server: the close is on its way."""
    line = pipeline(CONNECTIONS={"close_timeout_s": 0.1})
    socket = AsgiSocket(app)
    transport = socket.transport = Transport(unsent)  # type: ignore[attr-defined]
    assert await socket.connect()
    (connection,) = line.websocket_manager.connections.values()
    connection.close(CLOSED_BY_OPERATOR)
    assert socket.task is not None
    async with asyncio.timeout(10):
        await socket.task
    assert transport.is_cut is bool(unsent)
    assert line.websocket_manager.admission.count == 0


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (b"&".join(b"a=%d" % number for number in range(1100)), 400),
        (b"channels=" + b",".join(b"c%d" % number for number in range(5000)), 403),
        (b"channels=%ff%fe%00", 403),
        (b"channels=updates&fields=updates", 400),
        (b"channels=updates&fields=updates:x,,y", 400),
        (b"channels=updates&fields=updates:__proto__", 400),
        (b"channels=update_pipeline.probe", 403),
    ],
)
async def test_an_odd_query_is_refused_without_a_traceback(
    app: Any, pipeline: Any, caplog: pytest.LogCaptureFixture, query: bytes, status: int
) -> None:
    pipeline()
    response = Response(app, query)
    await response.open()
    await response.until(lambda: response.is_complete)
    assert response.started["status"] == status
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_no_page_may_embed_a_stream(app: Any, pipeline: Any) -> None:
    """Where a browser tells neither Origin nor Sec-Fetch-Site, another site's page may ask; it may not look."""
    pipeline()
    response = Response(app)
    await response.open()
    headers = dict(response.started["headers"])
    assert headers[b"cross-origin-resource-policy"] == b"same-origin"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert b"access-control-allow-origin" not in headers
    await response.close()


async def test_a_request_with_an_endless_body_is_let_go(app: Any, pipeline: Any) -> None:
    line = pipeline()
    response = Response(app)
    await response.open()
    for _ in range(100):
        response._inbox.put_nowait({"type": "http.request", "body": b"x" * 65536, "more_body": True})
    await gives_its_place_back(line, response)


async def test_what_a_closed_client_said_forges_no_line_in_the_log(
    pipeline: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Libraries put the reason of a client's close frame into their errors."""
    line = pipeline()
    await line.start()

    class Gone:
        async def send(self, text: str) -> None:
            raise ConnectionError("received 1000 (OK) bye\nERROR root: forged")

    with caplog.at_level(logging.INFO):
        await line.register_websocket("one", Gone())
        (connection,) = line.websocket_manager.connections.values()
        await line.publish("lamp", data={"on": True})
        async with asyncio.timeout(10):
            await asyncio.wait([connection.task])
    (told,) = [record.getMessage() for record in caplog.records if "is gone" in record.getMessage()]
    assert "\n" not in told
    assert "bye" in told
