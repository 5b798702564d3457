"""`python -m ddpm_abc.cli`."""

import sys

from ddpm_abc.cli import main

sys.exit(main())
