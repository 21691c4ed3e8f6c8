import hashlib

import pytest
from django.conf import settings


@pytest.mark.parametrize("folder", ["static/vendor", "tests/vendor"])
def test_vendored_files_are_as_published_and_have_their_licences(folder):
    root = settings.BASE_DIR / folder
    listed = dict(
        reversed(line.split("  ./")) for line in (root / "CHECKSUMS").read_text().splitlines()
    )
    there = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert there == {*listed, "CHECKSUMS"}
    for name, checksum in listed.items():
        assert hashlib.sha256((root / name).read_bytes()).hexdigest() == checksum, name
    for package in (path for path in root.iterdir() if path.is_dir()):
        assert (package / "LICENSE").exists(), package
