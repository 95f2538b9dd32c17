"""`python -m m2l`, as dvc.yaml calls it."""

import sys


def main() -> None:
    """Run the command line, or say how to install what it needs."""
    try:
        from m2l.cli import run
    except ModuleNotFoundError as err:
        message = f"m2l: {sys.executable} has no package {err.name!r}. Run `make`, then `source .venv/bin/activate`."
        print(message, file=sys.stderr)
        raise SystemExit(2) from None
    run()


if __name__ == "__main__":
    main()
