"""The first lines of the command `uavssr`, and of `python -m uavssr`."""


def run() -> None:
    """Run the command line; a Ctrl-C before its handlers are set is answered here."""
    try:
        from uavssr.cli import run_and_exit
    except KeyboardInterrupt:
        import os

        os.write(2, b"uavssr: interrupted; nothing was left half-written\n")
        os._exit(130)
    run_and_exit()


if __name__ == "__main__":
    run()
