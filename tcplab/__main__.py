"""`python -m tcplab` is the command `tcplab`."""

import sys

from tcplab.cli import main

sys.exit(main())
