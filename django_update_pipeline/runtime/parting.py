"""Batches that fail are published update by update, to find those that fail alone while others pass."""

from __future__ import annotations

from ..exceptions import UpdatesRejected
from .egress import Egress, cause_of, rejections
from .work import HELD_BACK, Work


async def in_parts(works: list[Work], egress: Egress) -> list[dict[int, str]] | None:
    """Publishes works update by update, in this order; by work and place, what failed and why, or is held back.

    What fails is compared with something that passed: in this round, or the last publication that was
    acknowledged (tried again, which changes nothing). If that fails too it is an outage, and nobody's fault.
    None: nothing passed.
    """
    breaker = egress.breaker
    outcomes: list[dict[int, str]] = [{} for _ in works]
    passed = egress.acknowledged if egress.acknowledged and egress.acknowledged.changes else None
    has_passed = is_out = False
    unproven: list[tuple[dict[int, str], int, str]] = []
    for work, outcome in zip(works, outcomes, strict=True):
        assert work.publication is not None
        work.attempts += 1
        stopped: set[str] = set()
        for place, part in enumerate(work.publication.parts()):
            agent_id = part.changes[0].agent_id
            if is_out or agent_id in stopped or not breaker.can_execute():
                outcome[place] = HELD_BACK
                stopped.add(agent_id)
                continue
            try:
                await egress.publish(part)
            except UpdatesRejected as error:
                outcome[place] = rejections(error, part)[0]
                work.refused.add(place)
                stopped.add(agent_id)
                breaker.record_success()
                has_passed = True
                continue
            except Exception as error:  # the transport's boundary: an outage, or this update's own failure
                stopped.add(agent_id)
                breaker.release()
                outcome[place] = HELD_BACK
                cause = cause_of(error)
                if passed is None:
                    egress.failed()
                    unproven.append((outcome, place, cause))
                elif await egress.passes(passed):
                    has_passed = True
                    outcome[place] = cause
                else:
                    egress.failed()
                    is_out = True
                continue
            egress.passed(part)
            passed, has_passed = part, True
    if not has_passed:
        return None
    if not is_out:
        for outcome, place, cause in unproven:
            outcome[place] = cause
    return outcomes
