"""`python -m maskzoo VERB`."""

from maskzoo.cli import main

main()
