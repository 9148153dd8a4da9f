"""What `spark-submit` is given to run: a run that Dagster follows, or a command of the command line."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # Python puts the script's folder first, where the package's own modules would stand for others of their name.
    del sys.path[0]
    from pipeline_platform.submission import driver

    if driver.is_piped():
        raise SystemExit(driver.main())
    from pipeline_platform.cli import main

    main()
