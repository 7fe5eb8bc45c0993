"""Protection of work from cancellation, and of a cancellation from code that catches it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

signal_delivered = threading.Event()
"""Set when a signal has raised an exception in the command, which a revision may catch."""


def end_if_signalled() -> None:
    """Raise `CancelledError` if a signal was delivered."""
    if signal_delivered.is_set():
        raise asyncio.CancelledError


async def shield(work: Awaitable[T], *, raise_error: bool = False) -> T:
    """Await the work to its end; then raise a cancellation, or with `raise_error` the work's error first."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                continue
        # task.exception() retrieves the exception, or asyncio logs it.
        if not task.cancelled() and task.exception() is not None and raise_error:
            task.result()
        raise


async def gather_or_cancel(works: Iterable[Coroutine[object, object, T]]) -> list[T]:
    """Run the works at the same time, return their results, or end all and raise the first error."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    except BaseException as first:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(first, asyncio.CancelledError):  # the error of a work says more
            raise next((result for result in results if isinstance(result, Exception)), first) from None
        raise


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a blocking function in a thread, shielded."""
    return await shield(asyncio.to_thread(function, *args, **kwargs))
