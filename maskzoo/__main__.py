"""`python -m maskzoo VERB`."""

# In a checkout the room lies beside this folder, where only the path in `__init__` finds it.
from maskzoo.cli import main  # pyright: ignore[reportMissingImports]

main()
