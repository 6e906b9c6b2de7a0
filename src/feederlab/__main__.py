"""``python -m feederlab`` is the command line."""

from feederlab.cli import main

main()
