"""`make bench` and `make load`: how fast the site is, compared with alternatives."""
