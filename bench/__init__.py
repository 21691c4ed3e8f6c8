"""`make bench` and `make load`: how fast is the site, compared with alternatives?"""
