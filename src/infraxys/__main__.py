"""`python -m infraxys` is the command line."""

from infraxys.cli.main import main

if __name__ == "__main__":
    main()
