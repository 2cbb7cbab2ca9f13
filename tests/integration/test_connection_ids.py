"""What a client is told about itself gives nothing away about anybody else."""

from __future__ import annotations

import re
from typing import Any

from django.core.asgi import get_asgi_application

from django_update_pipeline.routing import with_update_pipeline

from .asgi import opened


async def test_a_connections_id_is_128_random_bits(pipeline: Any) -> None:
    pipeline()
    app = with_update_pipeline(get_asgi_application())
    ids: list[int] = []
    for _ in range(100):
        async with opened(app) as socket:
            await socket.until(lambda socket=socket: socket.frames)
            found = re.fullmatch(r"ws_([0-9a-f]{32})", socket.frames[0]["connection_id"])
            assert found is not None
            ids.append(int(found[1], 16))
    ever_set, always_set = 0, ~0
    for one in ids:
        ever_set |= one
        always_set &= one
    assert ever_set == 2**128 - 1, "each bit is set in some"
    assert always_set == 0, "and not in others: no counter, address or clock is in it"
