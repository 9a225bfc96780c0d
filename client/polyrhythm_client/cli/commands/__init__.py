"""One module a command of ``polyrhythm``. Each turns options into calls of the SDK and results into output."""
