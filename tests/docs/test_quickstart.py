"""The quickstart as a newcomer follows it: an empty folder, the page's own blocks, a real server, a WebSocket."""

from __future__ import annotations

from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.docs.markdown import ROOT, blocks
from tests.docs.project import frame, get, manage, served, write

QUICKSTART = ROOT / "docs" / "quickstart.md"
SERVERS = {
    "runserver": ["manage.py", "runserver", "--noreload", "PORT"],
    "uvicorn": ["-m", "uvicorn", "django_update_pipeline.asgi:application", "--port", "PORT"],
}
pytestmark = [pytest.mark.channels, pytest.mark.slow]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `startproject` makes, with the quickstart's blocks at the end of the files they name."""
    folder = tmp_path_factory.mktemp("quickstart")
    manage(folder, "-m", "django", "startproject", "mysite", ".")
    steps = [block for block in blocks(QUICKSTART, "python") if block.file]
    assert [block.file for block in steps] == ["mysite/settings.py", "mysite/urls.py", "mysite/urls.py"]
    for block in steps:
        assert not block.is_whole, "the quickstart promises that no new file is needed"
        write(folder, block)
    manage(folder, "manage.py", "migrate", "--verbosity", "0")
    return folder


@pytest.mark.timeout(120)
@pytest.mark.parametrize("command", SERVERS.values(), ids=SERVERS)
def test_an_update_of_the_quickstart_arrives_in_every_window(project: Path, command: list[str]) -> None:
    with served(project, command) as host:
        page = get(f"http://{host}/live/")
        assert "/ws/updates/" in page
        url, origin = f"ws://{host}/ws/updates/", f"http://{host}"
        with connect(url, origin=origin) as one, connect(url, origin=origin) as two:
            assert frame(one)["type"] == frame(two)["type"] == "connection_established"
            assert get(f"http://{host}/switch/?on") == "switched on"
            for window in (one, two):
                update = frame(window)
                assert (update["type"], update["agent_id"], update["update_type"]) == (
                    "agent_update",
                    "lamp",
                    "state_change",
                )
                assert update["data"] == {"on": True}
        with connect(url, origin=origin) as later:
            assert frame(later)["type"] == "connection_established"
            assert frame(later)["data"] == {"on": True}, "a later window shows the lamp at once"
