"""Looking at a run from outside and steering it: event log, metrics, telemetry, control."""
