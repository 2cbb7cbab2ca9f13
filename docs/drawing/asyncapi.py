"""The protocols as an AsyncAPI 3.0 document, made from the frames' types, the codes and the configuration.

    docs/reference/asyncapi.json       written by `python docs/tables.py --write`

Each protocol is a channel: a WebSocket, or a response of server-sent events. An operation `receive` is a frame that a
client sends, with its answers as `reply`; one operation `send` for each protocol has what comes by itself. Schemas are
those of `core.frame_types`; they are plain draft 7, which AsyncAPI's own schema objects are made of.
"""

from __future__ import annotations

import inspect
import json
from typing import Any

import msgspec

import django_update_pipeline
from django_update_pipeline.core.codes import CLOSE_CODES, CODES
from django_update_pipeline.core.config import ConnectionConfig, PipelineConfig
from django_update_pipeline.core.frame_types import PROTOCOLS, Protocol

PATH = "reference/asyncapi.json"
SCHEMAS = "#/components/schemas/"

DESCRIPTION = """\
Live state from Django to browsers. One address speaks the classic protocol, or the sync protocol where a client asks
for its subprotocol; below it are the stream of server-sent events and the operators' socket. Frames are JSON objects in
UTF-8 text, one a message. Times are Unix seconds. What a frame means, and what a client does with it, is in the pages
protocol-classic, protocol-sync and protocol-admin; this document is generated from the code and held against frames of
a real server.

A client passes over fields and frames that it does not know; the server does so with fields. Schemas of what the server
sends allow no others all the same, so that this document is complete."""

#: The headers that a handshake is judged by.
_HANDSHAKE = {
    "type": "object",
    "properties": {
        "Host": {"type": "string", "description": "One of the site's hosts."},
        "Origin": {
            "type": "string",
            "description": "The site's own, or one of `allowed_origins`. Absent only without cookies.",
        },
        "Cookie": {"type": "string", "description": "The session cookie says who it is; visitors have none."},
    },
    "required": ["Host"],
}


def document() -> dict[str, Any]:
    """The whole document, as plain values."""
    limits = ConnectionConfig()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "django-update-pipeline",
            "version": django_update_pipeline.__version__,
            "description": _joined(DESCRIPTION),
            "license": {"name": "MIT"},
            "x-error-codes": dict(CODES),
            "x-close-codes": [
                {"code": one.code, "name": one.name, "reason": one.reason, "reconnect": one.reconnect}
                for one in CLOSE_CODES
            ],
            "x-limits": {
                "description": "Defaults; each can be set.",
                "max_frame_bytes": limits.max_frame_bytes,
                "max_depth": limits.max_depth,
                "max_subscriptions": limits.max_subscriptions,
                "messages_per_s": limits.messages_per_s,
                "burst": limits.burst,
                "window_bytes": limits.window_bytes,
                "window_frames": limits.window_frames,
            },
        },
        "defaultContentType": "application/json",
        "servers": {
            "sockets": _server("wss", "Where the site is served."),
            "events": _server("https", "The same place, for server-sent events."),
        },
        "channels": {protocol.name: _channel(protocol) for protocol in PROTOCOLS},
        "operations": {name: one for protocol in PROTOCOLS for name, one in _operations(protocol).items()},
        "components": {"messages": _messages(), "schemas": _schemas()},
    }


