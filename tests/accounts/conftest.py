"""A running OpenID Connect provider, which the site is set up to use."""

import pytest

from accounts.provider import client as provider_client

from ..support.oidc_provider import CLIENT, SECRET, running


@pytest.fixture
def provider(settings):
    with running() as provider:
        settings.OIDC_ISSUER = provider.issuer
        settings.OIDC_CLIENT_ID = CLIENT
        settings.OIDC_CLIENT_SECRET = SECRET
        settings.OIDC_NAME = "Example ID"
        settings.OIDC_DOMAINS = set()
        provider_client.cache_clear()
        yield provider
        provider_client.cache_clear()
