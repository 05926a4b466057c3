"""
Lets a process of the prefork pool end without harm to the others.

On some transports the processes of a pool share one queue, and its lock, for messages to their parent. The last message
of a process announces its end, and its parent answers with a signal that ends it for certain. billiard has the main
thread block that signal while it holds the lock. But a signal to a process is taken by any thread that does not block
it: one of the site's, or the publisher of a kit, which the system may see for a moment after it was joined. The process
would end at once, the lock would never be released, and the pool would do no more work.
"""

from __future__ import annotations

import os
import signal
from threading import get_ident
from typing import TYPE_CHECKING

from billiard.common import TERM_SIGNAL

if TYPE_CHECKING:
    from types import FrameType


def defer_signal_to_main_thread() -> None:
    """
    Defer the signal that ends this process while the main thread blocks it, whichever thread takes it.

    Call it in the main thread. The signal's handler stays the same.
    """
    before = signal.getsignal(TERM_SIGNAL)
    if before in (signal.SIG_IGN, None) or not hasattr(signal, "pthread_sigmask"):
        return

    def end(number: int, frame: FrameType | None) -> None:
        # Python calls this in the main thread, whichever thread took the signal.
        if number in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
            signal.pthread_kill(get_ident(), number)
        elif callable(before):
            before(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    signal.signal(TERM_SIGNAL, end)
