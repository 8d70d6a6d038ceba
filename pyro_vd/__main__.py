"""``python -m pyro_vd``."""

from pyro_vd.cli.main import main

if __name__ == "__main__":
    main()
