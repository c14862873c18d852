"""What all tests share: hypothesis gives no verdict on speed, which depends on what else the machine does."""

from hypothesis import HealthCheck, settings

settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
