"""`python -m cli` is `masktune`."""

from cli.main import main

if __name__ == "__main__":
    main()
