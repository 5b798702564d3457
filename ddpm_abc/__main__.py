"""`python -m ddpm_abc`."""

import sys

from ddpm_abc.cli import main

sys.exit(main())
