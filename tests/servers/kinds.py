"""The servers, and what each can and can't do: the one table that the tests hold and the documents are drawn from.

`docs/tables.py` imports this module, so it needs nothing beside the standard library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

APPLICATION = "tests.servers.project.asgi:application"


@dataclass(frozen=True)
class ServerKind:
    """A server with the options it is tested with.

    `command` is what Python is started with (`{port}` is filled in), `start_line` what a reader of the documents
    types. `noise` are patterns of lines in its log that look like trouble and are none, each with the reason.
    """

    name: str
    command: tuple[str, ...]
    start_line: str
    #: Whether the server speaks lifespan; else the pipeline starts with the first request or socket.
    has_lifespan: bool = True
    #: Whether `send()` waits when a client takes no more, which is how the pipeline sees a slow client.
    send_waits: bool = True
    #: Whether a close's reason reaches the client; its code does everywhere.
    tells_reasons: bool = True
    #: Whether a close waits for the client's own: else one that is sending just then may see a cut instead.
    awaits_close: bool = True
    #: Whether the server finds clients that are gone without a word, by pings.
    pings: bool = True
    #: Close codes that a client may be given when the server is told to end; 1006: the connection was cut.
    codes_at_end: tuple[int, ...] = (4010,)
    #: Limits and timeouts to set, as the documents name them.
    limits: str = ""
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    noise: tuple[tuple[str, str], ...] = ()
    workers: int = 1

    def __str__(self) -> str:
        return self.name


def _uvicorn(name: str, ws: str, start_line: str, **more: object) -> ServerKind:
    options = ("--ws", ws, "--ws-per-message-deflate", "false", "--timeout-graceful-shutdown", "5")
    return ServerKind(
        name,
        ("-m", "uvicorn", APPLICATION, "--port", "{port}", "--log-level", "info", *options),
        start_line,
        # Whichever comes first: the pipeline's own, or uvicorn's 1012 within 0.1 s.
        codes_at_end=(4010, 1012),
        **more,  # type: ignore[arg-type]
    )


KINDS: tuple[ServerKind, ...] = (
    _uvicorn(
        "uvicorn",
        "websockets-sansio",
        "uvicorn mysite.asgi:application --ws-per-message-deflate false",
        limits="`--ws-max-size 65536`, `--ws-ping-interval 20`, `--ws-ping-timeout 20`, "
        "`--timeout-graceful-shutdown 15`, `--limit-concurrency`",
    ),
    _uvicorn(
        "uvicorn, legacy `websockets`",
        "websockets",
        "uvicorn --ws websockets mysite.asgi:application --ws-per-message-deflate false",
        limits="as above; deprecated by uvicorn, and each frame is encoded for each client anew",
        noise=(
            (r"[^\n]*UvicornDeprecationWarning:[^\n]*", "uvicorn deprecates this one of its implementations"),
        ),
    ),
    ServerKind(
        "daphne",
        ("-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", "--ping-interval", "20", APPLICATION),
        "daphne mysite.asgi:application",
        has_lifespan=False,
        send_waits=False,
        tells_reasons=False,
        limits="`--websocket-max-message-size 65536`, `--websocket_connect_timeout 5`, `--ping-interval 20`, "
        "`--ping-timeout 30`",
    ),
    ServerKind(
        "daphne's runserver",
        ("-m", "django", "runserver", "{port}", "--noreload"),
        "python manage.py runserver",
        has_lifespan=False,
        send_waits=False,
        tells_reasons=False,
        limits="for development only",
        environment={"SERVED_BY_DAPHNES_RUNSERVER": "1"},
        noise=(
            (
                r"Fatal Python error: Segmentation fault.*",
                "with any application that had a socket, Python 3.11.7 fails as the process is gone already",
            ),
        ),
    ),
    ServerKind(
        "hypercorn",
        ("-m", "hypercorn", APPLICATION, "--bind", "127.0.0.1:{port}", "--graceful-timeout", "1"),
        "hypercorn mysite.asgi:application",
        # Its master hears the signal, its workers do not: they wait, then cut what is open.
        codes_at_end=(1011,),
        noise=(
            (
                r"Exception in callback StreamReaderProtocol.*?asyncio\.exceptions\.CancelledError$",
                "Python 3.11's streams report a connection that hypercorn cancels after its grace period",
            ),
        ),
        limits="`--websocket-ping-interval 20`, `--graceful-timeout 15`, `websocket_max_message_size = 65536` "
        "in its configuration file",
    ),
    ServerKind(
        "granian",
        ("-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}", APPLICATION),
        "granian --interface asgi mysite.asgi:application",
        awaits_close=False,
        # The first, if it is faster than granian's end.
        codes_at_end=(4010, 1006),
        pings=False,
        limits="`--backpressure` bounds connections; there is no option for the size of a frame: bound it in the proxy",
    ),
    ServerKind(
        "gunicorn",
        ("-m", "gunicorn", "-k", "asgi", APPLICATION, "-b", "127.0.0.1:{port}", "--no-control-socket"),
        "gunicorn -k asgi mysite.asgi:application",
        pings=False,
        limits="`--websocket-max-message-size 65536`, `--worker-connections`, `--graceful-timeout 30`",
    ),
)

HYPERCORN_ALONE = ServerKind(
    "hypercorn without a master",
    ("-m", "hypercorn", APPLICATION, "--bind", "127.0.0.1:{port}", "-w", "0"),
    "hypercorn -w 0 mysite.asgi:application",
)

PRELOADED = ServerKind(
    "gunicorn --preload, 2 workers",
    (
        *("-m", "gunicorn", "-k", "asgi", APPLICATION, "-b", "127.0.0.1:{port}", "--no-control-socket"),
        *("--preload", "-w", "2"),
    ),
    "gunicorn -k asgi --preload -w 2 mysite.asgi:application",
    workers=2,
)
