"""What frames are made of: names, positions and times, with the limits that the decoders hold."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from ..names import AGENT_ID_MAX_CHARS, REFLECTED_MAX_CHARS
from ..sync_wire import MAX_FIELDS
from ..view import MAX_FIELD_CHARS
from ..wire import SAFE_INTEGER, FrameLimits

_LIMITS = FrameLimits()
_SAFE_CHARS = r"\u0000-\u001f\u007f-\u009f"

ChannelName: TypeAlias = Annotated[
    str,
    Meta(pattern=rf"^[A-Za-z0-9._-]{{1,{_LIMITS.max_name_length}}}$", description="A channel's name."),
]
AgentId: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=AGENT_ID_MAX_CHARS,
        pattern=rf"^(?!(__proto__|constructor|prototype)$)[^{_SAFE_CHARS}]*$",
        description="No control characters, no name by which a JavaScript object reaches its prototype.",
    ),
]
ActionName: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=_LIMITS.max_name_length,
        pattern=rf"^(?!(__proto__|constructor|prototype)$)[^{_SAFE_CHARS}]*$",
    ),
]
FieldName: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_FIELD_CHARS,
        pattern=rf"^(?!(__proto__|constructor|prototype)$)[^,{_SAFE_CHARS}]*$",
        description="A top-level field's name. One with a comma can't be asked for.",
    ),
]
ChannelNames: TypeAlias = Annotated[list[ChannelName], Meta(max_length=_LIMITS.max_channels_per_frame)]
Projection: TypeAlias = Annotated[list[FieldName], Meta(min_length=1, max_length=MAX_FIELDS)]
RequestId: TypeAlias = (
    Annotated[str, Meta(max_length=REFLECTED_MAX_CHARS)]
    | Annotated[int, Meta(ge=-SAFE_INTEGER, le=SAFE_INTEGER)]
)
Offset: TypeAlias = Annotated[int, Meta(ge=0, le=SAFE_INTEGER, description="A place in the log.")]
Count: TypeAlias = Annotated[int, Meta(ge=0)]
Ratio: TypeAlias = Annotated[float, Meta(ge=0)]
UnixSeconds: TypeAlias = Annotated[float, Meta(description="Unix seconds with fraction.")]
JSONObject: TypeAlias = dict[str, Any]


class Sent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A frame or a part of one that the server sends: all its fields are here."""


class Taken(msgspec.Struct, frozen=True):
    """A frame or a part of one that a client sends: fields that are not here are not looked at."""


def made_struct(
    name: str, doc: str, fields: list[Any], base: type[msgspec.Struct] = Sent, **more: Any
) -> Any:
    """A type made of a table; `fields` are as `msgspec.defstruct` takes them."""
    return msgspec.defstruct(
        name,
        fields,
        bases=(base,),
        namespace={"__doc__": doc},
        module=__name__,
        frozen=True,
        kw_only=True,
        **more,
    )
