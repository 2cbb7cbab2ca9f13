"""The probes, and the detailed report.

`live` says that the process answers, `ready` that it delivers. Both are public and say one word: no host, version,
count or cause. Neither asks the database, a session or a thread, so they answer while those are what is broken.
"""

from __future__ import annotations

import logging

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ..runtime.complaints import complain
from ..service import get_update_pipeline
from .visitor import visitor_of

logger = logging.getLogger(__name__)


@login_not_required
@never_cache
@require_safe
async def live(request: HttpRequest) -> HttpResponse:
    """200 `{"status":"ok"}`: the process answers."""
    return _one_word(200, "ok")


@login_not_required
@never_cache
@require_safe
async def ready(request: HttpRequest) -> HttpResponse:
    """200 `{"status":"ok"}` while the pipeline delivers, else 503 `{"status":"not ready"}`.

    Ready: it runs in this process, is not stopping, and its breaker is not open. The cause is in `health`.
    """
    return _one_word(200, "ok") if _is_ready() else _one_word(503, "not ready")


@login_not_required
@never_cache
@require_safe
async def health(request: HttpRequest) -> HttpResponse:
    """`{"readiness": {...}, "health": {...}, "metrics": {...}}` of this process, for staff who may view; else 403.

    The status is 200 whatever the score is: `ready` is the one for machines. 503 if the settings allow no pipeline.
    """
    if not (await visitor_of(request)).may_view:
        return _one_word(403, "forbidden")
    try:
        pipeline = get_update_pipeline()
        return JsonResponse(
            {
                "readiness": pipeline.get_readiness(),
                "health": pipeline.get_health_status(),
                "metrics": pipeline.get_performance_metrics(),
            }
        )
    except Exception as error:  # the view's boundary: the reader may know the cause, and mends it
        complain(logger, error, "there is no report of the pipeline")
        return JsonResponse({"status": "failed", "cause": f"{type(error).__name__}: {error}"}, status=503)


def _is_ready() -> bool:
    try:
        return get_update_pipeline().is_ready
    except Exception:  # the view's boundary: wrong settings, which `manage.py check` explains
        return False


def _one_word(status: int, word: str) -> HttpResponse:
    return HttpResponse(
        f'{{"status":"{word}"}}',
        status=status,
        content_type="application/json",
        headers={"X-Content-Type-Options": "nosniff"},
    )
