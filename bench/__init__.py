"""Tare: measures what containers, hypervisor guests and User-Mode Linux guests each weigh for the same work."""

__version__ = "0.1.0"
