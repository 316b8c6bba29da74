"""`python -m masktune.cli` is `masktune`."""

from masktune.cli.main import main

if __name__ == "__main__":
    main()
