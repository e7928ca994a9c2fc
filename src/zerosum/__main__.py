"""`python -m zerosum` is the command `zerosum`."""

from zerosum.cli.main import main

main()
