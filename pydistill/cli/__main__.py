"""``python -m pydistill.cli``."""

import sys

from pydistill.cli import main

sys.exit(main())
