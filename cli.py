"""The command line from a checkout, without installing: `python cli.py pipeline`."""

from edgetl.cli import main

if __name__ == "__main__":
    main()
