"""That no row is lost or doubled between two stages: asserted wherever rows are sorted into kept and not kept."""

from collections import Counter
from collections.abc import Iterable, Mapping

from m2l.errors import BuildError


def conserved(where: str, attempted: Iterable[str], parts: Mapping[str, Iterable[str]]) -> None:
    """Raise BuildError unless the ids of all parts together are those that were attempted, each once."""
    wanted, found = Counter(attempted), {name: list(ids) for name, ids in parts.items()}
    there = Counter(row_id for ids in found.values() for row_id in ids)
    if wanted == there:
        return
    sums = " + ".join(f"{len(ids)} {name}" for name, ids in found.items())
    lost, more = wanted - there, there - wanted
    odd = f"{min(lost)} is lost" if lost else f"{min(more)} is there too often"
    raise BuildError(
        f"{where}: {sums} are not the {wanted.total()} attempted; {odd}. Run `dvc repro -f`, then report it."
    )
