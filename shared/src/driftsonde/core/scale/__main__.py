"""What `spark-submit` is given in the place of the `driftsonde` command, which is no Python file."""

from driftsonde.core.cli import main

if __name__ == "__main__":
    main()
