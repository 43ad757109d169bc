"""`python -m hubpush.cli`."""

from hubpush.cli import main

if __name__ == "__main__":
    main()
