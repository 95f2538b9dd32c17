"""A plan in words for a person, and as plain values for scripts."""

from collections.abc import Iterator, Sequence

import msgspec

from m2l.plan import Count, Forecast, Plan
from m2l.slices import Composed

_SHOWN = 5
_MANY = 12
"""Up to so many languages, each one's tasks are told."""

Pace = tuple[float, float] | None


def for_scripts(found: Forecast, composed: Composed, pace: Pace) -> dict[str, object]:
    """Return a plan as what JSON knows, with its totals and what a call takes."""
    total = _total(found.plans)
    return {
        "languages": msgspec.to_builtins(found.plans),
        "removed": found.removed,
        "seeds": _seeds(composed),
        "seeds_declared": composed.seeds_wanted,
        **msgspec.structs.asdict(total),
        "tokens_per_call": pace[0] if pace else None,
        "seconds_per_call": pace[1] if pace else None,
    }


def lines(found: Forecast, composed: Composed, pace: Pace, *, tasks: bool | None) -> Iterator[str]:
    """Yield a plan for people: each language with its reason and leaves, then what all of it costs.

    `tasks` tells each task too; None does where the languages are few.
    """
    many = len(found.plans) > _MANY
    idle = [item.language for item in found.plans if many and item.reason is None]
    told: dict[tuple[str, ...], str] = {}
    for item in found.plans:
        if item.language not in idle:
            yield from _language(item, told, tasks=not many if tasks is None else tasks)
    if idle:
        reused = sum(item.total.reused for item in found.plans if item.language in idle)
        yield f"{len(idle)} languages: up to date; calls: 0 to make, {reused} reused"
    for name, dropped in found.removed.items():
        yield f"{name}: no longer built; {dropped} calls dropped"
    yield _cost(_total(found.plans), sum(found.removed.values()), pace)
    if _seeds(composed) < composed.seeds_wanted:
        yield (
            f"Seeds: {_seeds(composed)} of {composed.seeds_wanted} that recipe {composed.dataset.recipe!r} declares. "
            f"Add some, or more seed sources: `m2l seeds report` says what each gives."
        )


def _language(item: Plan, told: dict[tuple[str, ...], str], *, tasks: bool) -> Iterator[str]:
    yield f"{item.language}: {item.reason or 'up to date'}; calls: {_calls(item.total)}"
    if tasks:
        for task, count in item.tasks.items():
            if count.made or count.hanging or count.dropped:
                yield f"    {task}: {_calls(count)}"
    leaves = tuple(item.leaves)
    if leaves and leaves in told:
        yield f"    the same leaves as {told[leaves]}"
        return
    told[leaves] = item.language
    yield from (f"    {leaf}" for leaf in leaves[:_SHOWN])
    if len(leaves) > _SHOWN:
        yield f"    and {len(leaves) - _SHOWN} more leaves"


def _cost(total: Count, removed: int, pace: Pace) -> str:
    most = total.made + total.hanging
    dropped = total.dropped + removed
    gone = f" {'At most ' if total.hanging else ''}{dropped} calls of the last build are dropped." if dropped else ""
    if most == 0:
        return f"In all: 0 calls. Nothing needs a model.{gone}"
    cost = "no past run on this machine to estimate time from"
    if pace is not None:
        cost = f"about {most * pace[0]:,.0f} tokens, {most * pace[1] / 60:.1f} min"
    again = f", and at most {total.repairs} more for texts that have to be asked for again" if total.repairs else ""
    return (
        f"In all: {total.made} calls to make and {total.hanging} that hang on their text{again}; {cost}. "
        f"Run `dvc repro`.{gone}"
    )


def _calls(count: Count) -> str:
    hanging = f" + {count.hanging} that hang on them" if count.hanging else ""
    dropped = f", {'at most ' if count.hanging else ''}{count.dropped} dropped" if count.dropped else ""
    return f"{count.made} to make{hanging}, {count.reused} reused{dropped}"


def _total(plans: Sequence[Plan]) -> Count:
    totals = [item.total for item in plans]
    return Count(*(sum(getattr(total, name) for total in totals) for name in Count.__struct_fields__))


def _seeds(composed: Composed) -> int:
    return sum(len(piece.seeds) for piece in composed.slices.values())
