"""A dataset of the Hugging Face hub as a seed source: fetched once, on request, then read as a table."""

from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from m2l.errors import SeedError
from m2l.process import writing
from m2l.seed_sources.table import Table


class Hub(Table):
    """A table that `m2l seeds get` puts in place from a dataset id.

    A build reads the file and opens no connection. `dataset`, `config`, `split` and
    `revision` are those of `datasets.load_dataset`, which the extra `m2l[hub]` installs.
    A split that `never` names is refused, such as one that repeats an evaluation suite.
    """

    def __init__(
        self,
        dataset: str,
        split: str,
        config: str | None = None,
        revision: str | None = None,
        never: Mapping[str, str] | None = None,
        **table: Any,
    ) -> None:
        super().__init__(**table)
        if split in (never or {}):
            raise ValueError(f"split {split!r} is not for seeds: {(never or {})[split]}")
        self.dataset, self.split, self.config, self.revision = dataset, split, config, revision
        self.target = Path(self.path).with_name(f"{config or 'default'}-{split}.parquet")
        if not fnmatch(str(self.target), self.path):
            raise ValueError(f"path {self.path!r} does not take in {self.target}, as which the dataset is kept")

    def advice(self) -> str:
        return f"Get {self.dataset} by `m2l seeds get`, which needs the network once, or put the file there."

    def get(self, root: Path, say: Callable[[str], None]) -> Path:
        """Fetch the dataset, write it where `path` takes it in, and return the file; raises SeedError if that fails."""
        try:
            import datasets
        except ImportError as err:
            raise SeedError(
                f"{self.dataset}: fetching needs datasets. Install it with `pip install m2l[hub]`."
            ) from err
        say(f"{self.dataset}: fetching {self.config or 'the default config'}, {self.split}")
        try:
            data = datasets.load_dataset(self.dataset, self.config, split=self.split, revision=self.revision)
            with writing(root / self.target) as part:
                data.to_parquet(str(part))
        except (OSError, ValueError, RuntimeError) as err:
            reason = (str(err).splitlines() or [type(err).__name__])[0].rstrip(".")
            raise SeedError(f"{self.dataset}: {reason}. Check the network and the id, then try again.") from err
        say(f"{self.dataset}: {data.num_rows} rows in {self.target}")
        return root / self.target
