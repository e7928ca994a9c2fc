"""`python -m zerosum` is the command `zerosum`."""

from zerosum.app.cli import main

main()