def text() -> str:
    """The document as it lies in the file."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def _server(protocol: str, description: str) -> dict[str, Any]:
    return {
        "host": "{host}",
        "protocol": protocol,
        "description": description,
        "variables": {"host": {"default": "localhost:8000", "description": "One of ALLOWED_HOSTS."}},
    }


def _channel(protocol: Protocol) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "address": f"{PipelineConfig().socket_path}{protocol.below}",
        "title": protocol.title,
        "servers": [{"$ref": f"#/servers/{'events' if protocol.is_stream else 'sockets'}"}],
        "messages": {
            kind: {"$ref": f"#/components/messages/{_message_name(protocol, kind)}"}
            for kind in _kinds(protocol)
        },
    }
    if not protocol.is_stream:
        headers = json.loads(json.dumps(_HANDSHAKE))
        if protocol.subprotocol is not None:
            headers["properties"]["Sec-WebSocket-Protocol"] = {"const": protocol.subprotocol}
            headers["required"].append("Sec-WebSocket-Protocol")
        channel["bindings"] = {"ws": {"method": "GET", "headers": headers, "bindingVersion": "0.1.0"}}
    return channel


def _kinds(protocol: Protocol) -> dict[str, type[msgspec.Struct]]:
    assert protocol.taken.keys().isdisjoint(protocol.sent), "a kind goes one way"
    return {**protocol.taken, **protocol.sent}


def _message_name(protocol: Protocol, kind: str) -> str:
    return f"{protocol.name}.{kind}"


def _operations(protocol: Protocol) -> dict[str, dict[str, Any]]:
    channel = {"$ref": f"#/channels/{protocol.name}"}

    def of(kinds: Any) -> list[dict[str, str]]:
        return [{"$ref": f"#/channels/{protocol.name}/messages/{kind}"} for kind in kinds]

    operations: dict[str, dict[str, Any]] = {}
    for kind in protocol.taken:
        operation = {"action": "receive", "channel": channel, "messages": of([kind])}
        if answers := protocol.answers[kind]:
            operation["reply"] = {"channel": channel, "messages": of(answers)}
        operations[f"{protocol.name}.{kind}"] = operation
    unasked: dict[str, Any] = {"action": "send", "channel": channel, "messages": of(protocol.unasked)}
    if protocol.is_stream:
        unasked["summary"] = "A GET request opens the stream. Refusals have HTTP's status."
        query = {
            "type": "object",
            "properties": {
                "channels": {"type": "string", "description": "Channels, with commas between them."},
                "fields": {"type": "string", "description": "A projection: `map:x,y`. Once for each."},
                "since": {"type": "string", "description": "Positions, in the form of an event's id."},
            },
        }
        unasked["bindings"] = {"http": {"method": "GET", "query": query, "bindingVersion": "0.3.0"}}
    operations[f"{protocol.name}.live"] = unasked
    return operations


def _messages() -> dict[str, Any]:
    messages = {}
    for protocol in PROTOCOLS:
        for kind, shape in _kinds(protocol).items():
            message = {
                "name": kind,
                "summary": _joined(inspect.getdoc(shape) or "").split("\n")[0],
                "payload": {"$ref": f"{SCHEMAS}{shape.__name__}"},
            }
            if protocol.is_stream:
                message["headers"] = _event_headers(kind)
            messages[_message_name(protocol, kind)] = message
    return messages


def _event_headers(kind: str) -> dict[str, Any]:
    """The fields of a server-sent event besides its data."""
    if kind == "close":
        return {"type": "object", "properties": {"event": {"const": "close"}}, "required": ["event"]}
    if kind != "sync":
        return {"type": "object", "properties": {}}
    position = "[A-Za-z0-9._-]{1,90}=([A-Za-z0-9]{1,64}:[0-9]{1,18}(:[^:,]+)?|-)"
    name = {
        "type": "string",
        "pattern": f"^{position}(,{position})*$",
        "description": "Positions that lead on from here, for `Last-Event-ID`; a projection's with its name.",
    }
    return {"type": "object", "properties": {"id": name}, "required": ["id"]}


def _schemas() -> dict[str, Any]:
    shapes = {shape.__name__: shape for protocol in PROTOCOLS for shape in _kinds(protocol).values()}
    _, schemas = msgspec.json.schema_components(
        [shapes[name] for name in sorted(shapes)], ref_template=SCHEMAS + "{name}"
    )
    plain: dict[str, Any] = {name: _plain(schemas[name]) for name in sorted(schemas)}
    return plain


def _plain(value: Any) -> Any:
    """A schema without what is OpenAPI's alone, and with its descriptions on lines of their own."""
    if isinstance(value, dict):
        return {
            key: _joined(one) if key == "description" and isinstance(one, str) else _plain(one)
            for key, one in value.items()
            if not (key == "discriminator" and isinstance(one, dict) and "mapping" in one)
        }
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _joined(doc: str) -> str:
    """A docstring's paragraphs, each on one line."""
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(doc).split("\n\n"))
