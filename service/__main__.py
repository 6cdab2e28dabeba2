"""`python -m service` is `calibrant`."""

import sys

from service.cli import main

sys.exit(main())
