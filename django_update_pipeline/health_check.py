"""Checks for django-health-check (4 or later): is this process's pipeline ready, and is it well?

    HealthCheckView.as_view(checks=[
        "django_update_pipeline.health_check.PipelineReady",
        ("django_update_pipeline.health_check.PipelineHealth", {"fail_below": 50}),
    ])

Importing this needs django-health-check; nothing else of the package does. The checks start nothing, and what they say
to the public names no host, plugin or figure.
"""

from __future__ import annotations

import dataclasses

from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable

from .core.health import DEGRADED_FROM
from .service import current_pipeline


@dataclasses.dataclass
class PipelineReady(HealthCheck):  # type: ignore[misc]  # the base has no types
    """Fails while this process should get no new clients (`UpdatePipeline.get_readiness`)."""

    # Not a coroutine: then it runs in a thread, and a blocked event loop does not hold it up.
    def run(self) -> None:
        """Raises ServiceUnavailable while the process is not ready."""
        pipeline = current_pipeline()
        if pipeline is None or not pipeline.is_ready:
            raise ServiceUnavailable("the update pipeline is not ready")


@dataclasses.dataclass
class PipelineHealth(HealthCheck):  # type: ignore[misc]  # the base has no types
    """Fails while the health score is below `fail_below` (50 by default: critical).

    Args:
        fail_below: 1 to 100; 80 fails when the pipeline is degraded, too.
        names_causes: whether the answer names the deductions (`breaker_open`); only for pages that are not public.
    """

    fail_below: int = DEGRADED_FROM
    names_causes: bool = dataclasses.field(default=False, repr=False)

    def run(self) -> None:
        """Raises ServiceUnavailable while the score is too low."""
        pipeline = current_pipeline()
        if pipeline is None:
            raise ServiceUnavailable("the update pipeline is not running")
        report = pipeline.get_health_status()
        if report["health_score"] < self.fail_below:
            causes = f": {', '.join(report['deductions'])}" if self.names_causes else ""
            raise ServiceUnavailable(f"the update pipeline is {report['health_status']}{causes}")
