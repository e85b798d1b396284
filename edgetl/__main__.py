"""`python -m edgetl`: the command line."""

from edgetl.cli import main

if __name__ == "__main__":
    main()
