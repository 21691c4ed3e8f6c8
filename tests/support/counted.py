"""The settings behind a proxy, and a process's id in a file for each password that it looks at."""

import os
import time

from django.contrib.auth.hashers import MD5PasswordHasher

from backoffice.settings import *  # noqa: F403

# As in a deployment, which would need HTTPS as well.
BEHIND_PROXY = True
PASSWORD_HASHERS = ["tests.support.counted.Hasher"]


class Hasher(MD5PasswordHasher):
    """Takes its time, so that others come meanwhile."""

    def encode(self, password, salt):
        if path := os.environ.get("COUNTED"):
            with open(path, "a") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(0.2)
        return super().encode(password, salt)
