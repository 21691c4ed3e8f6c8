class NotSent(Exception):
    """
    A message could not be sent. Its text says why in our own words: libraries quote the address of
    the webhook, which is a secret.
    """
