"""``python -m xttsreg``."""

import sys

from xttsreg.cli import main

sys.exit(main())
