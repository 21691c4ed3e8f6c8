"""A passkey, from being added to being removed, with the authenticator that Chromium simulates."""


import pytest

pytestmark = pytest.mark.django_db(transaction=True)
