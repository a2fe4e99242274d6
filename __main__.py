"""`python -m sftscope`: the same as the command `sftscope`."""

from .cli import main

raise SystemExit(main())
