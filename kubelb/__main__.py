"""``python -m kubelb`` is the ``kubelb`` command."""

from kubelb.cli.app import main

if __name__ == "__main__":
    main()
