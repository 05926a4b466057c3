import pytest
from importing import BadRow, import_rows

import progresskit
from progresskit import Kit, State
from progresskit.testing import FakeClock, RecordingObserver


@pytest.fixture(autouse=True)
def kit():
    progresskit.configure("memory://", strict=True)  # an empty store, and bad values raise
    yield
    progresskit.configure("memory://")


def test_all_rows_are_counted():
    import_rows(["a", "b", "c"], id="import-1")
    progress = progresskit.get("import-1")
    assert (progress.state, progress.current, progress.percent) == (State.SUCCEEDED, 3, 100)


def test_an_empty_row_fails_the_job_where_it_is():
    with pytest.raises(BadRow):
        import_rows(["a", "", "c"], id="import-1")
    progress = progresskit.get("import-1")
    assert (progress.state, progress.current) == (State.FAILED, 1)
    assert (progress.error.type, progress.error.message) == ("BadRow", "row 2 is empty")


def test_a_viewer_sees_it_end():
    seen = RecordingObserver()
    detach = progresskit.subject("import-1").attach(seen)
    import_rows(["a", "b"], id="import-1")
    assert seen.wait_for(lambda progress: progress.done).current == 2
    detach()


def test_the_time_left_is_shown():
    clock = FakeClock()
    kit = Kit("memory://", clock=clock)
    with kit.observe("import-1", total=100) as observer:
        for done in (20, 40, 60):
            clock.advance(10)
            observer.set_progress(done)
            kit.flush()
        assert (kit.get("import-1").rate, kit.get("import-1").eta) == (2.0, 20.0)
    kit.close()


def test_bad_values_are_found():
    with progresskit.observe("import-1") as observer, pytest.raises(progresskit.InvalidValue):
        observer.set_progress(-1)
