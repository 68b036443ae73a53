"""Fail if a test of pytest's JUnit report was skipped, or expected to fail, without a reason."""

import sys
import xml.etree.ElementTree as ET

# What pytest writes in place of a reason that nobody gave.
NO_REASON = {"", "Skipped", "unconditional skip"}


def main(report: str) -> None:
    """Name the tests that are silent about why, and exit with 1 if there are any."""
    tests = list(ET.parse(report).iter("testcase"))
    if not tests:
        sys.exit(f"{report} holds no test; was pytest run with --junitxml?")
    silent = [
        f"{test.get('classname')}::{test.get('name')}"
        for test in tests
        for skip in test.iter("skipped")
        if not reason(skip)
    ]
    if silent:
        sys.exit("skipped without a reason; say why in reason=...:\n  " + "\n  ".join(silent))


def reason(skip: ET.Element) -> str:
    """The words a test gave, '' if none. A skipped file carries them in the text alone."""
    message = skip.get("message", "")
    if message == "collection skipped":
        message = (skip.text or "").partition("Skipped: ")[2].rstrip("'\")")
    return "" if message.strip() in NO_REASON else message


if __name__ == "__main__":
    main(sys.argv[1])
