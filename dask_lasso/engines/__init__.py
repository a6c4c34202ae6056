"""Schedules of a fit, and the run that they see."""
