"""From journals to figures: load, estimate, plot, report. Imports from bench only the record format and the errors."""
