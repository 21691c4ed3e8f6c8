"""`manage.py bench`: what a heavy conversation costs, beside an ordinary one and bare SQL."""
