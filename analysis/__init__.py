"""From journals to figures: load, estimate, plot, report. Of bench it imports the record and the errors."""

import logging

# It warns of home folders where it cannot keep its fonts, and draws the same without one.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
