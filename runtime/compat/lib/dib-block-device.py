"""dib-block-device, for scripts that run it as `python $_LIB/dib-block-device.py`: hands over to the program that builds."""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "python"))

from diskimage_builder import program  # noqa: E402 - the path comes first

if __name__ == "__main__":
    os.execv(program.find("dib-block-device"), ["dib-block-device", *sys.argv[1:]])
