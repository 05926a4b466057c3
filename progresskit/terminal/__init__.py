"""How jobs are drawn in a terminal, and written where there is none: for `progresskit watch` and for observers."""
