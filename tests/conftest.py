"""What holds for every test: time decides nothing.

Hypothesis fails an example that takes longer than 200 ms, and a strategy that is slow; on a machine that does other things
as well, either may happen to anything.
"""

from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
