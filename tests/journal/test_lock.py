"""The lock of a journal's folder."""

import asyncio
import os
from pathlib import Path

import pytest

from service.journal.lock import LOCK, beat, hold


def test_a_second_process_warns_and_waits_until_the_first_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.journal.lock.LONG", 2)

    async def work() -> None:
        first = await hold(tmp_path)
        second = asyncio.create_task(hold(tmp_path))
        while "another live process has" not in caplog.text:  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0)
        assert not second.done()
        os.close(first)
        os.close(await second)

    asyncio.run(work())


def test_who_holds_it_writes_its_time_anew_also_where_the_folder_was_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.journal.lock.BEAT_S", 0.01)
    lock = tmp_path / LOCK

    async def work() -> None:
        beating = asyncio.create_task(beat(tmp_path))
        await asyncio.sleep(0.02)
        held = await hold(tmp_path)
        os.utime(lock, (0, 0))
        while lock.stat().st_mtime == 0:  # noqa: ASYNC110 - nor has a file
            await asyncio.sleep(0.01)
        beating.cancel()
        os.close(held)

    asyncio.run(asyncio.wait_for(work(), 20))
