"""A cache that all processes share: files in a folder that gunicorn.conf.py creates."""

from contextlib import suppress

from django.core.cache.backends.filebased import FileBasedCache


class SharedCache(FileBasedCache):
    """Goes without entries that cannot be written, as when the disk is full."""

    def set(self, *args, **options):
        with suppress(OSError):
            super().set(*args, **options)
