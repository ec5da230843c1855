"""How long a test waits before it calls something hung.

Far more than anything takes, also on a machine that does ten other things: it decides how late a failure is seen,
never whether there is one.
"""

from typing import Final

PATIENCE_S: Final = 120.0
