"""Settings for a site behind a proxy that logs its process id to a file for each password check."""

import os
import time

from django.contrib.auth.hashers import MD5PasswordHasher

from backoffice.settings import *  # noqa: F403

# As in a deployment, but without HTTPS.
BEHIND_PROXY = True
PASSWORD_HASHERS = ["tests.support.counted.Hasher"]


class Hasher(MD5PasswordHasher):
    """Slow, so that other requests arrive during a check."""

    def encode(self, password, salt):
        if path := os.environ.get("COUNTED"):
            with open(path, "a") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(0.2)
        return super().encode(password, salt)
