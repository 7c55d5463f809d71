"""Broken and hostile files for everything that Tare reads: see __main__."""
