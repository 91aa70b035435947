"""What the tests share."""

from plugin_fixtures import _no_fsync, _one_thread, _own_cache  # noqa: F401
