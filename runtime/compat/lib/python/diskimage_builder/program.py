"""Finds the program that builds: the one that runs this build, or one on PATH under the command's own name."""

import os
import shutil
import sys


def find(command):
    """The path of the program that answers to `command`; ends the script with a message if there is none."""
    path = os.environ.get("DIBW_PROGRAM") or shutil.which(command)
    if not path:
        sys.exit("%s: the program that builds is not found: set DIBW_PROGRAM, or put it on PATH as %s" % (command, command))
    return path
