"""What docs/hostile-input.md lists: the machinery, and one module for the rows of each group or two."""

import pkgutil

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))
