"""From journals to figures: load, estimate, plot, report. Of bench it imports the record and the errors."""
