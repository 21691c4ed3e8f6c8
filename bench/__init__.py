"""`make bench` and `make load`: how fast the site is, measured beside alternatives."""
