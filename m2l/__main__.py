"""`python -m m2l`, as dvc.yaml calls it."""

import gc
import sys


def main() -> None:
    """Run the command line, or say how to install what it needs."""
    gc.set_threshold(100_000)  # what a command makes mostly lives until its end: a seventh of its time
    try:
        from m2l.cli import run
    except ModuleNotFoundError as err:
        message = f"m2l: {sys.executable} has no package {err.name!r}. Run `make`, then `source .venv/bin/activate`."
        print(message, file=sys.stderr)
        raise SystemExit(2) from None
    run()


if __name__ == "__main__":
    main()
