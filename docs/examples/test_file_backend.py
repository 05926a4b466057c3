import pytest
from file_backend import FileBackend

from progresskit.testing import BackendContract, FakeClock, ListingContract, SharedContract


class TestFile(BackendContract, ListingContract, SharedContract):
    @pytest.fixture
    def clock(self):
        return FakeClock()

    @pytest.fixture
    def backend(self, tmp_path, clock):
        return FileBackend(f"jsonfile://{tmp_path}/progress.json", clock=clock)

    @pytest.fixture
    def url(self, tmp_path):
        return f"jsonfile://{tmp_path}/progress.json"
