"""`python -m pipeline_platform`: the command line, for a debugger."""

from pipeline_platform.cli import main

if __name__ == "__main__":
    main()
