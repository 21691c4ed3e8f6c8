"""
Keeps the tables of the overview up to date with the agent database.

`passes` says what one pass does, step by step; each step is one transaction in our own database.
`changes` finds which conversations have changed, `facts` reads them anew, and `cells` makes the
cells of the quarters in which that made a difference.
"""
