"""`python -m tests.system.clients` installs the clients that the tests of the receiver run."""

from tests.system.clients import install_all

if __name__ == "__main__":
    install_all()
