"""Logging of scripts that run in a build: to stderr, with everything when the build is traced, or as a file of the user's says."""

import json
import logging
import logging.config
import os


class Formatter(logging.Formatter):
    """One line a message; debug messages end with where they come from."""

    def format(self, record):
        line = super().format(record)
        if record.levelno <= logging.DEBUG:
            line += " %s %s:%s" % (record.funcName, record.pathname, record.lineno)
        return line


def setup():
    """Sets up logging for the process.

    DIB_PYTHON_LOGGING_CONFIG_FILE names a JSON file for logging.config.dictConfig; it decides alone.
    Otherwise DIB_DEBUG_TRACE above 0 asks for debug messages.
    """
    configuration = os.environ.get("DIB_PYTHON_LOGGING_CONFIG_FILE")
    if configuration:
        with open(configuration, encoding="utf-8") as file:
            logging.config.dictConfig(json.load(file))
        return
    try:
        traced = int(os.environ.get("DIB_DEBUG_TRACE") or 0) > 0
    except ValueError:
        traced = False
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter("%(levelname)s %(name)s [-] %(message)s"))
    logging.basicConfig(level=logging.DEBUG if traced else logging.INFO, handlers=[handler], force=True)
