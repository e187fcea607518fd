"""Where the time of a call with every signal goes: a profile, for ``pstats`` and in short."""

from __future__ import annotations

import cProfile
from pathlib import Path
from types import CodeType
from typing import Final

from report import columns
from sdk import Sdk
from variants import instrumented
from workload import Workload

_SHOWN: Final = 20
_WIDTHS: Final = (78, 9, 9, 9)


def _name(code: CodeType | str) -> str:
    if isinstance(code, str):
        return code
    # The whole path would not fit, and the name alone is often __init__.py.
    return f"{Path(*Path(code.co_filename).parts[-3:])}:{code.co_firstlineno} {code.co_name}"


def _lines(profile: cProfile.Profile, calls: int) -> list[str]:
    entries = sorted(profile.getstats(), key=lambda entry: entry.inlinetime, reverse=True)[:_SHOWN]
    return [
        columns((f"of {calls:,} calls, a call (µs)", "own", "in all", "times"), _WIDTHS),
        *(
            columns(
                (
                    f"  {_name(entry.code)}",
                    f"{entry.inlinetime / calls * 1e6:.2f}",
                    f"{entry.totaltime / calls * 1e6:.2f}",
                    f"{entry.callcount / calls:.1f}",
                ),
                _WIDTHS,
            )
            for entry in entries
        ),
    ]


async def profiled(calls: int, file: Path) -> list[str]:
    """Profile calls with every signal.

    Args:
        calls: How many.
        file: Where the profile goes.

    Returns:
        The functions that have most of the time to themselves, for people.
    """
    workload, sdk, profile = await Workload.create(), Sdk(), cProfile.Profile()
    with instrumented(False, **vars(sdk)):
        for number in range(-(calls // 10) - 1, calls):
            # What is only made once is not what calls take.
            if number == 0:
                profile.enable()
            await workload.call()
        profile.disable()
    sdk.shutdown()
    await workload.close()
    profile.dump_stats(file)
    return _lines(profile, calls)
