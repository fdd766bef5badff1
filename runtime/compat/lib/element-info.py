"""element-info, for scripts that run it as `python $_LIB/element-info.py`: hands over to the program that builds."""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "python"))

from diskimage_builder import program  # noqa: E402 - the path comes first

if __name__ == "__main__":
    os.execv(program.find("element-info"), ["element-info", *sys.argv[1:]])
