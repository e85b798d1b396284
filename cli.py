"""The command line from a checkout, without installing: `python cli.py pipeline`."""

from edgetl.__main__ import main

if __name__ == "__main__":
    main()
