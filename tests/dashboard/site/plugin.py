"""The transport that the tests command."""

from __future__ import annotations

from typing import Any

from django_update_pipeline import hookimpl
from django_update_pipeline.testing.transports import FaultyTransport

TRANSPORT = FaultyTransport()


@hookimpl
def provide_transport(config: Any) -> FaultyTransport | None:
    return TRANSPORT if config.transport == "faulty" else None
