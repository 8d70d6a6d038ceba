"""``python -m pyro_vd``."""

from pyro_vd.cli import main

if __name__ == "__main__":
    main()
