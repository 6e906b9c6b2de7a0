"""Code for a fresh process in which some packages are not installed."""


def hiding(*packages: str) -> str:
    """Return code that hides `packages` from whatever is imported after it."""
    return f"""
import sys
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {packages!r} else self.finder.find_spec(name, path, target)
sys.meta_path[:] = map(Hiding, sys.meta_path)
"""
