"""``python -m crosslinknet`` and the ``xln`` command."""

from crosslinknet.cli import main

if __name__ == "__main__":
    main()
